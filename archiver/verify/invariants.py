"""The archive by itself: the invariants in SQL, and every checksum computed once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from archiver.logs import Line, Run, Step
from archiver.queries.invariants import EXAMPLES, INVARIANTS, Damaged, Selfcheck, Violation
from archiver.verify.verdict import CHANGED, Finding, Verdict, is_intact

FILES = 100  # whose bytes Postgres reads at once
ROWS = 1000
LOWEST = -(2**63)

_DIFFERS = "its bytes do not have the SHA-256 that was noted when they came"


@dataclass(slots=True)
class Broken:
    """How one invariant stands: how much breaks it, with the first examples."""

    number: int
    name: str
    count: int = 0
    examples: list[Violation] = field(default_factory=list)

    def add(self, violation: Violation) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(violation)


@dataclass(frozen=True, slots=True)
class Looked:
    """How far the look is: what at, and how many of them."""

    doing: str
    done: int


def check_self(
    engine: Engine,
    flow_keys: Sequence[int],
    *,
    since: datetime | None = None,
    progress: Callable[[Looked], None] = lambda _: None,
    damage: Callable[[int, Finding], None] = lambda _, __: None,
) -> list[Broken]:
    """All invariants, broken or not. `damage` hears of each log and file that is damaged, with its flow."""
    ask = Selfcheck(engine, flow_keys, since)
    look = _Look(ask, ask.accepted(), progress, damage)
    answers: list[Broken] = []
    for invariant in INVARIANTS:
        progress(Looked(invariant.name, 0))
        count, examples = ask.violations(invariant)
        answer = Broken(invariant.number, invariant.name, count, examples)
        if invariant.number == 6:
            look.files(answer)
        answers.append(answer)
    rows = Broken(6, "the hash of a stored log matches what is stored of it")
    look.rows(rows)
    return sorted([*answers, rows], key=lambda one: one.number)


@dataclass(frozen=True, slots=True)
class _Look:
    """Checksums. What somebody has accepted is told to `damage`, and breaks nothing."""

    ask: Selfcheck
    accepted: frozenset[tuple[int, str, int, int]]
    progress: Callable[[Looked], None]
    damage: Callable[[int, Finding], None]

    def files(self, answer: Broken) -> None:
        done, after = 0, (-(2**31), -(2**15), LOWEST)
        while keys := self.ask.file_keys(after, FILES):
            for (flow_key, log_type, log_id), what in _broken(keys, self.ask):
                self._note(answer, flow_key, Finding("file", log_type, log_id, Verdict.CORRUPT, what))
            done, after = done + len(keys), keys[-1]
            self.progress(Looked("files", done))

    def rows(self, answer: Broken) -> None:
        ask = self.ask
        kinds: tuple[tuple[str, int, Any, Any, bool], ...] = (
            ("run", 1, ask.run_keys, ask.runs, True),
            ("step", 2, ask.step_keys, ask.steps, True),
            ("line", 3, ask.line_keys, ask.lines, False),
        )
        for level, log_type, keys_after, read, flow_first in kinds:
            done = 0
            after = (-(2**31), LOWEST) if flow_first else (LOWEST, -(2**31))
            while keys := keys_after(after, ROWS):
                for flow_key, log_id, created, what in _changed(keys, read, flow_first=flow_first):
                    found = Finding(level, log_type, log_id, Verdict.CORRUPT, what, created=created)
                    self._note(answer, flow_key, found)
                done, after = done + len(keys), keys[-1]
                self.progress(Looked(f"{level}s", done))

    def _note(self, answer: Broken, flow_key: int, found: Finding) -> None:
        self.damage(flow_key, found)
        if (flow_key, found.kind, found.log_type, found.log_id) not in self.accepted:
            answer.add(Violation(flow_key, found.log_type, found.log_id, found.what))


def _broken(keys: Sequence[tuple[int, int, int]], ask: Selfcheck) -> Iterator[tuple[tuple[int, int, int], str]]:
    try:
        yield from ((key, _DIFFERS) for key in ask.broken_files(keys))
    except Damaged as exc:
        if len(keys) == 1:
            yield keys[0], str(exc)
            return
        for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            yield from _broken(half, ask)


Read = Callable[[Sequence[tuple[int, int]]], Iterable[tuple[int, Run | Step | Line]]]


def _changed(
    keys: Sequence[tuple[int, int]], read: Read, *, flow_first: bool
) -> Iterator[tuple[int, int, str | None, str]]:
    """Logs whose hash does not fit, as (flow, id, created, what); halved down to those that cannot be read at all."""
    try:
        logs = list(read(keys))
    except Damaged as exc:
        if len(keys) == 1:
            flow_key, log_id = keys[0] if flow_first else keys[0][::-1]
            yield flow_key, log_id, None, str(exc)
            return
        for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            yield from _changed(half, read, flow_first=flow_first)
        return
    for flow_key, log in logs:
        if log.log_id is not None and not is_intact(log):
            yield flow_key, log.log_id, log.created, CHANGED
