"""How the archive of each flow stands, as the archiver's own page draws it: what is covered, what is left to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from archiver.queries.reader import Reader, Row

COUNTED = 10_000  # of a flow's troubles; more are not counted


class Span(NamedTuple):
    """A time that is covered, or a gap in it: `start` None is the beginning of all."""

    start: datetime | None
    end: datetime
    reason: str = ""
    is_acknowledged: bool = False


class Standing(NamedTuple):
    """`row`: of reporting.archive_health, with the flow's name and project, next_due_at, lease_until, kept_from,
    is_walking and the order in which the Integrator lists it."""

    row: Row
    covered: Sequence[Span]
    gaps: Sequence[Span]


_STANDING = """
    SELECT h.*, f.project_slug, f.flow_id, c.next_due_at, c.lease_until > now() AS is_worked_on, c.kept_from,
        c.walk IS NOT NULL AS is_walking, c.backfill IS NOT NULL AS is_backfilling,
        c.source ->> 'order' AS source_order, c.intervals, c.gaps,
        (SELECT count(*) FROM archive.quarantine q WHERE q.flow_key = c.flow_key) AS quarantined_rows
    FROM archive.checkpoint c
    JOIN archive.flow f USING (flow_key)
    JOIN reporting.archive_health h USING (flow_key)
    ORDER BY h.flow_name, f.project_slug, c.flow_key
"""
_COLUMNS = """p.started_at, f.flow_name, f.flow_key, p.outcome,
    extract(epoch FROM p.ended_at - p.started_at)::float8 AS seconds, p.requests, p.rows_new, p.rows_changed, p.error"""
_PASSES = f"""
    SELECT {_COLUMNS}
    FROM archive.pass p JOIN archive.flow f USING (flow_key)
    WHERE (%(flow_key)s::int IS NULL OR p.flow_key = %(flow_key)s)
    ORDER BY p.started_at DESC, p.pass_id DESC LIMIT %(limit)s
"""
_TROUBLED = f"""
    SELECT {_COLUMNS}
    FROM (
        SELECT * FROM archive.pass WHERE (%(flow_key)s::int IS NULL OR flow_key = %(flow_key)s)
        ORDER BY started_at DESC LIMIT 20000
    ) p JOIN archive.flow f USING (flow_key)
    WHERE p.error IS NOT NULL ORDER BY p.started_at DESC, p.pass_id DESC LIMIT %(limit)s
"""


def standing(reader: Reader) -> list[Standing]:
    """Every flow that has a checkpoint."""
    return [_parsed(row) for row in reader.rows(_STANDING)]


def passes(reader: Reader, limit: int, flow_key: int | None = None, *, failed: bool = False) -> list[Row]:
    """The newest passes, or those of them that had an error."""
    return reader.rows(_TROUBLED if failed else _PASSES, limit=limit, flow_key=flow_key)


def _parsed(row: Row) -> Standing:
    covered = [Span(_time(start), _time(end)) for start, end in json.loads(row.pop("intervals"))]
    gaps = [
        Span(
            _time(gap["from"]) if gap.get("from") else None,
            _time(gap["to"]),
            str(gap.get("reason", "")),
            bool(gap.get("acknowledged_at")),
        )
        for gap in json.loads(row.pop("gaps"))
    ]
    return Standing(row, covered, gaps)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
