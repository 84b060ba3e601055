"""HTTP/1.1 as the make-believe server speaks it: requests read, answers written, on plain sockets.

The standard library's HTTP server sends head and body apart and writes to standard error; this one sends an answer
with one call, and lets a fault break every rule on purpose.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from archiver.demo.listing import render

_LARGEST_REQUEST = 1 << 20


@dataclass
class Request:
    """One request; `params` has each parameter's last value, `headers` lower-case names. A fault may change it."""

    method: str
    target: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    def form(self) -> dict[str, str]:
        """The fields of a form-encoded body."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def project_id(self) -> str | None:
        """The project in either spelling."""
        return self.params.get("projectid") or self.params.get("projectId")


@dataclass
class PageAnswer:
    """A page of logs before it is rendered: the fields around `results`, and the rows as JSON joined by commas."""

    fields: dict[str, Any]
    rows: bytes

    def rendered(self) -> bytes:
        """The page as JSON, its fields in the order of the vendor's sample."""
        head = render(self.fields)[:-1] + b"," if self.fields else b"{"
        return b"".join((head, b'"results":[', self.rows, b"]}"))


class Peer:
    """The client at the other end; every wait ends early when the server stops."""

    def __init__(self, connection: socket.socket, stop: Event) -> None:
        self.connection = connection
        self.stop = stop

    def send(self, data: bytes) -> None:
        """Sends all of it; OSError when the client is gone."""
        self.connection.sendall(data)

    def wait(self, seconds: float) -> None:
        """Waits; ConnectionError when the server stops meanwhile."""
        if self.stop.wait(seconds):
            raise ConnectionAbortedError("the server stops")

    def reset(self) -> None:
        """Closes the connection with a reset; nothing that was not sent yet will be."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Sending = Callable[[Peer, bytes, bytes], bool]
"""Writes head and body; False ends the connection."""


def send_whole(peer: Peer, head: bytes, body: bytes) -> bool:
    """The honest way: everything with one call."""
    peer.send(head + body)
    return True


@dataclass
class Answer:
    """One answer. A header set to None is left out, `Content-Length` and `Content-Type` too."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str | None] = field(default_factory=dict)
    page: PageAnswer | None = None
    sending: Sending = send_whole

    def payload(self) -> bytes:
        """The body; a page is rendered last, so that faults can change its fields."""
        return self.body if self.page is None else self.page.rendered()

    def say(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        """Says something else instead."""
        self.status, self.body, self.content_type, self.page = status, body, content_type, None

    def head(self, length: int, *, closing: bool) -> bytes:
        """Status line and headers."""
        headers = {"Content-Type": self.content_type, "Content-Length": str(length), **self.headers}
        if closing:
            headers["Connection"] = "close"
        reason = HTTPStatus(self.status).phrase if self.status in _KNOWN else "Unknown"
        lines = [f"HTTP/1.1 {self.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_KNOWN = {status.value for status in HTTPStatus}


class Reader:
    """Reads requests one after the other from a connection that is kept alive."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def next_request(self) -> Request | None:
        """The next request; None when the client closed, ValueError when it speaks no HTTP."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not self._more():
                return None
        head, self._buffer = self._buffer[:end].decode("latin-1"), self._buffer[end + 4 :]
        first, *lines = head.split("\r\n")
        method, target, _version = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._buffer) < length:
            if not self._more():
                return None
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        split = urlsplit(target)
        params = dict(parse_qsl(split.query, keep_blank_values=True))
        return Request(method, target, split.path, params, headers, body)

    def _more(self) -> bool:
        if len(self._buffer) > _LARGEST_REQUEST:
            raise ValueError("the request is too large")
        data = self._connection.recv(65536)
        self._buffer += data
        return bool(data)


def close(connection: socket.socket) -> None:
    """Closes from any thread; a thread that reads from it wakes up."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
