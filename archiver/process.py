"""What a process asks of the system for itself."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ARENAS = 2
_M_ARENA_MAX = -8  # of glibc's <malloc.h>


def few_arenas() -> bool:
    """Let threads share what they free; answers whether that was to be had.

    glibc gives nearly every thread a heap of its own, up to eight for each core, and none of them gets what lies free
    in another: with a dozen threads that came to 15 MB, and to more with every hour. It holds for threads that come
    later.
    Nothing is done where `$MALLOC_ARENA_MAX` says something else, or the C library has no such heaps.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS) == 1)
    except (AttributeError, OSError, TypeError):
        return False


def many_files() -> None:
    """As many open files as the system allows: most give a process 1,024 at first, and a thousand clients take them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS says "unlimited" and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Hold the lock of a file, which is made with its folder; False where somebody else has it. The kernel forgets
    those who die."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a child forked a moment ago may hold a copy
