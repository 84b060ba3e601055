"""Requests made ahead, by some threads: each reads its last answer while its next one is on the way.

To send first costs no connection a pause; and a thread that goes on with what it has in hand need not wait for others
to let it run, which in a busy process takes longer than a request over a short way.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from archiver.client.channel import Meanwhile, Response, nothing

T = TypeVar("T")


class AskAgain(Exception):
    """What came cannot be read; another answer may be."""


@dataclass(slots=True, eq=False)
class _Task(Generic[T]):
    """One request. What is logged of it names the pass that it belongs to, so that it keeps its caller's context."""

    fetch: Callable[[Meanwhile], Response]
    read: Callable[[Response], T]
    future: Future[T] = field(default_factory=Future)
    context: Context = field(default_factory=copy_context)

    def answer(self, meanwhile: Meanwhile) -> Response | None:
        """Fetch the answer; None where there is none: the future has the reason."""
        try:
            return self.context.run(self.fetch, meanwhile)
        except BaseException as exc:  # noqa: BLE001 - it comes where the answer would have come
            self._fail(exc)
            return None

    def take(self, answer: Response) -> bool:
        """Read the answer; False where it has to be fetched again."""
        try:
            self.future.set_result(self.context.run(self.read, answer))
        except AskAgain:
            return False
        except BaseException as exc:  # noqa: BLE001
            self._fail(exc)
        return True

    def _fail(self, exc: BaseException) -> None:
        """An error and what raised it keep each other for a while: without the pages that these frames have in hand."""
        traceback.clear_frames(exc.__traceback__)
        self.future.set_exception(exc)


class Ahead:
    """Some threads that fetch and read, in the order of what is begun."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._busy = 0
        self._closed = False
        self._tasks: deque[_Task[object]] = deque()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "client-pages")

    def begin(self, fetch: Callable[[Meanwhile], Response], read: Callable[[Response], T]) -> Future[T] | None:
        """Fetch an answer and read it; None once this is closed. Where `read` raises AskAgain, both are done again.

        `fetch` is given what its thread has to do meanwhile: calling it at the first wait, once or more, is enough.
        """
        task = _Task(fetch, read)
        with self._lock:
            if self._closed:
                return None
            self._tasks.append(task)  # type: ignore[arg-type]
            if self._busy < self._threads:
                self._start(task)
        return task.future

    def _start(self, task: _Task[T]) -> None:
        try:
            self._pool.submit(self._work)
            self._busy += 1
        except RuntimeError:  # the system gives no thread; those that there are will come to it
            if self._busy <= 0:
                self._tasks.remove(task)  # type: ignore[arg-type]
                raise

    def close(self) -> None:
        """Begin nothing more. Does not wait for what is under way."""
        with self._lock:
            self._closed = True
            for task in self._tasks:
                task.future.cancel()
            self._pool.shutdown(wait=False)

    def _work(self) -> None:
        unread: _Unread | None = None
        while True:
            task = self._next(may_end=unread is None)
            if task is not None:
                answer = task.answer(unread or nothing)
                if unread is not None:
                    unread()
                unread = None if answer is None else _Unread(self, task, answer)
            elif unread is not None:
                unread()
                unread = None
            else:
                return

    def _next(self, *, may_end: bool) -> _Task[object] | None:
        with self._lock:
            while self._tasks:
                task = self._tasks.popleft()
                if task.future.running() or task.future.set_running_or_notify_cancel():
                    return task
            if may_end:
                self._busy -= 1
            return None

    def again(self, task: _Task[object]) -> None:
        """Do a task once more, before all others."""
        with self._lock:
            self._tasks.appendleft(task)


class _Unread:
    """An answer that is still to be read."""

    def __init__(self, ahead: Ahead, task: _Task[object], answer: Response) -> None:
        self._ahead = ahead
        self._left: tuple[_Task[object], Response] | None = (task, answer)

    def __call__(self) -> None:
        left, self._left = self._left, None
        if left is not None and not left[0].take(left[1]):
            self._ahead.again(left[0])
