"""The body of an answer: read to its end, its compression undone, and never more of it than a cap."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable, Iterator

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import DecodeError, ProtocolError

ENCODING = "gzip"  # the one that is asked for and understood
_PLAIN_READ = 1024 * 1024
_GZIP_READ = 64 * 1024  # small, for the rest of a read is copied at the end of each gzip member
_PIECE = 1024 * 1024  # decoded bytes


def read(response: BaseHTTPResponse, cap: int) -> bytes | None:
    """The decoded body, None where it is longer than `cap` bytes; one that is shorter than its head says raises.

    A plain body without a stated length may have been cut all the same: only its reader can tell. Raises what
    urllib3 raises.
    """
    try:
        if (response.length_remaining or 0) > cap:
            return None
        return decoded(lambda size: _reads(response, size), response.headers.get("Content-Encoding", ""), cap)
    finally:
        response.close()  # does nothing to a connection whose answer was read to its end


def decoded(reads: Callable[[int], Iterator[bytes | bytearray]], encoding: str, cap: int) -> bytes | None:
    """The body whose reads of a given size these are, decoded, None where that is longer than `cap` bytes."""
    body = io.BytesIO()
    for piece in _pieces(reads, encoding.strip().lower()):
        if body.tell() + len(piece) > cap:
            return None
        body.write(piece)
    return body.getvalue()


def _pieces(reads: Callable[[int], Iterator[bytes | bytearray]], encoding: str) -> Iterator[bytes | bytearray]:
    if encoding in ("", "identity"):
        return reads(_PLAIN_READ)
    if encoding in ("gzip", "x-gzip"):
        return _gunzip(reads(_GZIP_READ))
    raise DecodeError("an unknown Content-Encoding")


def _reads(response: BaseHTTPResponse, size: int) -> Iterator[bytes]:
    while data := response.read(size, decode_content=False):
        yield data


def _gunzip(reads: Iterable[bytes | bytearray]) -> Iterator[bytes]:
    """Undo gzip in pieces, of any number of members, as the format allows.

    urllib3 could do it; but up to 2.8 a member that ends exactly where a piece ends makes its input double with every
    further piece, which a server can use to fill the memory.
    """
    stream, members, empty = zlib.decompressobj(31), 0, True
    for data in reads:
        rest, empty = data, False
        while rest:
            if stream.eof:
                stream, members = zlib.decompressobj(31), members + 1
            try:
                yield stream.decompress(rest, _PIECE)
            except zlib.error as exc:
                if members:  # what follows a whole member and is none is padding
                    return
                raise DecodeError("not gzip") from exc
            rest = stream.unconsumed_tail or stream.unused_data
    if not (stream.eof or empty):  # an answer without a body may say gzip, too
        raise ProtocolError("the gzip stream has no end")
