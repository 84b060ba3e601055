"""What an archive needs now and then beside its flows: partitions ahead, old passes forgotten or folded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from archiver.errors import ArchiverError
from archiver.store import Store

EVERY = 6 * 60 * 60.0  # seconds between two rounds
FOLD = 60 * 60.0  # seconds between two times that passes without news are folded
AGAIN = 60.0  # seconds until what failed is tried again

log = structlog.get_logger("archiver.daemon")


class Upkeep:
    """Works in a thread of its own, which ends with the process: no flow waits for it, however long it takes.

    `then`: begun after each round.
    """

    def __init__(self, store: Store, then: Callable[[], None]) -> None:
        self._store = store
        self._then = then
        self._kept_up = self._folded = self._failed = float("-inf")  # by the monotonic clock
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin what is due, unless it is going on."""
        now = time.monotonic()
        is_due = now - self._folded > FOLD or now - self._kept_up > EVERY
        if is_due and now - self._failed > AGAIN and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._work, name="upkeep", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        now = time.monotonic()
        try:
            if now - self._kept_up > EVERY:
                self._store.partitions.ensure_ahead()
                self._store.forget_old_passes()
                self._then()
                self._kept_up = now
            if now - self._folded > FOLD:
                self._store.fold_passes()
                self._folded = now
        except ArchiverError as exc:
            self._failed = now
            log.warning("upkeep failed, tried again later", error=str(exc))
        except Exception:
            self._failed = now
            log.exception("upkeep crashed")
