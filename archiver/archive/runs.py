"""The way of one run: followed while it is open, its lines read when it has finished, sealed when they have settled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archiver.archive.turn import Turn
from archiver.errors import PageUnreadable, RequestRefused, SourceUnavailable
from archiver.logs import Line, LogType, Run, parse_line, parse_run, parse_step
from archiver.store import Put, Visit, Writer
from archiver.window import Listed, Sweep

BATCH = 10  # pages of lines in one transaction
NOT_LISTED = "the Integrator no longer lists it"
UNAVAILABLE = 3  # runs in a row without an answer: the Integrator is down, not the run
DAY = 24 * 60 * 60.0
STUCK = 7 * DAY


def pause(visits: int, first: float = 20.0, longest: float = 3600.0) -> float:
    """Seconds until the next visit: growing, so that nothing is asked for in vain too often."""
    return min(longest, first * 1.6 ** min(visits, 30))


def each(turn: Turn, states: tuple[str, ...], step: Callable[[Turn, Visit], None]) -> bool:
    """Take each run in these states that is due one step further, once; answers whether there was any."""
    any_due, last = False, None
    while visits := turn.store.visits(turn.flow_key, states, eager=turn.eager, after=last):
        for visit in visits:
            if (step.__name__, visit.log_id) not in turn.visited:
                turn.breathe()
                turn.visited.add((step.__name__, visit.log_id))
                _guarded(turn, visit, step)
                any_due = True
        last = visits[-1]
    return any_due


def _guarded(turn: Turn, visit: Visit, step: Callable[[Turn, Visit], None]) -> None:
    """One run that cannot be read does not stop the others: it is tried again later, and the report says so."""
    try:
        step(turn, visit)
    except (PageUnreadable, RequestRefused, SourceUnavailable) as exc:
        turn.report.errors.append(f"run {visit.run_id or visit.log_id}: {exc}")
        with turn.store.writing(turn.lease) as writer:
            writer.postpone(visit.log_id, pause(visit.visits), str(exc))
        turn.unavailable = turn.unavailable + 1 if isinstance(exc, SourceUnavailable) else 0
        if turn.unavailable >= UNAVAILABLE:
            raise
    else:
        turn.unavailable = 0


def reread(turn: Turn, visit: Visit) -> Run | None:
    """Ask for a run by its name and store what it has become; None where it is not listed."""
    page = turn.source.list_logs(turn.flow, LogType.MAIN, limit=25, page=1, run_id=visit.run_id)
    listed = [run for run in map(parse_run, page.rows) if run.log_id == visit.log_id]
    if not listed:
        if page.rows:  # the filter is ignored: that proves nothing, and polls see the run as well
            raise PageUnreadable("asked for one run, the Integrator lists others")
        return None
    run = _with_steps(turn, visit, listed[0])
    with turn.store.writing(turn.lease) as writer:
        put = writer.put_runs([run])
        writer.want_details([visit.log_id], turn.flow.details)
    turn.report.count_runs(put)
    return run


def _with_steps(turn: Turn, visit: Visit, run: Run) -> Run:
    """Steps come inside the run; they are asked for by themselves only where a finished run shows none."""
    if run.steps or run.state != 3 or "sub" not in turn.flow.levels:
        return run
    page = turn.source.list_logs(turn.flow, LogType.SUB, limit=100, page=1, run_id=visit.run_id)
    steps = [parse_step(row) for row in page.rows]
    return run._replace(steps=tuple(step for step in steps if step.log_id is not None))


def follow(turn: Turn, visit: Visit) -> None:
    """An open run: has it finished? Given up as lost when it is not listed twice in a row, as stuck after a week."""
    if visit.run_id is None:
        with turn.store.writing(turn.lease) as writer:
            writer.move(visit.log_id, "lost", None)
        turn.report.errors.append(f"run with log id {visit.log_id} has no execution id: it cannot be followed")
        return
    run = reread(turn, visit)
    if run is not None and run.state == 3:
        turn.report.finished += 1
        return
    with turn.store.writing(turn.lease) as writer:
        if run is None and visit.error == NOT_LISTED:
            writer.move(visit.log_id, "lost", None)
        elif run is None:
            writer.postpone(visit.log_id, 60.0, NOT_LISTED)
        elif visit.age > STUCK and visit.archive_state != "stuck":
            writer.move(visit.log_id, "stuck", DAY)
        else:
            stuck = visit.archive_state == "stuck"
            writer.postpone(visit.log_id, DAY if stuck else pause(visit.visits), None)


def fetch_lines(turn: Turn, visit: Visit) -> None:
    """A finished run owes its lines: read them all, or go on where a killed pass stopped."""
    then = _Then("settling", turn.flow.settle.total_seconds())
    if _has_lines(turn, visit):
        _sweep(turn, visit, then)
    else:
        with turn.store.writing(turn.lease) as writer:
            _conclude(turn, writer, visit, then, None)


def settle(turn: Turn, visit: Visit) -> None:
    """Some time after: has the run changed, are there more lines? Then seal it, and look once more after a day.

    The lines of a failed run are read again: their files may have been stored late.
    """
    then = _Then("sealed", None if visit.was_sealed else DAY)
    if visit.run_id is not None and not visit.sweep:
        reread(turn, visit)
    if _has_lines(turn, visit) and (visit.is_failed or visit.sweep or not _same_count(turn, visit)):
        _sweep(turn, visit, then)
        return
    with turn.store.writing(turn.lease) as writer:
        _conclude(turn, writer, visit, then, visit.source_line_count)


def _has_lines(turn: Turn, visit: Visit) -> bool:
    return "line" in turn.flow.levels and visit.run_id is not None


def _same_count(turn: Turn, visit: Visit) -> bool:
    page = turn.source.list_logs(turn.flow, LogType.LINE, limit=1, page=1, run_id=visit.run_id)
    return page.count is not None and page.count == visit.source_line_count


@dataclass(frozen=True, slots=True)
class _Then:
    """What becomes of a run once its lines are proven to be all there."""

    state: str
    wait: float | None


def _sweep(turn: Turn, visit: Visit, then: _Then) -> None:
    """Read the pages of a run's lines, several at a time, until they are proven to be all."""
    sweep = Sweep.from_json(visit.sweep) if visit.sweep else Sweep()
    while not sweep.exhausted:
        turn.breathe()
        sweep, proven = _batch(turn, visit, sweep, then)
        if proven:
            return
        if sweep.ended:
            sweep = sweep.again()
    why = "its lines could not be read for certain: their list keeps changing"
    with turn.store.writing(turn.lease) as writer:
        writer.save_sweep(visit.log_id, None)
        writer.postpone(visit.log_id, pause(visit.visits), why)
    turn.report.errors.append(f"run {visit.run_id}: {why}")


def _batch(turn: Turn, visit: Visit, sweep: Sweep, then: _Then) -> tuple[Sweep, bool]:
    """The next pages, in one transaction with the progress of the sweep, or with its conclusion."""
    pages = turn.source.list_pages(turn.flow, LogType.LINE, sweep.asks(BATCH), run_id=visit.run_id)
    lines: list[Line] = []
    for page in pages:
        parsed = [parse_line(row) for row in page.rows]
        ids = [line.src_hash if line.log_id is None else line.log_id for line in parsed]
        sweep = sweep.take(Listed(ids, page.count))
        lines += parsed
        if sweep.ended:
            break
    turn.store.partitions.ensure({(line.created or visit.created)[:7] for line in lines})
    with turn.store.writing(turn.lease) as writer:
        put = writer.put_lines(lines, (visit.log_id, visit.run_id or "", visit.created)) if lines else Put()
        proven = sweep.ended and sweep.certified(writer.line_total(visit.log_id))
        if proven:
            _conclude(turn, writer, visit, then, sweep.last)
        else:
            writer.save_sweep(visit.log_id, sweep.to_json())
    turn.report.count_lines(put)
    return sweep, proven


def _conclude(turn: Turn, writer: Writer, visit: Visit, then: _Then, count: int | None) -> None:
    """The lines are all there: want the files that they and the run have, and let the run settle, or seal it."""
    writer.want_details([visit.log_id], turn.flow.details)
    writer.move(visit.log_id, then.state, then.wait, source_lines=count)
    turn.report.sealed += then.state == "sealed"
