"""What an archive needs now and then beside its flows: partitions ahead, old passes forgotten or folded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from archiver.errors import ArchiverError
from archiver.store import Store

EVERY = 6 * 60 * 60.0  # seconds between two times that something is done
FOLD = 60 * 60.0  # the same for passes without news, which are folded
AGAIN = 60.0  # seconds until what failed is tried again

log = structlog.get_logger("archiver.daemon")


class _Task:
    """Something to do every so many seconds. `due`: when, by the monotonic clock."""

    def __init__(self, do: Callable[[], object], every: float) -> None:
        self.do = do
        self.every = every
        self.due = float("-inf")


class Upkeep:
    """Works in a thread of its own, which ends with the process: no flow waits for it, however long it takes.

    `index`: begins to make the indexes that are missing. What fails keeps nothing else from being done.
    """

    def __init__(self, store: Store, index: Callable[[], None], stopping: Callable[[], bool] = lambda: False) -> None:
        self._tasks = (
            _Task(store.fold_passes, FOLD),
            _Task(store.partitions.ensure_ahead, EVERY),
            _Task(store.forget_old_passes, EVERY),
            _Task(index, EVERY),
        )
        self._stopping = stopping
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin what is due, unless something is going on."""
        now = time.monotonic()
        if any(task.due <= now for task in self._tasks) and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._work, name="upkeep", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        for task in self._tasks:
            if task.due <= time.monotonic() and not self._stopping():
                task.due = time.monotonic() + (task.every if self._is_done(task) else AGAIN)

    def _is_done(self, task: _Task) -> bool:
        try:
            task.do()
        except ArchiverError as exc:
            if not self._stopping():
                log.warning("upkeep failed, tried again later", error=str(exc))
        except Exception:
            log.exception("upkeep crashed")
        else:
            return True
        return False
