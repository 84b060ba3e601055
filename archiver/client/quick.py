"""The next request on a connection that is kept, written and read by hand.

Most requests ask for the next page of a list, and most answers are plain: 200, with a length. For such a one
http.client and urllib3 do several times the work of the socket. Any other answer is left to them, from its first byte
on.

The socket has no timeout of its own here, for the watchdog pulls the plug of what takes too long: with one, Python
waits for the socket and then reads it, and a busy process makes a thread wait its turn after each of the two.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from io import BufferedReader, RawIOBase
from typing import Any, NamedTuple, cast

import urllib3
from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection
from urllib3.exceptions import IncompleteRead, ProtocolError, SSLError

from archiver.client import body

_BUFFER = 64 * 1024  # bytes; a plain head is in the first piece that comes
_TARGET = re.compile(r"[A-Za-z0-9/._~:@\[\]&=+%?-]+", re.ASCII)
_HEAD = re.compile(rb"HTTP/1\.1 200(?: [^\r\n]*)?\r\n((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+:[^\r\n]*\r\n)*)\r\n")
# What a plain head says besides this does not matter here.
_FIELD = re.compile(
    rb"^(content-length|content-encoding|transfer-encoding|connection|date):[ \t]*([^\r\n]*?)[ \t]*\r$",
    re.IGNORECASE | re.MULTILINE,
)


class Head(NamedTuple):
    """A plain head: so many bytes, before a body of so many bytes; `headers`: those of it that matter."""

    size: int
    length: int
    headers: Mapping[str, str]


def request(host: str, target: str, headers: Mapping[str, str]) -> bytes | None:
    """A GET as it goes over the wire; None where there is something in it that http.client had better look at."""
    values = (host, *headers.values())
    if not (_TARGET.fullmatch(target) and all(value.isascii() and value.isprintable() for value in values)):
        return None
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode("ascii")


def plain_head(start: bytes) -> Head | None:
    """The head that an answer starts with; None where it is not a plain one, or not all of it is here."""
    if (match := _HEAD.match(start)) is None:
        return None
    found = [(name.decode().title(), value.decode("latin-1")) for name, value in _FIELD.findall(match[1])]
    fields = dict(found)
    length, keeps = fields.get("Content-Length", ""), fields.get("Connection", "keep-alive").lower() == "keep-alive"
    if len(fields) < len(found) or "Transfer-Encoding" in fields or not keeps:
        return None
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        return None
    return Head(match.end(), int(length), fields)


def get(
    connection: HTTPConnection,
    request: bytes,
    cap: Callable[[int], int],
    heard: Callable[[], object],
    meanwhile: Callable[[], object],
) -> tuple[int, Mapping[str, str], bytes | None]:
    """Status, headers and body of the answer to a request on a kept connection; closes it where it is not to be kept.

    `cap`: how many bytes of the body are read, by status; a longer one is None. `meanwhile` is called when the request
    is on its way, `heard` when the headers are here. Raises what urllib3 raises, and TimeoutError.
    """
    keep, sock = False, cast("Any", connection.sock)
    try:
        with _translated():
            sock.settimeout(None)
            sock.sendall(request)
            meanwhile()
            start = sock.recv(_BUFFER)
            if not start:
                raise RemoteDisconnected("closed without an answer")
            if (head := plain_head(start)) is not None:
                heard()
                rest = _Body(sock, memoryview(start)[head.size :], head.length)
                content = rest.content(head.headers.get("Content-Encoding", ""), cap(200))
                keep = content is not None and rest.is_whole
                return 200, head.headers, content
            # Closed in any case: what is left to the garbage collector may complain of its end there (Python 3.13).
            with closing(HTTPResponse(_Begun(start, sock), method="GET")) as raw:  # type: ignore[arg-type]
                raw.begin()
                heard()
                response = _response(raw)
                content = body.read(response, cap(response.status))
                keep = content is not None and raw.isclosed() and not raw.will_close
                return response.status, response.headers, content
    finally:
        if not keep:
            connection.close()


class _Begun(RawIOBase):
    """What http.client takes for a socket: an answer whose first bytes are here already."""

    def __init__(self, start: bytes, sock: Any) -> None:
        self._start = memoryview(start)
        self._sock = sock

    def makefile(self, mode: str) -> BufferedReader:  # noqa: ARG002
        return BufferedReader(self, _BUFFER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._start:
            return cast("int", self._sock.recv_into(buffer))
        size = min(len(buffer), len(self._start))
        buffer[:size], self._start = self._start[:size], self._start[size:]
        return size


def _response(raw: HTTPResponse) -> urllib3.HTTPResponse:
    """As `HTTPConnection.getresponse` of urllib3 makes it."""
    return urllib3.HTTPResponse(
        body=raw,
        headers=HTTPHeaderDict(raw.msg.items()),
        status=raw.status,
        preload_content=False,
        decode_content=False,
        original_response=raw,
        enforce_content_length=True,
        request_method="GET",
    )


class _Body:
    """A body of a stated length, of which a part is here already."""

    def __init__(self, sock: Any, start: memoryview, length: int) -> None:
        self._sock = sock
        self._start = start
        self._length = length
        self._left = length

    def content(self, encoding: str, cap: int) -> bytes | None:
        """All of it, decoded; None where it is longer than `cap`."""
        return None if self._length > cap else body.decoded(self._pieces, encoding, cap)

    @property
    def is_whole(self) -> bool:
        """Whether all of it was taken, and nothing came behind it: TLS may have that in hand already, so that the
        socket does not tell."""
        pending = getattr(getattr(self._sock, "sslobj", self._sock), "pending", None)
        return not (self._left or self._start or (pending and pending()))

    def _pieces(self, size: int) -> Iterator[bytearray]:
        all_at_once = socket.MSG_WAITALL if type(self._sock) is socket.socket else 0  # TLS gives what a record holds
        while self._left:
            piece = bytearray(min(self._left, size))
            have = min(len(piece), len(self._start))
            piece[:have], self._start = self._start[:have], self._start[have:]
            with memoryview(piece) as view:
                while have < len(piece):
                    more = self._sock.recv_into(view[have:], 0, all_at_once)
                    if not more:
                        raise IncompleteRead(self._length - self._left + have, self._left - have)
                    have += more
            self._left -= len(piece)
            yield piece


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise
    except ssl.SSLError as exc:
        raise SSLError(exc) from exc
    except (OSError, HTTPException) as exc:
        raise ProtocolError("Connection aborted.", exc) from exc
