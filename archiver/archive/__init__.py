"""The passes: one flow's turn, under its lease. They decide with the pure rooms, and do with client and store.

A turn polls for new runs, follows the open ones, reads the lines of the finished ones, seals those that have settled,
downloads the files of the failed ones, and, when nothing newer is left, walks on through history. Every step is a short
transaction; what is left when the turn's time is up stays in the tables, and the next turn goes on with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from archiver.archive.files import fetch_details
from archiver.archive.kinds import recognise
from archiver.archive.memory import NONE, PageMemory
from archiver.archive.poll import backfill, poll
from archiver.archive.runs import fetch_lines, follow, settle, visit_each
from archiver.archive.turn import Counted, FlowReport, OutOfTime, Source, Turn
from archiver.config import Flow
from archiver.errors import ArchiverError, LeaseLost, LoginRefused, PageUnreadable
from archiver.store import Lease, Store
from archiver.worker_processes import ALONE, Helpers

__all__ = ["FlowReport", "OutOfTime", "PageMemory", "Source", "archive_flow"]


def archive_flow(
    flow: Flow,
    source: Source,
    store: Store,
    lease: Lease,
    *,
    seconds: float = float("inf"),
    helpers: Helpers = ALONE,
    memory: PageMemory = NONE,
    eager: bool = False,
    next_due: Callable[[], float] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    progress: Callable[[FlowReport], None] = lambda _: None,
) -> FlowReport:
    """One turn of a flow, at most about `seconds` long, under `lease`, which it gives back at its end.

    `next_due` is asked at the turn's end for the seconds until the flow is due again (at once where work is left
    over). `helpers` read pages, where there are many; `memory` knows those that came before. Errors go into the
    report, the database's too: raised are only those for which the pass cannot be written down.
    """
    report = FlowReport(flow.name)
    began, counted = time.monotonic(), Counted(source, stopping)
    turn = Turn(
        flow=flow,
        lease=lease,
        source=counted,
        store=store,
        report=report,
        eager=eager,
        deadline=began + seconds,
        stopping=stopping,
        progress=progress,
        helpers=helpers,
        memory=memory,
    )
    if _attempt(turn):
        next_due = next_due and _at_once
    report.seconds, report.requests = time.monotonic() - began, counted.requests
    broken_off = not report.done and stopping()
    store.end_pass(lease, _pass_row(report), next_due=next_due and next_due(), broken_off=broken_off)
    return report


def _attempt(turn: Turn) -> bool:
    """Work, and put into the report what came of it; answers whether the time ran out."""
    report = turn.report
    try:
        _work(turn)
        report.done = True
    except OutOfTime:
        return True
    except LeaseLost:
        report.notes.append("another process took the flow over")
    except ArchiverError as exc:
        report.errors.append(str(exc))
        report.login_refused = isinstance(exc, LoginRefused)
    except Exception as exc:  # noqa: BLE001 - one flow's crash must not sink the others; the caller logs it
        report.errors.append(f"internal error: {type(exc).__name__}; this is a bug in the archiver")
        report.crash = exc
    return False


def _work(turn: Turn) -> None:
    """Everything that is due, newest first; what one step brings to light, the next round does."""
    try:
        poll(turn)
    except PageUnreadable as exc:  # the list of runs is broken; the runs that are known need not wait for it
        turn.report.errors.append(f"list of runs: {exc}")
    going = True
    while going:
        checkpoint = turn.store.checkpoint(turn.flow_key, eager=turn.eager)
        going = any([checkpoint.owes and _catch_up(turn), backfill(turn, checkpoint)])


def _catch_up(turn: Turn) -> bool:
    """Follow, read, seal, download, each run and file at most once a turn, and recognise what failed; answers whether
    there was any."""
    return any(
        [
            visit_each(turn, ("open", "stuck"), follow),
            fetch_lines(turn),
            visit_each(turn, ("settling", "sealed"), settle),
            fetch_details(turn),
            recognise(turn),
        ]
    )


def _at_once() -> float:
    return 0.0


def _pass_row(report: FlowReport) -> dict[str, object]:
    return {
        "outcome": report.outcome,
        "seconds": report.seconds,
        "requests": report.requests,
        "rows_new": report.runs_new + report.lines_new,
        "rows_changed": report.runs_changed + report.lines_changed,
        "error": "; ".join(dict.fromkeys(report.errors)) or None,
        "login_refused": report.login_refused,
    }
