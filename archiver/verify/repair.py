"""Mending what an audit found, through the ordinary writer, under the flow's lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

from archiver.errors import ArchiverError, LeaseLost
from archiver.logs import Line, Run
from archiver.queries.holdings import Holdings
from archiver.store import Lease, Store
from archiver.store.mending import Mending
from archiver.verify.verdict import is_intact


class Mender:
    """Stores again what the Integrator shows, and wants files again. Takes the flow's lease when it is first needed."""

    def __init__(self, store: Store, flow_key: int, stopping: Callable[[], bool] = lambda: False) -> None:
        self._store = store
        self._flow_key = flow_key
        self._stopping = stopping
        self._lease: Lease | None = None

    def put_run(self, run: Run) -> None:
        """Store a run and its steps as they are now, whatever is there. It then owes its lines, if it was not there."""
        self._do(lambda mending: mending.put_run(run))

    def put_lines(self, lines: Sequence[Line], run: tuple[int, str, str]) -> None:
        """Store lines of a run, given as (log id, run id, created), whatever is there."""
        self._store.partitions.ensure({(line.created or run[2])[:7] for line in lines})
        self._do(lambda mending: mending.put_lines_anew(lines, run))

    def want_files(self, run_log_id: int, policy: str) -> None:
        """Want the files that a run announces and of which nothing is known."""
        self._do(lambda mending: mending.want_details([run_log_id], policy))

    def want_again(self, log_type: int, log_id: int) -> None:
        """Want a file once more, whatever became of it."""
        self._do(lambda mending: mending.want_again(log_type, log_id))

    def remember(self) -> None:
        """Let everything that is owed be due again."""
        self._do(lambda mending: mending.remember())

    def drop_copies(self, holdings: Holdings) -> None:
        """Of lines that are there twice, leave the one that is as it came, where just one is."""
        for copies in holdings.copies():
            whole = [line for line in copies if is_intact(line)]
            if len(whole) == 1:
                self._drop([line for line in copies if line.created != whole[0].created])

    def _drop(self, lines: Sequence[Line]) -> None:
        def drop(mending: Mending) -> None:
            for line in lines:
                mending.drop_line(line)

        self._do(drop)

    def _do(self, step: Callable[[Mending], object]) -> None:
        for last in (False, True):
            try:
                with self._store.mending(self._claimed()) as mending:
                    step(mending)
            except LeaseLost:
                self._lease = None
                if last:
                    raise
            else:
                return

    def _claimed(self) -> Lease:
        self._lease = self._lease or self._store.leases.wait(self._flow_key, self._stopping)
        if self._lease is None:
            raise LeaseLost("the audit was to stop while it waited for another process")
        return self._lease

    def __enter__(self) -> Mender:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._lease is not None:
            with suppress(ArchiverError):  # it ends by itself
                self._store.leases.release(self._lease)
