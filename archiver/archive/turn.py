"""One flow's turn: what it works with, and what it reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from archiver.archive.memory import NONE, PageMemory
from archiver.config import Flow
from archiver.errors import ArchiverError, LoginHeld, SourceUnavailable
from archiver.logs import LogType, Page
from archiver.store import Lease, Put, Store
from archiver.window import Ask
from archiver.worker_processes import ALONE, Helpers

T = TypeVar("T")
AskPage = Callable[[Ask, str | None], Callable[[], T]]  # a page and a run's id → the call that waits for the page


class File(Protocol):
    """A download as it came; `too_large` where it was not read to its end."""

    @property
    def body(self) -> bytes: ...
    @property
    def too_large(self) -> bool: ...


class Source(Protocol):
    """The Integrator, as far as the passes need it; `client.Client` is one.

    Every call may raise SourceUnavailable, LoginRefused, RequestRefused or PageUnreadable; so may those that `ahead`
    gives for a page.
    """

    @property
    def connections(self) -> int:
        """Requests that may be under way at the same time."""
        ...

    def list_logs(self, flow: Flow, log_type: LogType, *, limit: int, page: int, run_id: str | None = None) -> Page:
        """One page of a flow's logs, of all or of one run (its execution id)."""
        ...

    def ahead(
        self, flow: Flow, log_type: LogType, read: Callable[[bytes, tuple[str, ...]], T]
    ) -> AbstractContextManager[AskPage[T]]:
        """Pages that are fetched, and read by `read` (its body, the flow's `redact`), while the caller does something
        else."""
        ...

    def download(self, flow: Flow, log_id: int) -> File | None:
        """The file of a log; None where there is none."""
        ...


class OutOfTime(ArchiverError):
    """The turn has used up its time, or the process is to stop; what is left stays in the tables."""


class Counted:
    """A source that counts what one turn asks of it; the client's own counter is shared by all turns.

    Where the process is to stop, an answer that does not come is no fault of the Integrator: the call was broken off.
    """

    def __init__(self, source: Source, stopping: Callable[[], bool]) -> None:
        self._source = source
        self._stopping = stopping
        self.requests = 0

    @property
    def connections(self) -> int:
        return self._source.connections

    def list_logs(self, flow: Flow, log_type: LogType, *, limit: int, page: int, run_id: str | None = None) -> Page:
        with self._sent():
            return self._source.list_logs(flow, log_type, limit=limit, page=page, run_id=run_id)

    @contextmanager
    def ahead(self, flow: Flow, log_type: LogType, read: Callable[[bytes, tuple[str, ...]], T]) -> Iterator[AskPage[T]]:
        with self._source.ahead(flow, log_type, read) as ask_source:

            def ask(what: Ask, run_id: str | None) -> Callable[[], T]:
                with self._broken_off():
                    answer_source = ask_source(what, run_id)

                def answer() -> T:
                    with self._sent():
                        return answer_source()

                return answer

            yield ask

    def download(self, flow: Flow, log_id: int) -> File | None:
        with self._sent():
            return self._source.download(flow, log_id)

    @contextmanager
    def _sent(self) -> Iterator[None]:
        self.requests += 1
        try:
            with self._broken_off():
                yield
        except LoginHeld:
            self.requests -= 1
            raise

    @contextmanager
    def _broken_off(self) -> Iterator[None]:
        try:
            yield
        except SourceUnavailable as exc:
            if self._stopping():
                raise OutOfTime("the process is to stop") from exc
            raise


@dataclass(slots=True)
class FlowReport:
    """What a turn did. `errors` are things that went wrong in it; `notes` are worth telling, but nothing is wrong."""

    flow: str
    runs_new: int = 0
    runs_changed: int = 0
    lines_new: int = 0
    lines_changed: int = 0
    refused: int = 0
    late: int = 0
    finished: int = 0
    sealed: int = 0
    details: int = 0
    requests: int = 0
    seconds: float = 0.0
    done: bool = False
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    login_refused: bool = False
    crash: Exception | None = None

    @property
    def outcome(self) -> str:
        """For the table of passes: done, left (work remains for the next turn), or failed."""
        if self.errors:
            return "failed"
        return "done" if self.done else "left"

    def count_runs(self, put: Put) -> None:
        """Add what became of runs; rows that Postgres refused are an error."""
        self.runs_new += put.new
        self.runs_changed += put.changed
        self._count_refused(put)

    def count_lines(self, put: Put) -> None:
        """Add what became of lines; rows that Postgres refused are an error."""
        self.lines_new += put.new
        self.lines_changed += put.changed
        self._count_refused(put)

    def _count_refused(self, put: Put) -> None:
        self.refused += put.refused
        if put.refused:
            self.errors.append(f"{put.refused} rows could not be stored; archive.quarantine keeps them")


@dataclass(slots=True)
class Turn:
    """The right to work on a flow for a while. `eager` ignores pauses between tries, as `sync` does."""

    flow: Flow
    lease: Lease
    source: Counted
    store: Store
    report: FlowReport
    eager: bool = False
    deadline: float = float("inf")  # of time.monotonic()
    stopping: Callable[[], bool] = lambda: False
    progress: Callable[[FlowReport], None] = lambda _: None
    visited: set[tuple[str, int]] = field(default_factory=set)  # step and run: each once a turn
    fetched: set[tuple[int, int]] = field(default_factory=set)  # log type and id of files
    width: int = 1  # pages of lines that may be under way
    unavailable: int = 0  # runs in a row that the Integrator would not answer for
    is_list_credible: bool = True  # what is not listed in this turn may well be gone
    delivers: bool = False  # some download of this turn was answered
    undelivered: int = 0  # downloads in a row without an answer
    helpers: Helpers = ALONE
    memory: PageMemory = NONE

    @property
    def flow_key(self) -> int:
        return self.lease.flow_key

    def breathe(self) -> None:
        """Between two steps: raises OutOfTime where the turn has to end here."""
        self.progress(self.report)
        if self.stopping() or time.monotonic() > self.deadline:
            raise OutOfTime("the turn is over")
