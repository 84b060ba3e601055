"""Deadlines that hold against a drip of single bytes: a watchdog pulls the connection out of the wall."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from urllib3.connection import HTTPConnection


class Plug:
    """The connection of one channel, as far as another thread may touch it: it can be pulled, and nothing else.

    It holds its own duplicate of the socket. Shutting that down ends every read and write on the connection at once,
    also in the middle of a TLS handshake, and never meets a file descriptor that has been used again.
    """

    def __init__(self) -> None:
        self.pulled = False
        self.fresh = False  # whether the try under way made its own connection
        self.host = ""  # what the last request on the connection said in `Host`
        self._socket: socket.socket | None = None
        self._owner: HTTPConnection | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """A new try begins."""
        with self._lock:
            self.pulled = self.fresh = False

    def insert(self, made: socket.socket, owner: HTTPConnection) -> None:
        """The try made a connection of its own."""
        self.unplug()
        with self._lock:
            self._socket, self._owner = made.dup(), owner
            self.fresh = True
        if self.pulled:
            self.pull()

    def pull(self) -> None:
        """End the try under way, from any thread."""
        with self._lock:
            self.pulled = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # already closed by the other side
                    self._socket.shutdown(socket.SHUT_RDWR)

    def kept(self) -> HTTPConnection | None:
        """The connection of the tries before, where it is still open and the other side has sent nothing unasked."""
        owner = self._owner
        return owner if owner is not None and owner.is_connected else None

    def tidy(self) -> None:
        """The try has ended; if its connection is not kept, let it go."""
        if self._owner is not None and self._owner.sock is None:
            self.unplug()

    def unplug(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._owner = None
            if self._socket is not None:
                self._socket.close()
                self._socket = None


class Watchdog:
    """One thread for all deadlines of a client, started with the first of them.

    It sleeps until the earliest deadline it knows. Later ones do not wake it, so a request costs no thread switch.
    """

    def __init__(self) -> None:
        self._deadlines: dict[Plug, float] = {}
        self._wakes_at: float | None = None
        self._closed = False
        self._change = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    def watch(self, plug: Plug, deadline: float) -> None:
        """Pull the plug at `deadline` (monotonic seconds), unless `done` comes first."""
        with self._change:
            self._deadlines[plug] = deadline
            if self._closed:
                plug.pull()
            elif self._thread is None:
                thread = threading.Thread(target=self._run, name="client-deadlines", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    del self._deadlines[plug]
                    raise
                self._thread = thread
            elif self._wakes_at is None or deadline < self._wakes_at:
                self._change.notify()

    def done(self, plug: Plug) -> None:
        """The request has ended; from here on its plug is not pulled."""
        with self._change:
            self._deadlines.pop(plug, None)

    def close(self) -> None:
        """Pull every plug, now and from now on, and end the thread."""
        with self._change:
            self._closed = True
            for plug in self._deadlines:
                plug.pull()
            self._change.notify()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def _run(self) -> None:
        with self._change:
            while not self._closed:
                now = time.monotonic()
                for plug in [plug for plug, at in self._deadlines.items() if at <= now]:
                    del self._deadlines[plug]
                    plug.pull()
                self._wakes_at = min(self._deadlines.values(), default=None)
                self._change.wait(None if self._wakes_at is None else self._wakes_at - now)
