"""A few threads that answer requests, and a short queue before them: everything else is told to come again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from archiver.web.errors import Busy

THREADS = 4  # and as many connections to the database
QUEUE = 64  # requests that wait for a thread
PATIENCE = 5.0  # seconds that they wait

T = TypeVar("T")


class Workers:
    """Runs handlers for the event loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="web")
        self.under_way = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, done in one of the threads. Raises Busy where too many others wait for one."""
        if self.under_way >= THREADS + QUEUE:
            raise Busy("The archive is busy; try again in a moment.", 1.0)
        came = time.monotonic()

        def begun() -> T:
            if time.monotonic() - came > PATIENCE:
                raise Busy("The archive is busy; try again in a moment.", 1.0)
            return work()

        self.under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, begun)
        finally:
            self.under_way -= 1

    def close(self) -> None:
        """Take no more work; what is under way ends by its statement timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)
