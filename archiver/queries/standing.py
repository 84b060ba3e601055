"""How the archive of each flow stands, as the archiver's own page draws it: what is covered, and what was done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from archiver.queries.health import Health, health, judge
from archiver.queries.reader import Reader, Row

LOOKED_AT = 20_000  # newest passes that are looked through for those that had an error


class Span(NamedTuple):
    """A time that is covered, or a gap in it; None is the beginning of all, or the present."""

    start: datetime | None
    end: datetime | None
    reason: str = ""
    is_open: bool = False


class Standing(NamedTuple):
    """A flow: its row of `health`, judged, and the times that are certain and those that are missing."""

    row: Row
    health: Health
    covered: Sequence[Span]
    gaps: Sequence[Span]


_INTERVALS = "SELECT flow_key, intervals FROM archive.checkpoint"
_COLUMNS = """p.started_at, f.flow_name, f.flow_key, p.outcome,
    coalesce(p.seconds, extract(epoch FROM p.ended_at - p.started_at)::float8) AS seconds, p.turns, p.requests,
    p.rows_new, p.rows_changed, p.error"""
_PASSES = f"""
    SELECT {_COLUMNS} FROM archive.pass p JOIN archive.flow f USING (flow_key)
    WHERE (%(flow_key)s::int IS NULL OR p.flow_key = %(flow_key)s)
    ORDER BY p.started_at DESC, p.pass_id DESC LIMIT %(limit)s
"""
_TROUBLED = f"""
    SELECT {_COLUMNS} FROM (
        SELECT * FROM archive.pass WHERE (%(flow_key)s::int IS NULL OR flow_key = %(flow_key)s)
        ORDER BY started_at DESC LIMIT {LOOKED_AT}
    ) p JOIN archive.flow f USING (flow_key)
    WHERE p.error IS NOT NULL ORDER BY p.started_at DESC, p.pass_id DESC LIMIT %(limit)s
"""


def standing(reader: Reader, now: datetime) -> list[Standing]:
    """Every flow that has a checkpoint, those that are not well first."""
    intervals = {row["flow_key"]: json.loads(row["intervals"]) for row in reader.rows(_INTERVALS)}
    found = []
    for row in health(reader):
        covered = [Span(_time(start), _time(end)) for start, end in intervals.get(row["flow_key"], ())]
        gaps = [_gap(gap) for gap in json.loads(row["gaps"])]
        found.append(Standing(row, judge(row, now), covered, gaps))
    return sorted(found, key=lambda one: one.health.is_well)


def passes(reader: Reader, limit: int, flow_key: int | None = None, *, failed: bool = False) -> list[Row]:
    """The newest passes, or those of the newest LOOKED_AT that had an error."""
    return reader.rows(_TROUBLED if failed else _PASSES, limit=limit, flow_key=flow_key)


def _gap(gap: Mapping[str, str | None]) -> Span:
    is_open = gap.get("acknowledged_at") is None
    return Span(_time(gap.get("from")), _time(gap.get("to")), gap.get("reason") or "", is_open)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
