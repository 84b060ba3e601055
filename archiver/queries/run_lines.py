"""The lines of one run, a page at a time, in the order in which they were written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from archiver.queries.criteria import Bind, Criterion
from archiver.queries.names import STATUSES
from archiver.queries.reader import Place, Reader, Row

SHORT = 3_000  # lines of a run that are sorted for each page


@dataclass(frozen=True, slots=True)
class RunLines:
    """Which lines of a run: `containing` is part of any field, upper and lower case the same."""

    status: str = ""
    criteria: Sequence[Criterion] = ()
    containing: str = ""
    behind: Place | None = None


class LinesPage(NamedTuple):
    """Rows of reporting.line with `file` (the outcome of their download, None without one) at the end; `more`: where
    the rest begins, None at the end."""

    rows: list[Row]
    more: Place | None


# A long run is not sorted for every page: between its beginning and its end, the index on time has little else to
# read. The concatenation keeps the planner from the index that finds whole runs. What lies outside comes last, and is
# found by that index: what costs as much as reading the run is asked for at its end alone.
_KEYS = """
    SELECT l.log_id, l.created::text AS moment FROM archive.line l
    WHERE l.flow_key = %(flow_key)s AND {conditions} ORDER BY l.created, l.log_id LIMIT {limit}
"""
# Few or none, which the planner cannot know: the order must not lead it through the index on time.
_FEW_KEYS = """
    WITH l AS MATERIALIZED (
        SELECT l.log_id, l.created FROM archive.line l WHERE l.flow_key = %(flow_key)s AND {conditions}
    )
    SELECT l.log_id, l.created::text AS moment FROM l ORDER BY l.created, l.log_id LIMIT {limit}
"""
_OF_RUN = "l.original_filename_uuid = %(run_id)s"
_USUAL = "{0} >= %(started_at)s::timestamptz"
_ENDED = "{0} < %(finished_at)s::timestamptz + interval '1 day'"
_ROWS = """
    SELECT v.*, d.outcome AS file
    FROM unnest(%(log_ids)s::bigint[], %(created)s::timestamptz[]) WITH ORDINALITY AS k (log_id, created, place)
    JOIN reporting.line v ON v.flow_key = %(flow_key)s AND v.log_id = k.log_id AND v.created_at = k.created
    LEFT JOIN archive.detail d ON d.flow_key = %(flow_key)s AND d.log_type = 3 AND d.log_id = k.log_id
    ORDER BY k.place
"""


def page_of_lines(reader: Reader, run: Row, which: RunLines, limit: int) -> LinesPage:
    """A page of the lines of a row of reporting.run. Of a long one, those of an odd time come last: from before it
    began, or later than a day after its end."""
    if run["run_id"] is None:
        return LinesPage([], None)
    found: list[Row] = []
    for statement, part, asked in _parts(reader, run, which):
        if len(found) <= limit:
            bind = Bind(_named(run))
            conditions = " AND ".join([part, *_conditions(asked, bind)])
            most = bind.add(limit + 1 - len(found))
            found += reader.rows(statement.format(conditions=conditions, limit=most), **bind)
    shown = found[:limit]
    rows = reader.rows(
        _ROWS,
        flow_key=run["flow_key"],
        log_ids=[row["log_id"] for row in shown],
        created=[row["moment"] for row in shown],
    )
    more = Place(shown[-1]["moment"], shown[-1]["log_id"]) if len(found) > limit else None
    return LinesPage(rows, more)


def _parts(reader: Reader, run: Row, which: RunLines) -> list[tuple[str, str, RunLines]]:
    """The parts in which a run is read, in their order: the statement, its condition, and what is asked for of each."""
    if run["line_count"] <= SHORT:
        return [(_KEYS, _OF_RUN, which)]
    usual = _USUAL if run["finished_at"] is None else f"{_USUAL} AND {_ENDED}"
    while_it_ran = f"l.original_filename_uuid || '' = %(run_id)s AND {usual.format('l.created')}"
    at_other_times = f"{_OF_RUN} AND NOT ({usual.format('l.created')})"
    if which.behind is None:
        return [(_KEYS, while_it_ran, which), (_FEW_KEYS, at_other_times, which)]
    place = usual.format("%(moment)s::timestamptz")
    (found,) = reader.rows(f"SELECT {place} AS is_usual", moment=which.behind.moment, **_named(run))
    if found["is_usual"]:
        return [(_KEYS, while_it_ran, which), (_FEW_KEYS, at_other_times, replace(which, behind=None))]
    return [(_FEW_KEYS, at_other_times, which)]


def _named(run: Row) -> Row:
    return {name: run[name] for name in ("flow_key", "run_id", "started_at", "finished_at")}


def _conditions(which: RunLines, bind: Bind) -> list[str]:
    conditions = []
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
