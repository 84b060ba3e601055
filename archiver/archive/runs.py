"""The way of one run: followed while it is open, its lines read when it has finished, sealed when they have settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from archiver.archive.lines import Then, conclude, pause, put_off, read_lines
from archiver.archive.turn import Turn
from archiver.errors import PageUnreadable, RequestRefused, SourceUnavailable
from archiver.logs import LogType, Run, State, Step, parse_run, parse_step
from archiver.store import Put, Visit
from archiver.window import LARGEST

NOT_LISTED = "the Integrator no longer lists it"
DAY = 24 * 60 * 60.0


def visit_each(turn: Turn, states: tuple[str, ...], step: Callable[[Turn, Visit], None]) -> bool:
    """Take each run in these states that is due one step further, once; answers whether there was any."""
    any_due = False
    for visit in _due(turn, states, step.__name__):
        turn.breathe()
        _guarded(turn, visit, step)
        any_due = True
    return any_due


def _due(turn: Turn, states: tuple[str, ...], step: str) -> Iterator[Visit]:
    """The runs in these states that are due, each once a turn for this step."""
    last = None
    while visits := turn.store.visits(turn.flow_key, states, eager=turn.eager, after=last):
        for visit in visits:
            if (step, visit.log_id) not in turn.visited:
                turn.visited.add((step, visit.log_id))
                yield visit
        last = visits[-1]


def _guarded(turn: Turn, visit: Visit, step: Callable[[Turn, Visit], None]) -> None:
    unavailable = turn.unavailable
    try:
        step(turn, visit)
    except (PageUnreadable, RequestRefused, SourceUnavailable) as exc:
        put_off(turn, visit, exc)
    else:
        turn.unavailable = 0 if turn.unavailable == unavailable else turn.unavailable


def reread(turn: Turn, visit: Visit) -> Run | None:
    """Ask for a run by its name and store what it has become; None where it is not listed."""
    page = turn.source.list_logs(turn.flow, LogType.MAIN, limit=25, page=1, run_id=visit.run_id)
    listed = [run for run in map(parse_run, page.rows) if run.log_id == visit.log_id]
    if not listed:
        if page.rows:  # the filter is ignored: that proves nothing, and polls see the run as well
            raise PageUnreadable("asked for one run, the Integrator lists others")
        return None
    run = listed[0]
    steps = [] if run.steps or run.state != State.FINISHED else _listed_steps(turn, visit)
    with turn.store.writing(turn.lease) as writer:
        put = writer.put_runs([run])
        refused = writer.put_steps(steps, (visit.log_id, visit.created))
        writer.want_details([visit.log_id], turn.flow.details)
    turn.report.count_runs(put._replace(refused=put.refused + refused))
    return run


def _listed_steps(turn: Turn, visit: Visit) -> list[Step]:
    """The steps of a finished run that does not show them itself: asked for page by page, until nothing new comes."""
    if "sub" not in turn.flow.levels or visit.run_id is None:
        return []
    steps: dict[int, Step] = {}  # by id, or by hash where they have none
    for number in count(1):
        page = turn.source.list_logs(turn.flow, LogType.SUB, limit=LARGEST, page=number, run_id=visit.run_id)
        listed = [step for step in map(parse_step, page.rows) if step.original_filename_uuid in (None, visit.run_id)]
        more = {step.src_hash if step.log_id is None else step.log_id: step for step in listed}
        is_last = more.keys() <= steps.keys() or (len(page.rows) < LARGEST and page.count == len(steps | more))
        steps |= more
        if is_last:
            break
    return [*steps.values()]


def follow(turn: Turn, visit: Visit) -> None:
    """An open run: has it finished? Given up as lost when it is not listed twice in a row, as stuck after
    `stuck_after`; its lines are read then as they are, and those of a stuck one again every day."""
    if visit.run_id is None:
        with turn.store.writing(turn.lease) as writer:
            writer.move([visit.log_id], "lost", None)
        turn.report.errors.append(f"run with log id {visit.log_id} has no execution id: it cannot be followed")
        return
    run = reread(turn, visit)
    if run is not None and run.state == State.FINISHED:
        turn.report.finished += 1
    elif run is None and visit.error == NOT_LISTED and turn.is_list_credible:
        _leave(turn, visit, Then("lost", None, as_is=True))
    elif run is not None and visit.archive_state == "stuck" and not visit.is_due:
        pass  # whoever is eager asks for the run alone
    elif run is not None and visit.age > turn.flow.stuck_after.total_seconds():
        _leave(turn, visit, Then("stuck", DAY, as_is=True))
    else:
        wait, why = (60.0, NOT_LISTED) if run is None else (pause(visit.visits), None)
        with turn.store.writing(turn.lease) as writer:
            writer.postpone(visit.log_id, wait, why)


def _leave(turn: Turn, visit: Visit, then: Then) -> None:
    """An open run that does not finish: nobody knows for how long its lines can still be had."""
    if _has_lines(turn, visit):
        read_lines(turn, [visit], then)
        return
    with turn.store.writing(turn.lease) as writer:
        writer.move([visit.log_id], then.state, then.wait)


def fetch_lines(turn: Turn) -> bool:
    """Finished runs owe their lines: read them all, or go on where a killed pass stopped; answers whether any did."""
    then = Then("settling", turn.flow.settle.total_seconds())
    any_due = False

    def with_lines() -> Iterator[Visit]:
        nonlocal any_due
        for visit in _due(turn, ("pending",), "fetch_lines"):
            any_due = True
            if visit.lacks_steps:
                _guarded(turn, visit, _fetch_steps)
            if _has_lines(turn, visit):
                yield visit
                continue
            turn.breathe()
            with turn.store.writing(turn.lease) as writer:
                conclude(turn, writer, {visit.log_id: None}, then)

    read_lines(turn, with_lines(), then)
    return any_due


def _fetch_steps(turn: Turn, visit: Visit) -> None:
    if steps := _listed_steps(turn, visit):
        with turn.store.writing(turn.lease) as writer:
            refused = writer.put_steps(steps, (visit.log_id, visit.created))
        turn.report.count_runs(Put(refused=refused))


def settle(turn: Turn, visit: Visit) -> None:
    """Some time after: has the run changed, are there more lines? Then seal it, and look once more after a day.

    The lines of a failed run are read again, for their files may have been stored late; and so are those of a run that
    had finished before some of its lines had.
    """
    then = Then("sealed", None if visit.was_sealed else DAY)
    if visit.run_id is not None and not visit.sweep:
        reread(turn, visit)
    if _has_lines(turn, visit) and (visit.is_failed or visit.sweep or _may_have_changed(turn, visit)):
        read_lines(turn, [visit], then)
        return
    with turn.store.writing(turn.lease) as writer:
        conclude(turn, writer, {visit.log_id: visit.source_line_count}, then)


def _has_lines(turn: Turn, visit: Visit) -> bool:
    return "line" in turn.flow.levels and visit.run_id is not None


def _may_have_changed(turn: Turn, visit: Visit) -> bool:
    return turn.store.has_unfinished_lines(turn.flow_key, visit.run_id or "") or not _same_count(turn, visit)


def _same_count(turn: Turn, visit: Visit) -> bool:
    page = turn.source.list_logs(turn.flow, LogType.LINE, limit=1, page=1, run_id=visit.run_id)
    return page.count is not None and page.count == visit.source_line_count
