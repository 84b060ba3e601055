"""A TCP proxy on loopback that spoils what passes through it, byte by byte, in either direction.

    with Proxy(("127.0.0.1", port)) as proxy:
        proxy.toxic = Drip(pause=0.05)          # from the next connection on
        requests.get(f"http://127.0.0.1:{proxy.port}/")

A toxic belongs to one connection: a function gets the connection's number and gives its toxic, or one toxic stands for
all of them. `DOWN` is what the server says, `UP` what the client does.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

UP, DOWN = "up", "down"
_PIECE = 65_536


class Ended(Exception):
    """The connection has been ended by its toxic."""


class Link:
    """One connection through the proxy: both of its ends, and the number of bytes that came each way."""

    def __init__(self, number: int, client: socket.socket, server: socket.socket, stop: threading.Event) -> None:
        self.number = number
        self.ends = {UP: server, DOWN: client}  # where the bytes of a direction go
        self.passed = {UP: 0, DOWN: 0}
        self.stop = stop
        self.dark = False  # nothing passes any more, not even the end

    def send(self, way: str, data: bytes) -> None:
        if self.dark:
            self.wait(86_400)
        self.ends[way].sendall(data)
        self.passed[way] += len(data)

    def wait(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Ended

    def reset(self) -> None:
        """Both sides see a reset."""
        for end in self.ends.values():
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Both sides see the end, in good order."""
        for end in self.ends.values():
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for end in self.ends.values():
            end.close()


class Toxic:
    """Does nothing: bytes pass as they come."""

    def begin(self, link: Link) -> None:
        """A connection was made, and nothing has passed yet."""

    def carry(self, link: Link, way: str, data: bytes) -> None:
        """Pass some bytes on, or not; Ended where the connection is over."""
        link.send(way, data)


@dataclass
class Delay(Toxic):
    """Everything of one direction comes so many seconds late."""

    seconds: float
    way: str = DOWN

    def carry(self, link: Link, way: str, data: bytes) -> None:
        if way == self.way:
            link.wait(self.seconds)
        link.send(way, data)


@dataclass
class Drip(Toxic):
    """A few bytes at a time, with a pause after each piece."""

    pause: float = 0.05
    size: int = 1
    way: str = DOWN

    def carry(self, link: Link, way: str, data: bytes) -> None:
        if way != self.way:
            link.send(way, data)
            return
        for start in range(0, len(data), self.size):
            link.send(way, data[start : start + self.size])
            link.wait(self.pause)


@dataclass
class Ending(Toxic):
    """So many bytes of one direction pass, and then the connection ends: how, is the subclass's matter."""

    after: int = 0
    way: str = DOWN

    def carry(self, link: Link, way: str, data: bytes) -> None:
        if way != self.way:
            link.send(way, data)
            return
        left = self.after - link.passed[way]
        link.send(way, data[: max(0, left)])
        if len(data) >= left:
            self.end(link)

    def end(self, link: Link) -> None:
        raise NotImplementedError


class Reset(Ending):
    """A reset, on both sides."""

    def end(self, link: Link) -> None:
        link.wait(0.02)  # a reset overtakes what was not read yet
        link.reset()
        raise Ended


class Cut(Ending):
    """The end of the stream, in good order, as a server that gives up sends it."""

    def end(self, link: Link) -> None:
        link.close()
        raise Ended


class BlackHole(Ending):
    """From there on nothing passes any more, in either direction, and nobody is told."""

    def end(self, link: Link) -> None:
        link.dark = True
        link.wait(86_400)


@dataclass
class Refuse(Toxic):
    """The connection is made, and reset at once."""

    def begin(self, link: Link) -> None:
        link.reset()
        raise Ended


COMMIT = b"COMMIT\0"


@dataclass
class CommitCut(Toxic):
    """Postgres alone: the connection is reset at the `nth` COMMIT that passes the proxy.

    Where it `arrives`, the server has committed, and its answer is lost; else it never hears of it.
    """

    nth: int = 1
    arrives: bool = True
    seen: int = 0
    cut: int = 0
    _answering: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def carry(self, link: Link, way: str, data: bytes) -> None:
        if way == DOWN:
            with self._lock:
                answered = link.number in self._answering
            if answered:  # the server says that it has committed
                self._end(link)
            link.send(way, data)
            return
        with self._lock:
            is_commit = COMMIT in data
            self.seen += is_commit
            hit = is_commit and self.seen == self.nth
            if hit and self.arrives:
                self._answering.add(link.number)
        if hit and not self.arrives:
            self._end(link)
        link.send(way, data)

    def _end(self, link: Link) -> None:
        self.cut += 1
        link.reset()
        raise Ended


Chooser = Callable[[int], Toxic]


class Proxy:
    """Listens on a port of its own and passes on to `target` (host and port) what the toxic lets through."""

    def __init__(self, target: tuple[str, int], toxic: Toxic | Chooser | None = None) -> None:
        self.target = target
        self.toxic: Toxic | Chooser = toxic or Toxic()
        self.connections = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._links: dict[int, Link] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(0.2)  # where closing it does not wake `accept`
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._listener.close()
        self._acceptor.join()
        self.drop()

    def drop(self, *, reset: bool = False) -> None:
        """End every connection that there is."""
        with self._lock:
            links, self._links = list(self._links.values()), {}
        for link in links:
            (link.reset if reset else link.close)()

    def silence(self) -> None:
        """Nothing passes any more on the connections that there are, and nobody is told."""
        with self._lock:
            for link in self._links.values():
                link.dark = True

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client, self.connections), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        try:
            server = socket.create_connection(self.target, timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(number, client, server, self._stop)
        with self._lock:
            self._links[number] = link
        chosen = self.toxic
        toxic = chosen if isinstance(chosen, Toxic) else chosen(number)
        with contextlib.suppress(OSError, Ended):
            toxic.begin(link)
            back = threading.Thread(target=self._pump, args=(link, toxic, DOWN, server), daemon=True)
            back.start()
            self._pump(link, toxic, UP, client)
            back.join()
        with self._lock:
            self._links.pop(number, None)
        link.close()

    @staticmethod
    def _pump(link: Link, toxic: Toxic, way: str, source: socket.socket) -> None:
        """Carry one direction to its end, and pass that on too."""
        try:
            while data := source.recv(_PIECE):
                toxic.carry(link, way, data)
        except (OSError, Ended):
            link.close()
            return
        if not link.dark:
            with contextlib.suppress(OSError):
                link.ends[way].shutdown(socket.SHUT_WR)
