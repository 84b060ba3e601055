"""Line logs: of a flow, of a run, and those that a search finds.

The list of a flow has its runs newest first, and within a run its lines newest first: so `archive.run.line_count`
leads to any page. Within a run, places are found once and remembered: every STRIDE lines one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from archiver.queries.originals import LINE_TEXT, line_text
from archiver.queries.replay.asking import Ask, Listing, Replay
from archiver.queries.replay.days import days_of
from archiver.queries.replay.searching import searched

SHORT = 3000  # lines that are sorted for each page
STRIDE = 500
PLACING = 30.0  # seconds for finding the places of one long run, once


class _Piece(NamedTuple):
    """A part of a run's lines: `skip` of them are younger. `since` and `until`, as Postgres writes them: between these
    all its lines should be, for they are logged while it goes on."""

    run_id: str
    lines: int
    skip: int
    take: int
    since: str
    until: str


def lines(replay: Replay, ask: Ask) -> Listing:
    """A page of line logs."""
    if ask.search or ask.filename_uuid is not None:
        return searched(replay, ask)
    if ask.original_filename_uuid is not None:
        count, *span = _lines_of_run(replay, ask.flow_key, ask.original_filename_uuid)
        pieces = [_Piece(ask.original_filename_uuid, count, ask.offset, ask.limit, *span)]
        return Listing(count, _of_runs(replay, ask.flow_key, pieces if ask.offset < count else []))
    days = days_of(replay, ask.flow_key, "lines", ask.offset, ask.limit)
    if days.first is None:
        return Listing(days.total, ())
    found = replay.rows(
        _RUNS,
        flow_key=ask.flow_key,
        first=days.first,
        end=days.end,
        skip=ask.offset - days.before,
        limit=ask.limit,
    )
    return Listing(days.total, _of_runs(replay, ask.flow_key, [_Piece(*piece) for piece in found]))


def _of_runs(replay: Replay, flow_key: int, pieces: Sequence[_Piece]) -> list[bytes]:
    if len({piece.run_id for piece in pieces}) == len(pieces) and sum(piece.lines for piece in pieces) <= SHORT:
        return _together(replay, flow_key, pieces)
    return [
        row
        for piece in pieces
        for row in (_together(replay, flow_key, [piece]) if piece.lines <= SHORT else _cut(replay, flow_key, piece))
    ]


# Whole days around a run, so that they compare as text does.
_SINCE = "(date_trunc('day', created) - interval '1 day')::text"
_UNTIL = "(date_trunc('day', greatest(created, finished)) + interval '2 days')::text"

# The runs that a page has lines of, and which of their lines.
_RUNS = f"""
    SELECT run_id, line_count, greatest(%(skip)s - before, 0),
        least(before + line_count, %(skip)s::bigint + %(limit)s) - greatest(before, %(skip)s), since, until
    FROM (
        SELECT coalesce(filename_uuid, original_filename_uuid) AS run_id, line_count, created, log_id,
            {_SINCE} AS since, {_UNTIL} AS until,
            (sum(line_count) OVER (ORDER BY created DESC, log_id DESC))::bigint - line_count AS before
        FROM archive.run
        WHERE flow_key = %(flow_key)s AND created >= %(first)s::timestamptz AND created < %(end)s::timestamptz
            AND line_count > 0 AND lines_pruned IS NULL
    ) summed
    WHERE before + line_count > %(skip)s AND before < %(skip)s::bigint + %(limit)s AND run_id IS NOT NULL
    ORDER BY created DESC, log_id DESC
"""
_LINES = f"""
    SELECT coalesce(sum(line_count), 0)::bigint, coalesce(min({_SINCE}), '-infinity'),
        coalesce(max({_UNTIL}), 'infinity')
    FROM (
        SELECT line_count, lines_pruned, created, finished FROM archive.run
        WHERE flow_key = %(flow_key)s AND filename_uuid = %(run_id)s
        UNION ALL SELECT line_count, lines_pruned, created, finished FROM archive.run
        WHERE flow_key = %(flow_key)s AND filename_uuid IS NULL AND original_filename_uuid = %(run_id)s
    ) runs WHERE lines_pruned IS NULL
"""


def _lines_of_run(replay: Replay, flow_key: int, run_id: str) -> tuple[int, str, str]:
    (found,) = replay.rows(_LINES, flow_key=flow_key, run_id=run_id)
    count, since, until = found
    return int(count), since, until


_OF_RUN = "FROM archive.line WHERE flow_key = %(flow_key)s AND original_filename_uuid = %(run_id)s"
_ORDER = "ORDER BY created DESC, log_id DESC OFFSET %(skip)s LIMIT %(limit)s"
_PLACES = f"""
    SELECT n, created, log_id FROM (
        SELECT created, log_id, row_number() OVER (ORDER BY created DESC, log_id DESC) AS n {_OF_RUN}
    ) numbered WHERE n %% {STRIDE} = 0 ORDER BY n
"""
# The planner takes every run for as short as they are on average, and would sort all of this one. The concatenation
# keeps it from the index that finds whole runs: between two places, the index on time has little to read.
_BETWEEN = f"""
    SELECT {LINE_TEXT} FROM archive.line
    WHERE flow_key = %(flow_key)s AND original_filename_uuid || '' = %(run_id)s
"""


# To plan a statement on all partitions takes longer than to answer it: so one for all short runs of a page, and first
# where their lines should be. `place` keeps each to its own part, whatever there is of the others; `held` tells
# whether that was all of it.
_TOGETHER = f"""
    SELECT {LINE_TEXT}, place, held FROM (
        SELECT l.*, p.place, p.skip, p.take, count(*) OVER (PARTITION BY p.place) AS held,
            row_number() OVER (PARTITION BY p.place ORDER BY l.created DESC, l.log_id DESC) AS n
        FROM unnest(%(run_ids)s::text[], %(skips)s::bigint[], %(takes)s::bigint[]) WITH ORDINALITY
            AS p (run_id, skip, take, place)
        JOIN archive.line l ON l.flow_key = %(flow_key)s AND l.original_filename_uuid = p.run_id {{within}}
    ) numbered
    WHERE n > skip AND n <= skip + take ORDER BY place, n
"""
_WITHIN = "AND l.created >= %(since)s::timestamptz AND l.created < %(until)s::timestamptz"


def _together(replay: Replay, flow_key: int, pieces: Sequence[_Piece]) -> list[bytes]:
    if not pieces:
        return []
    bind: dict[str, Any] = {
        "flow_key": flow_key,
        "run_ids": [piece.run_id for piece in pieces],
        "skips": [piece.skip for piece in pieces],
        "takes": [piece.take for piece in pieces],
        "since": min(piece.since for piece in pieces),
        "until": max(piece.until for piece in pieces),
    }
    rows = replay.rows(_TOGETHER.format(within=_WITHIN), **bind)
    if {row[-2]: row[-1] for row in rows} != {place: piece.lines for place, piece in enumerate(pieces, 1)}:
        rows = replay.rows(_TOGETHER.format(within=""), **bind)  # some have an odd time
    return [line_text(row[:-2]) for row in rows]


def _cut(replay: Replay, flow_key: int, piece: _Piece) -> list[bytes]:
    bind: dict[str, Any] = {"flow_key": flow_key, "run_id": piece.run_id, "skip": piece.skip, "limit": piece.take}
    key = ("run", flow_key, piece.run_id, piece.lines)
    if not replay.memory.knows(key):
        with replay.given(PLACING):
            found = replay.rows(_PLACES, flow_key=flow_key, run_id=piece.run_id)
        replay.memory.fill(key, [(n, (created, log_id)) for n, created, log_id in found])
    before, upper = replay.memory.before(key, piece.skip)
    lower = replay.memory.after(key, piece.skip + piece.take)
    statement = _BETWEEN
    if upper is not None:
        statement += " AND (created, log_id) < (%(upper_time)s, %(upper_id)s) AND created <= %(upper_time)s"
        bind |= {"upper_time": upper[0], "upper_id": upper[1], "skip": piece.skip - before}
    if lower is not None:
        statement += " AND created >= %(lower_time)s"
        bind |= {"lower_time": lower[0], "lower_id": lower[1]}
    if upper is not None and lower is not None and upper[0] == lower[0]:
        statement += " AND log_id < %(upper_id)s AND log_id >= %(lower_id)s"  # many lines of one moment
    return [line_text(row) for row in replay.rows(f"{statement} {_ORDER}", **bind)]
