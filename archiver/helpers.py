"""Processes that work beside this one, where there is much to do and a core for it.

Threads of one interpreter take turns, so that a backfill from a near source is as fast as one core reads its pages.
A helper is a plain Python process that is handed a function and its arguments, and hands back what comes of it, both
pickled, over a socket that only the two have. It is begun when it pays, ends when nobody has use for it, and is never
needed: where there is none, or it dies in the middle, the thread that asked does the work itself.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

MOST = 2  # helpers; the thread that writes is the next to be short of a core
PAYS = 50  # calls before the first helper is begun: what it takes to begin it, a hundred times over
WAITING = 3  # calls that one helper has at a time, so that it always has one; who comes then works itself
LONGEST = 60  # seconds for one piece of an answer; a helper that was stopped by somebody is not waited for any longer

_SIZE = struct.Struct("<q")
_BUFFER = 256 * 1024  # bytes
log = logging.getLogger("archiver.helpers")


class Helpers:
    """The helpers of a process, for any number of threads. `most`: how many at a time; as many as cores are left."""

    def __init__(self, most: int | None = None) -> None:
        self._most = min(MOST, _cores() - 1) if most is None else most
        self._lock = threading.Lock()
        self._users = 0
        self._calls = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self._free: list[_Line] = []

    @contextmanager
    def used(self) -> Iterator[None]:
        """While somebody has much to do: helpers that were begun for it end with it."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                ended = [] if self._users else self._end()
            for helper in ended:
                _buried(helper)

    def call(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """What a function returns or raises, worked out by a helper or here; it and its arguments have to be such as
        can be pickled."""
        if (line := self._line()) is None:
            return function(*args, **options)
        try:
            raised, result = line.ask((function, args, options))
        except (OSError, EOFError, pickle.UnpicklingError) as exc:
            line.close()
            self._lost(line.helper, exc)
            return function(*args, **options)
        with self._lock:
            if line.helper in self._processes:
                self._free.append(line)
            else:
                line.close()
        if raised:
            raise result
        return cast("T", result)

    def _line(self) -> _Line | None:
        """The line to a helper that can take more, if there is one."""
        with self._lock:
            self._calls += 1
            if self._calls == PAYS and self._users:
                self._begin()
            for place, line in enumerate(self._free):
                if line.is_ready():
                    return self._free.pop(place)
            return None

    def _begin(self) -> None:
        """Begin the helpers; does not wait until they can work."""
        for _ in range(self._most):
            try:
                lines = _begun()
            except OSError as exc:
                log.warning("no helper process can be begun: %s", exc.strerror)
                self._most = 0
                return
            self._processes.append(lines[0].helper)
            self._free += lines

    def _lost(self, helper: subprocess.Popen[bytes], why: Exception) -> None:
        """A helper is gone, or does not answer; another one comes when there is next much to do."""
        with self._lock:
            if helper not in self._processes:
                return
            self._processes.remove(helper)
            for line in [line for line in self._free if line.helper is helper]:
                self._free.remove(line)
                line.close()
        helper.kill()
        helper.wait()
        log.warning("a helper process is gone (%s); its work is done without it", type(why).__name__)

    def _end(self) -> list[subprocess.Popen[bytes]]:
        """A helper ends by itself when all its lines are closed; those in use are closed by who uses them."""
        for line in self._free:
            line.close()
        ended, self._processes, self._free, self._calls = self._processes, [], [], 0
        return ended


class _Line:
    """A connection to a helper, for one call at a time."""

    def __init__(self, sock: socket.socket, helper: subprocess.Popen[bytes]) -> None:
        # Not Python's own timeout: with that, it takes two calls of the system where one does.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", LONGEST, 0))
        self._sock = sock
        self._buffer = memoryview(bytearray(_BUFFER))
        self._is_ready = False
        self.helper = helper

    def is_ready(self) -> bool:
        """Whether the helper has imported what it needs; it says so once."""
        if not self._is_ready:
            with suppress(OSError):
                self._is_ready = bool(self._sock.recv(1, socket.MSG_DONTWAIT))
        return self._is_ready

    def ask(self, what: object) -> Any:
        _send(self._sock, what)
        return _receive(self._sock, self._buffer)

    def close(self) -> None:
        self._sock.close()


def _send(sock: socket.socket, what: object) -> None:
    data = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    sent = sock.sendmsg([_SIZE.pack(len(data)), data]) - _SIZE.size
    if sent < len(data):  # a signal came in between
        if sent < 0:
            raise BrokenPipeError
        sock.sendall(memoryview(data)[sent:])


def _receive(sock: socket.socket, buffer: memoryview) -> Any:
    have = sock.recv_into(buffer)
    if have < _SIZE.size:
        have += _fill(sock, buffer[have : _SIZE.size])
    (size,) = _SIZE.unpack_from(buffer)
    size += _SIZE.size
    if size > len(buffer):
        buffer, start = memoryview(bytearray(size)), buffer[:have]
        buffer[:have] = start
    if have < size:
        _fill(sock, buffer[have:size])
    return pickle.loads(buffer[_SIZE.size : size])  # noqa: S301 - of a process of our own, over a socket without a name


def _fill(sock: socket.socket, buffer: memoryview) -> int:
    if sock.recv_into(buffer, 0, socket.MSG_WAITALL) < len(buffer):
        raise EOFError
    return len(buffer)


def _begun() -> list[_Line]:
    """The lines to a new helper."""
    pairs: list[tuple[socket.socket, socket.socket]] = []
    try:
        while len(pairs) < WAITING:
            pairs.append(socket.socketpair())
        helper = _popen([theirs.fileno() for _, theirs in pairs])
    except OSError:
        for mine, _ in pairs:
            mine.close()
        raise
    finally:
        for _, theirs in pairs:
            theirs.close()
    return [_Line(mine, helper) for mine, _ in pairs]


def _popen(descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """A helper on these sockets. It finds what this process finds, and nothing that lies where it was begun."""
    paths = [str(Path(__file__).parents[1]), *(path for path in sys.path if path)]
    return subprocess.Popen(  # noqa: S603 - this very interpreter, on a module of ours
        [sys.executable, "-P", "-S", "-m", __name__, *map(str, descriptors)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
    )


def _buried(helper: subprocess.Popen[bytes]) -> None:
    try:
        helper.wait(5)
    except subprocess.TimeoutExpired:
        helper.kill()
        helper.wait()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(descriptors: Sequence[int]) -> None:
    """Work until nobody is at the other end of any of these sockets."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the process that has work for this one: it ends that
    import archiver.sheets  # noqa: F401 - before the first call, not in it

    gc.freeze()
    gc.disable()  # what comes of a page goes by itself, and a helper does not get old
    buffer = memoryview(bytearray(_BUFFER))
    with selectors.DefaultSelector() as lines:
        for descriptor in descriptors:
            line = socket.socket(fileno=descriptor)
            line.sendall(b"\0")
            lines.register(line, selectors.EVENT_READ)
        while lines.get_map():
            for key, _ in lines.select():
                _work(key.fileobj, buffer, lines)


def _work(line: Any, buffer: memoryview, lines: selectors.BaseSelector) -> None:
    """One call, or the end of a line."""
    try:
        function, args, options = _receive(line, buffer)
    except (OSError, EOFError):
        lines.unregister(line)
        line.close()
        return
    answer: tuple[bool, Any]
    try:
        answer = False, function(*args, **options)
    except Exception as exc:  # noqa: BLE001 - it is raised where the call came from
        answer = True, exc
    with suppress(OSError):
        try:
            _send(line, answer)
        except (pickle.PicklingError, TypeError, AttributeError) as exc:  # as it says it
            _send(line, (True, TypeError(f"{type(answer[1]).__name__} of a helper cannot be pickled: {exc}")))


ALONE = Helpers(0)  # for who has none

if __name__ == "__main__":
    _serve([*map(int, sys.argv[1:])])
