"""What an audit can say of a log, and the comparison that it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from archiver.logs import Line, Row, Run, Step, render
from archiver.logs.exact import source_hash, source_of
from archiver.redact import mask_row


class Verdict(StrEnum):
    """What a log is, seen from the archive. Those among ALARMS are reported."""

    FOUND = "found"
    DELAYED = "delayed"  # not promised yet: at or above the frontier, not backfilled yet, or still settling
    OPEN = "open"  # going on, and followed
    GAP = "gap"  # explained by what `archiver gaps` lists
    ERASED = "erased"  # at a person's request
    PURGED = "purged"  # in the archive; the Integrator no longer shows it
    STALE = "stale"  # the Integrator shows something else
    CORRUPT = "corrupt"  # no longer what was stored
    LOST = "lost"  # the Integrator shows it, and it should be here


ALARMS = frozenset({Verdict.STALE, Verdict.CORRUPT, Verdict.LOST})
LEVELS = ("run", "step", "line", "file")
CHANGED = "what is stored is not what was stored: its hash does not fit"

Counts = Counter[tuple[str, Verdict]]  # logs by level and verdict


@dataclass(frozen=True, slots=True)
class Finding:
    """A log, or a file of one, that is not as it should be. `created` is canonical text."""

    level: str
    log_type: int
    log_id: int
    verdict: Verdict
    what: str
    run_log_id: int | None = None
    run_id: str | None = None
    created: str | None = None
    mended: bool = False

    @property
    def kind(self) -> str:
        """As `archive.finding` and `archive.gap` call it."""
        return f"{self.verdict}_file" if self.level == "file" else str(self.verdict)


def is_intact(log: Run | Step | Line) -> bool:
    """Whether a stored log still is what came, by the hash that was made of it then."""
    return source_hash(source_of(render(log))) == log.src_hash


def agrees(row: Row, parsed: Run | Line, stored: Run | Line, masks: Sequence[str]) -> bool:
    """Whether a stored log is what its source shows, but for fields that are masked or erased."""
    if parsed.src_hash == stored.src_hash:
        return True
    rules = tuple(dict.fromkeys(masks))
    return bool(rules) and source_of(mask_row(row, rules)) == source_of(mask_row(render(stored), rules))


def differing(row: Row, stored: Run | Line) -> str:
    """Which fields differ, for people; never their values."""
    mine = render(stored)
    names = sorted(
        name for name in row.keys() | mine.keys() if source_of({"": row.get(name)}) != source_of({"": mine.get(name)})
    )
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "which fields it has"
