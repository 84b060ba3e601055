"""From what is asked for to the page: which list it is, and main and sub logs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from archiver.logs import LogType, Step
from archiver.queries.originals import RUN_TEXT, STEP_TEXT, run_text, step_of, step_text
from archiver.queries.replay.asking import Ask, Listing, Replay
from archiver.queries.replay.days import days_of
from archiver.queries.replay.lines import lines


class Named(NamedTuple):
    """A flow as the Logs API names it."""

    flow_key: int
    integrator: str
    project_slug: str | None


def flows_called(replay: Replay, project_id: str, flow_id: str) -> list[Named]:
    """The flows with these ids: one, unless two integrators have it."""
    found = replay.rows(
        "SELECT flow_key, integrator, project_slug FROM archive.flow"
        " WHERE project_id = %(project_id)s AND flow_id = %(flow_id)s ORDER BY integrator",
        project_id=project_id,
        flow_id=flow_id,
    )
    return [Named(*row) for row in found]


def listing(replay: Replay, ask: Ask) -> Listing:
    """The page that was asked for; without rows behind the end of the list."""
    if ask.log_type is LogType.LINE:
        return lines(replay, ask)
    if ask.log_type is LogType.SUB:
        return _sub_logs(replay, ask)
    return _main_logs(replay, ask)


# A flow's runs, newest first: one statement for the page, and one for the steps of all its runs.
_RUNS = f"SELECT {RUN_TEXT}{{more}} FROM archive.run r WHERE r.flow_key = %(flow_key)s {{which}}"
_PAGE = " ORDER BY r.created DESC, r.log_id DESC OFFSET %(skip)s LIMIT %(limit)s"
_EMBEDDED = f"""
    SELECT {STEP_TEXT}, run_log_id FROM archive.step
    WHERE flow_key = %(flow_key)s AND position IS NOT NULL AND run_log_id = ANY(%(runs)s)
    ORDER BY run_log_id, position
"""


def _main_logs(replay: Replay, ask: Ask) -> Listing:
    if ask.filename_uuid is None and ask.original_filename_uuid is None:
        days = days_of(replay, ask.flow_key, "runs", ask.offset, ask.limit)
        if days.first is None:
            return Listing(days.total, ())
        found = replay.rows(
            _RUNS.format(more="", which="AND r.created >= %(first)s::timestamptz AND r.created < %(end)s::timestamptz")
            + _PAGE,
            flow_key=ask.flow_key,
            first=days.first,
            end=days.end,
            skip=ask.offset - days.before,
            limit=ask.limit,
        )
        return Listing(days.total, _with_steps(replay, ask.flow_key, found))
    named = "AND r.filename_uuid = %(own)s " if ask.filename_uuid is not None else ""
    named += "AND r.original_filename_uuid = %(original)s" if ask.original_filename_uuid is not None else ""
    found = replay.rows(
        _RUNS.format(more=", count(*) OVER ()", which=named) + _PAGE,
        flow_key=ask.flow_key,
        own=ask.filename_uuid,
        original=ask.original_filename_uuid,
        skip=ask.offset,
        limit=ask.limit,
    )
    total = found[0][-1] if found else 0
    return Listing(total, _with_steps(replay, ask.flow_key, [row[:-1] for row in found]))


def _with_steps(replay: Replay, flow_key: int, runs: Sequence[Any]) -> list[bytes]:
    steps: dict[int, list[Step]] = {}
    for *columns, run in replay.rows(_EMBEDDED, flow_key=flow_key, runs=[run[0] for run in runs]) if runs else ():
        steps.setdefault(run, []).append(step_of(columns))
    return [run_text(run, steps.get(run[0], ())) for run in runs]


# Sub logs of a flow come by id, the youngest first: they are embedded in their runs, and hardly asked for alone.
_IDS = """
    SELECT log_id FROM archive.step
    WHERE flow_key = %(flow_key)s AND (%(after)s::bigint IS NULL OR log_id < %(after)s)
    ORDER BY log_id DESC OFFSET %(skip)s LIMIT %(limit)s
"""
_STEPS = f"SELECT {STEP_TEXT} FROM archive.step s WHERE flow_key = %(flow_key)s"
_OF_RUN = """
    AND run_log_id = ANY(ARRAY(
        SELECT log_id FROM archive.run WHERE flow_key = %(flow_key)s AND filename_uuid = %(run_id)s
        UNION ALL SELECT log_id FROM archive.run
        WHERE flow_key = %(flow_key)s AND filename_uuid IS NULL AND original_filename_uuid = %(run_id)s))
"""


def _sub_logs(replay: Replay, ask: Ask) -> Listing:
    if ask.filename_uuid is None and ask.original_filename_uuid is None:
        return _all_sub_logs(replay, ask)
    found = replay.rows(
        _STEPS
        + (_OF_RUN if ask.original_filename_uuid is not None else "")
        + (" AND filename_uuid = %(own)s" if ask.filename_uuid is not None else "")
        + " ORDER BY created DESC, log_id DESC",
        flow_key=ask.flow_key,
        run_id=ask.original_filename_uuid,
        own=ask.filename_uuid,
    )
    return Listing(len(found), [step_text(row) for row in found[ask.offset : ask.offset + ask.limit]])


def _all_sub_logs(replay: Replay, ask: Ask) -> Listing:
    """Counted each time, by index alone: no counter is kept of them."""
    ((count,),) = replay.rows("SELECT count(*) FROM archive.step WHERE flow_key = %(key)s", key=ask.flow_key)
    if ask.offset >= count:
        return Listing(count, ())
    key = ("steps", ask.flow_key, count)
    before, place = replay.memory.before(key, ask.offset)
    found = replay.rows(
        _IDS, flow_key=ask.flow_key, after=place and place[0], skip=ask.offset - before, limit=ask.limit
    )
    ids = [log_id for (log_id,) in found]
    if ids:
        replay.memory.note(key, ask.offset + len(ids), (ids[-1],))
    rows = replay.rows(_STEPS + " AND log_id = ANY(%(ids)s) ORDER BY log_id DESC", flow_key=ask.flow_key, ids=ids)
    return Listing(count, [step_text(row) for row in rows])
