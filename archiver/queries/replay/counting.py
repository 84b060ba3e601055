"""How many lines a search with many hits has: exact, though nobody counts millions of lines for every page.

Counted once, month by month, and remembered. Afterwards only what was written since is counted again: `writes` of
`archive.flow_day` tells whether any line of a day's runs may have changed, so that while the older days stand still,
the lines of the newest ones are enough.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from archiver.queries.partitions import PARTITIONS, spans
from archiver.queries.replay.asking import Ask, Replay, TooBroad

COUNTING = 30.0  # seconds that counting a month may take
PATIENCE = 5.0  # seconds to wait for another count under way


class State(NamedTuple):
    """What a count holds for. `older` and `newer`: writes of the flow's days before a day, and since."""

    older: int
    newer: int
    rest: tuple[Any, ...]  # what was pruned and erased


class Tally(NamedTuple):
    """A count: of the lines of runs that began before `day`, and since."""

    day: str
    state: State
    older: int
    newer: int

    @property
    def total(self) -> int:
        """All hits."""
        return self.older + self.newer


class Hits(NamedTuple):
    """What is counted: conditions on archive.line, and their values."""

    where: str
    bind: dict[str, Any]


# Two days: the last one is still written to, and so may be the one before.
_DAY = """
    SELECT (max(day) - 1)::text FROM archive.flow_day WHERE flow_key = %(flow_key)s AND lines > 0
"""
_STATE = """
    SELECT sums.*, c.kept_from::text, c.pruned::text, c.tombstones FROM (
        SELECT coalesce(sum(writes) FILTER (WHERE day < %(day)s::date), 0)::bigint,
            coalesce(sum(writes) FILTER (WHERE day >= %(day)s::date), 0)::bigint
        FROM archive.flow_day WHERE flow_key = %(flow_key)s
    ) sums LEFT JOIN archive.checkpoint c ON c.flow_key = %(flow_key)s
"""
_RUNS = """
    SELECT array_agg(run_id), coalesce(sum(line_count), 0)::bigint,
        (date_trunc('day', min(created)) - interval '1 day')::text
    FROM (
        SELECT coalesce(r.filename_uuid, r.original_filename_uuid) AS run_id, r.line_count, r.created
        FROM archive.run r JOIN archive.flow f USING (flow_key)
        WHERE r.flow_key = %(flow_key)s AND r.created >= %(day)s::date::timestamp AT TIME ZONE f.day_zone
            AND r.line_count > 0
    ) younger
"""
_NEWER = """
    SELECT count(*), count(*) FILTER (WHERE {where}) FROM archive.line
    WHERE flow_key = %(flow_key)s AND original_filename_uuid = ANY(%(run_ids)s::text[])
        AND created >= %(since)s::timestamptz
"""


def count_of(replay: Replay, ask: Ask, hits: Hits) -> tuple[int, State]:
    """How many lines are hits, and what that holds for."""
    key = ("tally", ask._replace(page=1, limit=1))
    tally = replay.memory.recall(key)
    if not isinstance(tally, Tally) or (state := _state(replay, ask.flow_key, tally.day)).rest != tally.state.rest:
        return _anew(replay, ask.flow_key, hits, key)
    if state == tally.state:
        return tally.total, state
    newer = _newer(replay, ask.flow_key, hits, tally.day) if state.older == tally.state.older else None
    if newer is None:
        return _anew(replay, ask.flow_key, hits, key)
    tally = _moved_on(replay, ask.flow_key, hits, Tally(tally.day, state, tally.older, newer))
    replay.memory.keep(key, tally)
    return tally.total, tally.state


def _anew(replay: Replay, flow_key: int, hits: Hits, key: tuple[Any, ...]) -> tuple[int, State]:
    ((day,),) = replay.rows(_DAY, flow_key=flow_key)
    state = _state(replay, flow_key, day)
    if not replay.memory.counting.acquire(timeout=PATIENCE):
        raise TooBroad("the archive is counting for another search; try again in a moment")
    try:
        count = sum(_of_span(replay, hits, (*key, state), span) for span in spans(replay.rows(PARTITIONS)))
    finally:
        replay.memory.counting.release()
    newer = _newer(replay, flow_key, hits, day)
    if newer is not None:
        replay.memory.keep(key, Tally(day, state, count - newer, newer))
    return count, state


def _of_span(replay: Replay, hits: Hits, key: tuple[Any, ...], span: str) -> int:
    """Of a month, remembered by itself: where all of them take too long for one request, the next one goes on."""
    count = replay.memory.count((*key, span))
    if count is None:
        with replay.given(COUNTING):
            statement = f"SELECT count(*) FROM archive.line l WHERE {hits.where} AND {span}"
            ((count,),) = replay.rows(statement, **hits.bind)
        replay.memory.note_count((*key, span), count)
    return int(count)


def _moved_on(replay: Replay, flow_key: int, hits: Hits, tally: Tally) -> Tally:
    """The same tally, its newer days being the newest again."""
    ((day,),) = replay.rows(_DAY, flow_key=flow_key)
    newer = _newer(replay, flow_key, hits, day) if day > tally.day else None
    if newer is None:
        return tally
    return Tally(day, _state(replay, flow_key, day), tally.total - newer, newer)


def _state(replay: Replay, flow_key: int, day: str | None) -> State:
    ((older, newer, *rest),) = replay.rows(_STATE, flow_key=flow_key, day=day)
    return State(older, newer, tuple(rest))


def _newer(replay: Replay, flow_key: int, hits: Hits, day: str | None) -> int | None:
    """The hits among the lines of the runs since a day; None where these are not told by their runs."""
    ((run_ids, lines, since),) = replay.rows(_RUNS, flow_key=flow_key, day=day)
    if not lines:
        return 0 if day is not None else None
    ((found, newer),) = replay.rows(_NEWER.format(where=hits.where), **hits.bind, run_ids=run_ids, since=since)
    return int(newer) if found == lines else None
