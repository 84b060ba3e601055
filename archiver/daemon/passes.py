"""One pass as the log sees it: a number that all its lines carry, its requests where somebody debugs, one line at its
end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from archiver.archive import FlowReport
from archiver.client import RequestNote
from archiver.config import Flow
from archiver.store import Lease

_CLIENT = logging.getLogger("archiver.client")
log = structlog.get_logger("archiver.daemon")
requests_log = structlog.get_logger("archiver.client")


@contextmanager
def numbered(flow: Flow, lease: Lease) -> Iterator[None]:
    """Whatever is logged within, also of requests in other threads, names flow and pass."""
    with structlog.contextvars.bound_contextvars(flow=flow.name, pass_id=lease.pass_id):
        yield


def log_pass(report: FlowReport) -> None:
    """What a pass did, in one line; call it within `numbered`."""
    if report.crash is not None:
        log.error("pass crashed", exc_info=report.crash)
    level = log.warning if report.errors else log.info
    level(
        "pass",
        outcome=report.outcome,
        seconds=round(report.seconds, 3),
        requests=report.requests,
        runs_new=report.runs_new,
        runs_changed=report.runs_changed,
        lines_new=report.lines_new,
        lines_changed=report.lines_changed,
        sealed=report.sealed,
        details=report.details,
        late=report.late,
        **({"errors": report.errors} if report.errors else {}),
        **({"notes": report.notes} if report.notes else {}),
    )


def noting(on_request: Callable[[RequestNote], None] | None) -> Callable[[RequestNote], None]:
    """Log each request where the level is debug, and pass it on."""

    def note(request: RequestNote) -> None:
        if _CLIENT.isEnabledFor(logging.DEBUG):
            seconds = round(request.seconds, 4)
            requests_log.debug("request", **request._replace(seconds=seconds)._asdict())
        if on_request is not None:
            on_request(request)

    return note
