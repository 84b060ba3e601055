"""Runs, and what belongs to one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.queries.names import LARGEST_ID, STATES, STATUSES
from archiver.queries.reader import Reader, Row


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs: None and empty mean all. `since` is the first moment that counts, `until` the first that does not."""

    flow_keys: Sequence[int] | None = None
    statuses: Sequence[str] = ()
    states: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


# An unknown number is called `unknown (7)` by the views, and `unknown` by those who ask.
_CHOSEN = """
    (%(statuses)s::text[] IS NULL OR split_part(status, ' ', 1) = ANY(%(statuses)s))
    AND (%(states)s::text[] IS NULL OR split_part(state, ' ', 1) = ANY(%(states)s))
    AND (%(since)s::timestamptz IS NULL OR started_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR started_at < %(until)s)
"""
# The newest few of each flow and status by an index, then the newest of these: no walk through all that is not meant.
_NEWEST = """
    WITH newest AS MATERIALIZED (
        SELECT r.flow_key, r.log_id FROM archive.flow f CROSS JOIN LATERAL ({arms}) r
        WHERE %(flow_keys)s::int[] IS NULL OR f.flow_key = ANY(%(flow_keys)s)
        ORDER BY r.created DESC, r.flow_key, r.log_id DESC LIMIT %(limit)s
    )
    SELECT v.* FROM newest JOIN reporting.run v USING (flow_key, log_id)
    ORDER BY v.started_at DESC, v.flow_key, v.log_id DESC
"""
# Whole keys are compared, and sorted by, so that nothing but the index of just these columns will do: to a planner that
# does not know which flow is meant, the index of all runs by time looks as good, and a flow of few runs makes it walk
# through those of all others.
_ARM = """(
    SELECT flow_key, log_id, created FROM archive.run
    WHERE ({key}, created) >= ({value}, coalesce(%(since)s::timestamptz, '-infinity'))
        AND ({key}, created) < ({value}, coalesce(%(until)s::timestamptz, 'infinity')) AND {state}
    ORDER BY {order}, created DESC, log_id DESC LIMIT %(limit)s
)"""
# What there is little of: states and statuses that are not known, runs that go on.
_FEW = """(
    SELECT flow_key, log_id, created FROM archive.run
    WHERE flow_key = f.flow_key AND {status} AND {state}
        AND (%(since)s::timestamptz IS NULL OR created >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR created < %(until)s)
    ORDER BY created DESC, log_id DESC LIMIT %(limit)s
)"""
_UNKNOWN_STATUS = ("status < 1", "status > 4")
_STATE = {name: f"state = {number}" for name, number in STATES.items()} | {"unknown": "(state < 1 OR state > 3)"}
_ALL = f"""
    SELECT * FROM reporting.run WHERE (%(flow_keys)s::int[] IS NULL OR flow_key = ANY(%(flow_keys)s)) AND {_CHOSEN}
    ORDER BY started_at DESC, flow_key, log_id DESC
"""


def runs(reader: Reader, which: RunFilter, limit: int | None = None) -> Iterator[Row]:
    """Rows of reporting.run, newest first."""
    return reader.stream(
        _ALL if limit is None else _newest(which),
        flow_keys=None if which.flow_keys is None else list(which.flow_keys),
        statuses=list(which.statuses) or None,
        states=list(which.states) or None,
        since=which.since,
        until=which.until,
        limit=limit,
    )


def _newest(which: RunFilter) -> str:
    return _NEWEST.format(arms=" UNION ALL ".join(_arms(which)) or _FEW.format(status="FALSE", state="TRUE"))


def _arms(which: RunFilter) -> Iterator[str]:
    state = f"({' OR '.join(_STATE.get(word, 'FALSE') for word in which.states) or 'TRUE'})"
    if which.states and "finished" not in which.states:
        # Said in these words, the few runs that go on have an index of their own.
        state += " AND state IS DISTINCT FROM 3"
        known = [f"status = {STATUSES[word]}" for word in _known(which)]
        for status in [*known, *_unknown(which)] if which.statuses else ["TRUE"]:
            yield _FEW.format(status=status, state=state)
        return
    for word in _known(which):
        key, value = "flow_key, status", f"f.flow_key, {STATUSES[word]}::smallint"
        yield _ARM.format(key=key, value=value, order="flow_key DESC, status DESC", state=state)
    for status in _unknown(which):
        yield _FEW.format(status=status, state=state)
    if not which.statuses:
        yield _ARM.format(key="flow_key", value="f.flow_key", order="flow_key DESC", state=state)


def _known(which: RunFilter) -> list[str]:
    return [word for word in dict.fromkeys(which.statuses) if word in STATUSES]


def _unknown(which: RunFilter) -> Sequence[str]:
    return _UNKNOWN_STATUS if "unknown" in which.statuses else ()


def run(reader: Reader, flow_key: int, log_id: int) -> Row:
    """One row of reporting.run that is known to be there."""
    (row,) = reader.rows(
        "SELECT * FROM reporting.run WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s",
        flow_key=flow_key,
        log_id=log_id,
    )
    return row


# First what is called so, by index; then what begins so; then the run of a step or line that has this log id.
_EXACT = """
    SELECT flow_key, log_id FROM archive.run WHERE flow_key = ANY(%(keys)s) AND filename_uuid = %(word)s
    UNION SELECT flow_key, log_id FROM archive.run WHERE flow_key = ANY(%(keys)s)
        AND filename_uuid IS NULL AND original_filename_uuid = %(word)s
    UNION SELECT flow_key, log_id FROM archive.run WHERE flow_key = ANY(%(keys)s) AND log_id = %(number)s
"""
# Those without an id of their own are few, and found by the same index.
_BEGINS = """
    SELECT flow_key, log_id FROM (
        SELECT flow_key, log_id, created FROM archive.run WHERE flow_key = ANY(%(keys)s)
            AND filename_uuid LIKE %(begins)s
        UNION ALL SELECT flow_key, log_id, created FROM archive.run WHERE flow_key = ANY(%(keys)s)
            AND filename_uuid IS NULL AND original_filename_uuid LIKE %(begins)s
    ) found
    ORDER BY created DESC LIMIT %(most)s
"""
_WITHIN = """
    SELECT flow_key, run_log_id AS log_id FROM archive.step WHERE flow_key = ANY(%(keys)s) AND log_id = %(number)s
    UNION SELECT r.flow_key, r.log_id FROM archive.line l
        JOIN archive.run r ON r.flow_key = l.flow_key AND r.filename_uuid = l.original_filename_uuid
        WHERE l.flow_key = ANY(%(keys)s) AND l.log_id = %(number)s
"""


def runs_named(reader: Reader, word: str, flow_keys: Sequence[int], most: int = 20) -> list[Row]:
    """The runs, newest first, that `word` may mean: a run id or the beginning of one, or a log id, also of a step or
    a line. At most `most` that begin so."""
    number = int(word) if word.isascii() and word.isdigit() and int(word) <= LARGEST_ID else None
    begins = re.sub(r"([\\%_])", r"\\\1", word) + "%"
    bind = {"word": word, "begins": begins, "number": number, "keys": list(flow_keys), "most": most}
    for statement in (_EXACT, _WITHIN, _BEGINS) if number is not None else (_EXACT, _BEGINS):
        found = reader.rows(statement, **bind)
        if found:
            rows = [run(reader, row["flow_key"], row["log_id"]) for row in found]
            return sorted(rows, key=lambda row: str(row["started_at"]), reverse=True)
    return []


def steps_of(reader: Reader, one: Row) -> list[Row]:
    """The steps of a row of reporting.run, in their order."""
    return reader.rows(
        "SELECT * FROM reporting.step WHERE flow_key = %(flow_key)s AND log_id = ANY(ARRAY("
        "  SELECT log_id FROM archive.step WHERE flow_key = %(flow_key)s AND run_log_id = %(log_id)s))"
        " ORDER BY flow_order, started_at, log_id",
        flow_key=one["flow_key"],
        log_id=one["log_id"],
    )


def lines_of(reader: Reader, one: Row, limit: int | None = None) -> Iterator[Row]:
    """The lines of a row of reporting.run, failed ones first."""
    return reader.stream(
        "SELECT * FROM reporting.line WHERE flow_key = %(flow_key)s AND run_id = %(run_id)s"
        " ORDER BY is_failed DESC, row_num, created_at, log_id LIMIT %(limit)s",
        flow_key=one["flow_key"],
        run_id=one["run_id"],
        limit=limit,
    )


def details_of(reader: Reader, one: Row) -> Iterator[Row]:
    """The rows of reporting.detail of a row of reporting.run: its own, then those of steps and lines. One is in memory
    at a time, for a document may be 64 MiB."""
    return reader.stream(
        "SELECT * FROM reporting.detail WHERE flow_key = %(flow_key)s AND log_id = ANY(ARRAY("
        "  SELECT log_id FROM archive.detail WHERE flow_key = %(flow_key)s AND run_log_id = %(log_id)s))"
        " AND run_id IS NOT DISTINCT FROM %(run_id)s"
        " ORDER BY array_position(ARRAY['main', 'sub', 'line'], log_type), log_id",
        batch=1,
        flow_key=one["flow_key"],
        log_id=one["log_id"],
        run_id=one["run_id"],
    )
