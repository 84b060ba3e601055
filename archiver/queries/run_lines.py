"""The lines of one run, a page at a time, in the order in which they were written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from archiver.queries.criteria import Bind, Criterion
from archiver.queries.names import STATUSES
from archiver.queries.reader import Reader, Row

SHORT = 3_000  # lines of a run that are sorted for each page


class LinePlace(NamedTuple):
    """Where a page begins: behind the line of this moment (Postgres's text) and log id."""

    moment: str
    log_id: int


@dataclass(frozen=True, slots=True)
class RunLines:
    """Which lines of a run: `containing` is part of any field, upper and lower case the same."""

    status: str = ""
    criteria: Sequence[Criterion] = ()
    containing: str = ""
    behind: LinePlace | None = None


class LinesPage(NamedTuple):
    """Rows of reporting.line with `file` (the outcome of their download, None without one) at the end; `more`: where
    the rest begins, None at the end."""

    rows: list[Row]
    more: LinePlace | None


# A long run is not sorted for every page: between its beginning and its end, the index on time has little else to
# read. The concatenation keeps the planner from the index that finds whole runs.
_KEYS = """
    SELECT l.log_id, l.created::text AS moment FROM archive.line l
    WHERE l.flow_key = {flow_key} AND {run} AND {where} ORDER BY l.created, l.log_id LIMIT {limit}
"""
_ROWS = """
    SELECT v.*, d.outcome AS file
    FROM unnest(%(log_ids)s::bigint[], %(created)s::timestamptz[]) WITH ORDINALITY AS k (log_id, created, place)
    JOIN reporting.line v ON v.flow_key = %(flow_key)s AND v.log_id = k.log_id AND v.created_at = k.created
    LEFT JOIN archive.detail d ON d.flow_key = %(flow_key)s AND d.log_type = 3 AND d.log_id = k.log_id
    ORDER BY k.place
"""


def page_of_lines(reader: Reader, run: Row, which: RunLines, limit: int) -> LinesPage:
    """A page of the lines of a row of reporting.run."""
    if run["run_id"] is None:
        return LinesPage([], None)
    bind = Bind()
    text = _KEYS.format(
        flow_key=bind.add(run["flow_key"]),
        run=_of_run(run, bind),
        where=" AND ".join(_conditions(which, bind)),
        limit=bind.add(limit + 1),
    )
    found = reader.rows(text, **bind)
    shown = found[:limit]
    rows = reader.rows(
        _ROWS,
        flow_key=run["flow_key"],
        log_ids=[row["log_id"] for row in shown],
        created=[row["moment"] for row in shown],
    )
    more = LinePlace(shown[-1]["moment"], shown[-1]["log_id"]) if len(found) > limit else None
    return LinesPage(rows, more)


def _of_run(run: Row, bind: Bind) -> str:
    named = bind.add(run["run_id"])
    if run["line_count"] <= SHORT:
        return f"l.original_filename_uuid = {named}"
    condition = f"l.original_filename_uuid || '' = {named} AND l.created >= {bind.add(run['started_at'])}"
    if run["finished_at"] is not None:
        condition += f" AND l.created < {bind.add(run['finished_at'] + timedelta(days=1))}"
    return condition


def _conditions(which: RunLines, bind: Bind) -> list[str]:
    conditions = ["TRUE"]
    if which.status:
        conditions.append(f"l.status = {bind.add(STATUSES[which.status])}")
    conditions += [one.condition(bind, ()) for one in which.criteria]
    if which.containing:
        fields = "lower((coalesce(l.fields, '{}') || coalesce(l.rest, '{}'))::text)"
        # As JSON has it: a quote in a message is stored with a backslash before it.
        sought = f"to_jsonb(lower({bind.add(which.containing)}::text))::text"
        conditions.append(f"strpos({fields}, substr({sought}, 2, length({sought}) - 2)) > 0")
    if which.behind is not None:
        place = f"({bind.add(which.behind.moment)}::timestamptz, {bind.add(which.behind.log_id)}::bigint)"
        conditions.append(f"(l.created, l.log_id) > {place}")
    return conditions
