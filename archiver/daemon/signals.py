"""SIGTERM and SIGINT: a flag that everybody looks at, and an end that comes whatever hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Self

import structlog

GRACE = 9.0  # seconds from the signal to the end of the process, at the latest
BOTH = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger("archiver.daemon")


class Interrupted(KeyboardInterrupt):
    """A signal came while the daemon was still starting: whatever it waited for is broken off."""


class Signals:
    """The signals of a daemon, for as long as the block lasts; `stop` is set by the first one that ends it.

    `hangups` counts the SIGHUPs that ask for the configuration to be read again. One that says that the daemon's
    terminal has gone ends it, unless it was started to survive that, by nohup.

    A handler may interrupt any code of the main thread, also such that holds a lock. So it takes none itself: it
    writes to a pipe, and a thread at the other end does the rest. The same thread ends the process when `GRACE` is
    over, for neither an answer nor a lock that somebody waits for in a system call can be broken off from outside.
    That loses nothing: it is what kill -9 does.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._over = threading.Event()
        self._read, self._write = os.pipe()
        self._status = 0
        self._starting = True
        self._before = set(threading.enumerate())
        self._previous = {one: signal.signal(one, self._on_signal) for one in BOTH}
        self.hangups = 0
        self._on_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()
        self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hangup)
        self._thread = threading.Thread(target=self._attend, name="signals", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for one, handler in self._previous.items():
            signal.signal(one, handler)
        if self._somebody_hangs():
            self.give_up()  # a signal has set off the end already
            return
        self._over.set()
        os.write(self._write, b"\0")
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def started(self) -> None:
        """From now on a signal only sets the flag."""
        self._starting = False

    def give_up(self) -> None:
        """End the process with status 1 when `GRACE` is over, unless a signal came before."""
        os.write(self._write, b"\0")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        os.write(self._write, bytes([number]))
        if self._starting:
            self._starting = False
            raise Interrupted

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._on_terminal and not _has_terminal():
            self._on_signal(number, frame)
        else:
            self.hangups += 1

    def _attend(self) -> None:
        number = os.read(self._read, 1)[0]
        if number:
            log.info("stopping", signal=signal.Signals(number).name)
        else:
            self._status = 1
        self.stop.set()
        if not self._over.wait(GRACE):
            os._exit(self._status)

    def _somebody_hangs(self) -> bool:
        """Whether threads of the daemon are left. The interpreter would wait for those of a pool, daemonic or not."""
        until = time.monotonic() + 1.0  # for those that are just leaving
        while set(threading.enumerate()) - self._before - {self._thread}:
            if time.monotonic() > until:
                return True
            time.sleep(0.02)
        return False


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
