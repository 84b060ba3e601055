"""Processes that work beside this one, where there is much to do and a core for it.

Threads of one interpreter take turns, so that a backfill from a near source is as fast as one core reads its pages.
A helper is a plain Python process that is handed a function and its arguments, and hands back what comes of it, both
pickled, over sockets that only the two have. It is begun when it pays, ends when nobody has use for it, and is never
needed: what it does not do, for whatever reason, the thread that asked does itself.
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
from hashlib import blake2b
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

MOST = 2  # helpers; the thread that writes is the next to be short of a core
PAYS = 50  # calls before helpers are begun: what it takes to begin one, a few times over
WAITING = 6  # calls that one helper has at a time, so that it always has one; who comes then works itself
LONGEST = 300  # seconds for an answer; a helper that somebody has stopped is not waited for any longer

_SIZE = struct.Struct("<q")
_BUFFER = 256 * 1024  # bytes
_ENDED = "it has ended"
_HERE = Path(__file__).parent
_SOURCES = ("helpers.py", "errors.py", "redact.py", "logs/*.py", "sheets/*.py")  # what a helper imports of the archiver
log = logging.getLogger("archiver.helpers")


def _version() -> bytes:
    """Tells these sources from others that may be put in their place while this process runs."""
    files = sorted(file for pattern in _SOURCES for file in _HERE.glob(pattern))
    marks = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return blake2b(repr(marks).encode(), digest_size=16).digest()


VERSION = _version()


class Helpers:
    """The helpers of a process, for any number of threads. `most`: how many at a time; as many as cores are left."""

    def __init__(self, most: int | None = None) -> None:
        self._most = min(MOST, _cores() - 1) if most is None else most
        self._lock = threading.Lock()
        self._users = 0
        self._calls = 0  # since the last time that helpers were begun
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
        """What a function of a module returns, worked out by a helper or here. What raises is done here in any case."""
        if (line := self._line()) is None:
            return function(*args, **options)
        try:
            done, result = line.ask((function, args, options))
        except BlockingIOError:
            self._lost(line, "it does not answer")
            done = False
        except Exception as exc:  # noqa: BLE001 - it died, or what came cannot be read
            self._lost(line, str(exc) or type(exc).__name__)
            done = False
        except BaseException:
            line.close()
            raise
        else:
            self._give_back(line)
        return cast("T", result) if done else function(*args, **options)

    def _line(self) -> _Line | None:
        """The line to a helper that can take more, if there is one."""
        with self._lock:
            if not self._users:
                return None
            self._calls += 1
            if self._calls >= PAYS and len(self._processes) < self._most:
                self._begin()
            found = next((line for line in self._free if line.is_ready()), None)
            if found is not None:
                self._free.remove(found)
        if found is not None and found.unfit:
            self._lost(found, found.unfit)
            return None
        return found

    def _give_back(self, line: _Line) -> None:
        with self._lock:
            if line.helper in self._processes:
                self._free.append(line)
            else:
                line.close()

    def _begin(self) -> None:
        """Begin the helpers that there may be; does not wait until they can work."""
        self._calls = 0
        try:
            while len(self._processes) < self._most:
                lines = _begun()
                self._processes.append(lines[0].helper)
                self._free += lines
        except OSError as exc:
            log.warning("no helper process can be begun: %s", exc.strerror)

    def _lost(self, line: _Line, why: str) -> None:
        """A helper is gone, or of no use; another one is begun when that pays again."""
        line.close()
        with self._lock:
            if line.helper not in self._processes:
                return
            self._processes.remove(line.helper)
            self._calls = 0
            for other in [other for other in self._free if other.helper is line.helper]:
                self._free.remove(other)
                other.close()
        line.helper.kill()
        line.helper.wait()
        log.warning("a helper process is gone (%s); its work is done without it", why)

    def _end(self) -> list[subprocess.Popen[bytes]]:
        """A helper ends by itself when all its lines are closed; those in use are closed by who uses them."""
        for line in self._free:
            line.close()
        ended, self._processes, self._free, self._calls = self._processes, [], [], 0
        return ended


class _Line:
    """A connection to a helper, for one call at a time. `unfit`: why the helper is of no use, once that is known."""

    def __init__(self, sock: socket.socket, helper: subprocess.Popen[bytes]) -> None:
        # Not Python's own timeout: with that, it takes two calls of the system where one does.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", LONGEST, 0))
        self._sock = sock
        self._buffer = memoryview(bytearray(_BUFFER))
        self._is_ready = False
        self.helper = helper
        self.unfit = ""

    def is_ready(self) -> bool:
        """Whether the helper has imported what it needs, and has said of which version that is, or is gone."""
        if not self._is_ready:
            try:
                said = self._sock.recv(len(VERSION), socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError as exc:
                said, self.unfit = VERSION, type(exc).__name__
            self._is_ready = True
            if said != VERSION:
                self.unfit = "the archiver's files are of another version by now" if said else "it did not start"
        return self._is_ready

    def ask(self, what: object) -> tuple[bool, Any]:
        _send(self._sock, _pickled(what))
        return cast("tuple[bool, Any]", _receive(self._sock, self._buffer))

    def close(self) -> None:
        self._sock.close()


def _pickled(what: object) -> bytes:
    return pickle.dumps(what, pickle.HIGHEST_PROTOCOL)


def _send(sock: socket.socket, data: bytes) -> None:
    size = _SIZE.pack(len(data))
    sent = sock.sendmsg([size, data])
    if sent < len(size) + len(data):  # a signal came in between
        sock.sendall((size + data)[sent:])


def _receive(sock: socket.socket, buffer: memoryview) -> Any:
    have = sock.recv_into(buffer)
    if not have:
        raise EOFError(_ENDED)
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
    have = 0
    while have < len(buffer):  # once, but for signals
        more = sock.recv_into(buffer[have:], 0, socket.MSG_WAITALL)
        if not more:
            raise EOFError(_ENDED)
        have += more
    return have


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
    gc.set_threshold(10_000)  # what comes of a page goes by itself
    buffer = memoryview(bytearray(_BUFFER))
    with selectors.DefaultSelector() as lines:
        for descriptor in descriptors:
            line = socket.socket(fileno=descriptor)
            line.sendall(VERSION)
            lines.register(line, selectors.EVENT_READ)
        while lines.get_map():
            for key, _ in lines.select():
                if not _work(cast("socket.socket", key.fileobj), buffer):
                    lines.unregister(key.fileobj)


def _work(line: socket.socket, buffer: memoryview) -> bool:
    """One call; answers whether another one may come."""
    try:
        function, args, options = _receive(line, buffer)
    except (OSError, EOFError):
        line.close()
        return False
    try:
        answer = _pickled((True, function(*args, **options)))
    except Exception:  # noqa: BLE001 - whatever it is, it will be raised where the call came from
        answer = _pickled((False, None))
    with suppress(OSError):
        _send(line, answer)
    return True


ALONE = Helpers(0)  # for who has none

if __name__ == "__main__":
    _serve([*map(int, sys.argv[1:])])
