"""Line logs: of a flow, of a run, and those that a search finds.

The list of a flow has its runs newest first, and within a run its lines newest first: so `archive.run.line_count`
leads to any page. Within a run, places are found once and remembered: every STRIDE lines one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archiver.queries.originals import LINE, line_log
from archiver.queries.replay.asking import Ask, Listing, Replay
from archiver.queries.replay.days import days_of
from archiver.queries.replay.searching import searched

SHORT = 3000  # lines that are sorted for each page
STRIDE = 500
PLACING = 30.0  # seconds for finding the places of one long run, once


class _Piece(NamedTuple):
    """A part of a run's lines: `skip` of them are younger."""

    run_id: str
    lines: int
    skip: int
    take: int


def lines(replay: Replay, ask: Ask) -> Listing:
    """A page of line logs."""
    if ask.search or ask.filename_uuid is not None:
        return searched(replay, ask)
    if ask.original_filename_uuid is not None:
        count = _lines_of_run(replay, ask.flow_key, ask.original_filename_uuid)
        pieces = [_Piece(ask.original_filename_uuid, count, ask.offset, ask.limit)] if ask.offset < count else []
        return Listing(count, [row for piece in pieces for row in _cut(replay, ask.flow_key, piece)])
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
    pieces = [_Piece(*piece) for piece in found]
    if len({piece.run_id for piece in pieces}) == len(pieces) and sum(piece.lines for piece in pieces) <= SHORT:
        return Listing(days.total, _together(replay, ask.flow_key, pieces))
    return Listing(days.total, [row for piece in pieces for row in _cut(replay, ask.flow_key, piece)])


# The runs that a page has lines of, and which of their lines.
_RUNS = """
    SELECT run_id, line_count, greatest(%(skip)s - before, 0),
        least(before + line_count, %(skip)s + %(limit)s) - greatest(before, %(skip)s)
    FROM (
        SELECT coalesce(filename_uuid, original_filename_uuid) AS run_id, line_count, created, log_id,
            (sum(line_count) OVER (ORDER BY created DESC, log_id DESC))::bigint - line_count AS before
        FROM archive.run
        WHERE flow_key = %(flow_key)s AND created >= %(first)s::timestamptz AND created < %(end)s::timestamptz
            AND line_count > 0 AND lines_pruned IS NULL
    ) summed
    WHERE before + line_count > %(skip)s AND before < %(skip)s + %(limit)s AND run_id IS NOT NULL
    ORDER BY created DESC, log_id DESC
"""
_LINES = """
    SELECT coalesce(sum(line_count), 0)::bigint FROM (
        SELECT line_count, lines_pruned FROM archive.run
        WHERE flow_key = %(flow_key)s AND filename_uuid = %(run_id)s
        UNION ALL SELECT line_count, lines_pruned FROM archive.run
        WHERE flow_key = %(flow_key)s AND filename_uuid IS NULL AND original_filename_uuid = %(run_id)s
    ) runs WHERE lines_pruned IS NULL
"""


def _lines_of_run(replay: Replay, flow_key: int, run_id: str) -> int:
    ((count,),) = replay.rows(_LINES, flow_key=flow_key, run_id=run_id)
    return int(count)


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
    SELECT {LINE} FROM archive.line
    WHERE flow_key = %(flow_key)s AND original_filename_uuid || '' = %(run_id)s
"""


# To plan a statement on all partitions takes longer than to answer it: one for all short runs of a page. `place` keeps
# each to its own part, whatever there is of the others.
_TOGETHER = f"""
    SELECT {LINE} FROM (
        SELECT l.*, p.place, p.skip, p.take,
            row_number() OVER (PARTITION BY p.place ORDER BY l.created DESC, l.log_id DESC) AS n
        FROM unnest(%(run_ids)s::text[], %(skips)s::bigint[], %(takes)s::bigint[]) WITH ORDINALITY
            AS p (run_id, skip, take, place)
        JOIN archive.line l ON l.flow_key = %(flow_key)s AND l.original_filename_uuid = p.run_id
    ) numbered
    WHERE n > skip AND n <= skip + take ORDER BY place, n
"""


def _together(replay: Replay, flow_key: int, pieces: Sequence[_Piece]) -> list[dict[str, object]]:
    bind: dict[str, list[object]] = {
        "run_ids": [piece.run_id for piece in pieces],
        "skips": [piece.skip for piece in pieces],
        "takes": [piece.take for piece in pieces],
    }
    return [line_log(row) for row in replay.rows(_TOGETHER, flow_key=flow_key, **bind)] if pieces else []


def _cut(replay: Replay, flow_key: int, piece: _Piece) -> list[dict[str, object]]:
    bind = {"flow_key": flow_key, "run_id": piece.run_id, "skip": piece.skip, "limit": piece.take}
    if piece.lines <= SHORT:
        return [line_log(row) for row in replay.rows(f"SELECT {LINE} {_OF_RUN} {_ORDER}", **bind)]
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
    return [line_log(row) for row in replay.rows(f"{statement} {_ORDER}", **bind)]
