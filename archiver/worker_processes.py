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
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

MOST = 2  # helpers; the thread that writes is the next to be short of a core
PAYS = 50  # calls before helpers are begun: what it takes to begin one, a few times over
WAITING = 6  # calls that one helper has at a time, so that it always has one; whoever comes then works itself
LONGEST = 60  # seconds for an answer; a helper that somebody has stopped is not waited for any longer

_HERE = Path(__file__).parent
# What a helper imports of the archiver.
SOURCES = ("__init__.py", "worker_processes.py", "errors.py", "redact.py", "logs/*.py", "sheets/*.py", "window/*.py")
log = logging.getLogger("archiver.worker_processes")


def _version() -> bytes:
    """Tells these sources from others that may be put in their place while this process runs."""
    found = [(str(file), file.stat()) for pattern in SOURCES for file in sorted(_HERE.glob(pattern))]
    marks = [(name, stat.st_mtime_ns, stat.st_size) for name, stat in found]
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
        self._free: list[_Link] = []

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
        if (link := self._free_link()) is None:
            return function(*args, **options)
        try:
            done, result = link.ask((function, args, options))
        except Exception as exc:  # noqa: BLE001 - it died, does not answer, or what came cannot be read
            self._lost(link, "it does not answer" if isinstance(exc, BlockingIOError) else type(exc).__name__)
            done = False
        except BaseException:
            link.close()
            raise
        else:
            self._give_back(link)
        return cast("T", result) if done else function(*args, **options)

    def _free_link(self) -> _Link | None:
        """The link to a helper that can take more, if there is one."""
        with self._lock:
            if not self._users:
                return None
            self._calls += 1
            if self._calls >= PAYS and len(self._processes) < self._most:
                self._begin()
            found = next((link for link in self._free if link.is_ready()), None)
            if found is not None:
                self._free.remove(found)
        if found is not None and found.unfit:
            self._lost(found, found.unfit)
            return None
        return found

    def _give_back(self, link: _Link) -> None:
        with self._lock:
            if link.helper in self._processes:
                self._free.append(link)
            else:
                link.close()

    def _begin(self) -> None:
        """Begin the helpers that there may be; does not wait until they can work."""
        self._calls = 0
        try:
            while len(self._processes) < self._most:
                links = _begun()
                self._processes.append(links[0].helper)
                self._free += links
        except OSError as exc:
            log.warning("no helper process can be begun: %s", exc.strerror)

    def _lost(self, link: _Link, why: str) -> None:
        """A helper is gone, or of no use; another one is begun when that pays again."""
        link.close()
        with self._lock:
            if link.helper not in self._processes:
                return
            self._processes.remove(link.helper)
            self._calls = 0
            for other in [other for other in self._free if other.helper is link.helper]:
                self._free.remove(other)
                other.close()
        link.helper.kill()
        link.helper.wait()
        log.warning("a helper process is gone (%s); its work is done without it", why)

    def _end(self) -> list[subprocess.Popen[bytes]]:
        """A helper ends by itself when all its links are closed; those in use are closed by their users."""
        for link in self._free:
            link.close()
        ended, self._processes, self._free, self._calls = self._processes, [], [], 0
        return ended


class _Link:
    """A connection to a helper, for one call at a time. `unfit`: why the helper is of no use, once that is known."""

    def __init__(self, sock: socket.socket, helper: subprocess.Popen[bytes]) -> None:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", LONGEST, 0))
        self._connection = Connection(sock.detach())
        self._is_ready = False
        self.helper = helper
        self.unfit = ""

    def is_ready(self) -> bool:
        """Whether the helper has imported what it needs, and has said of which version that is, or is gone."""
        if not self._is_ready and self._connection.poll():
            self._is_ready = True
            try:
                if self._connection.recv_bytes() != VERSION:
                    self.unfit = "the archiver's files are of another version by now"
            except (OSError, EOFError):
                self.unfit = "it did not start"
        return self._is_ready

    def ask(self, what: object) -> tuple[bool, Any]:
        self._connection.send(what)
        return cast("tuple[bool, Any]", self._connection.recv())

    def close(self) -> None:
        self._connection.close()


def _begun() -> list[_Link]:
    """The links to a new helper."""
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
    return [_Link(mine, helper) for mine, _ in pairs]


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
    with selectors.DefaultSelector() as links:
        for descriptor in descriptors:
            link = Connection(descriptor)
            link.send_bytes(VERSION)
            links.register(link, selectors.EVENT_READ)
        while links.get_map():
            for key, _ in links.select():
                link = cast("Connection", key.fileobj)
                if not _work(link):
                    links.unregister(link)
                    link.close()


def _work(link: Connection) -> bool:
    """One call; answers whether another one may come."""
    try:
        function, args, options = link.recv()
    except (OSError, EOFError):
        return False
    try:
        answer = pickle.dumps((True, function(*args, **options)))
    except Exception:  # noqa: BLE001 - whatever it is, it will be raised where the call came from
        answer = pickle.dumps((False, None))
    with suppress(OSError):
        link.send_bytes(answer)
    return True


ALONE = Helpers(0)  # for those who have none

if __name__ == "__main__":
    _serve([*map(int, sys.argv[1:])])
