"""What comes second on a kept connection is read as what came first: by hand where it is plain, else by http.client."""

from __future__ import annotations

import gzip
import socket
import time
from datetime import timedelta

import pytest

from archiver.client import api, quick
from archiver.errors import SourceUnavailable
from tests.wire import DATE, FLOW, PAGE, Bench, Request, answer, bench, in_turn, logged_in, read

__all__ = ["bench"]

CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE)
PLAIN = answer(200, PAGE)
ANSWERS = {
    "plain": PLAIN,
    "gzip": answer(200, gzip.compress(PAGE), "content-encoding: GZIP"),
    "chunked": answer(200, CHUNKED, "Transfer-Encoding: chunked", length=False),
    "chunked gzip": answer(
        200,
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(PAGE)), gzip.compress(PAGE)),
        "Transfer-Encoding: chunked",
        "Content-Encoding: gzip",
        length=False,
    ),
    "kept by name": answer(200, PAGE, "Connection: Keep-Alive"),
    "padded": answer(200, PAGE, "X-Odd:\t", "X:  y  "),
    "without words": PLAIN.replace(b" Word", b""),
    "folded": answer(200, PAGE, "X-Odd: a\r\n b"),
    "said before": b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN,
    "long head": answer(200, PAGE, *(f"X-{number}: {'y' * 900}" for number in range(60))),
    "length twice": answer(200, PAGE, f"Content-Length: {len(PAGE)}"),
    "line feeds": PLAIN.replace(b"\r\n", b"\n"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_any_answer_is_read_on_a_kept_connection(bench: Bench, kind: str) -> None:
    server = bench.server(in_turn(PLAIN, ANSWERS[kind]))
    client = bench.client(server.url)
    first, *others = [read(client, page) for page in range(4)]
    assert first.rows
    assert [one.rows for one in others] == [first.rows] * 3
    assert [one.signpost is not None for one in others] == [True] * 3
    assert server.connections == 1
    asked = [request for request in server.seen if request.path == "/logs"]
    assert [request.params["page"] for request in asked] == ["0", "1", "2", "3"]
    assert {tuple(sorted(request.headers.items())) for request in asked} == {tuple(sorted(asked[0].headers.items()))}


@pytest.mark.parametrize("pieces", [1, 7, 50])
def test_an_answer_that_comes_in_pieces(bench: Bench, pieces: int) -> None:
    def handler(request: Request, peer: socket.socket) -> bytes | None:
        for start in range(0, len(PLAIN), len(PLAIN) // pieces):
            peer.sendall(PLAIN[start : start + len(PLAIN) // pieces])
            time.sleep(0.002)
        return b""

    client = bench.client(bench.server(logged_in(handler)).url)
    assert [read(client).rows for _ in range(3)] == [[{"id": 7, "price": 1.0}]] * 3


@pytest.mark.parametrize(
    "last",
    [
        answer(200, PAGE, "Connection: close"),
        answer(200, PAGE, length=False),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_connection_that_is_said_to_end_is_not_used_again(bench: Bench, last: bytes) -> None:
    def handler(request: Request, peer: socket.socket) -> bytes | None:
        if request.params["page"] != "1":
            return PLAIN
        peer.sendall(last)
        return None

    server = bench.server(logged_in(handler))
    client = bench.client(server.url)
    assert all(read(client, page).rows for page in range(3))
    assert (server.connections, client.requests) == (2, 4)


def test_an_answer_that_is_too_long_ends_its_connection(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "DOWNLOAD_CAP", 100)
    bomb = answer(200, gzip.compress(b"0" * 200), "Content-Encoding: gzip")
    for long in (answer(200, b"0" * 200), bomb):
        server = bench.server(in_turn(PLAIN, long, PLAIN))
        client = bench.client(server.url)
        assert read(client).rows
        assert client.download(FLOW, 1) == (b"", True)
        assert read(client).rows
        assert server.connections == 2


def test_silence_on_a_kept_connection_has_an_end(bench: Bench) -> None:
    def handler(request: Request, peer: socket.socket) -> bytes | None:
        if request.params["page"] == "0":
            return PLAIN
        peer.sendall(PLAIN[: int(request.params["page"])])
        server.done.wait(10)
        return None

    server = bench.server(logged_in(handler))
    for sent in ("1", "30", str(len(PLAIN) - 1)):
        client = bench.client(server.url, timeout=timedelta(seconds=0.5))
        assert read(client, 0).rows
        began = time.monotonic()
        with pytest.raises(SourceUnavailable, match=r"no complete answer within 0\.5 s"):
            read(client, int(sent))
        assert time.monotonic() - began < 5


def test_which_heads_are_plain() -> None:
    head = quick.plain_head(PLAIN)
    assert head is not None
    assert PLAIN[head.size :] == PAGE
    assert (head.length, head.headers["Date"]) == (len(PAGE), DATE)
    for kind in ("chunked", "folded", "said before", "length twice", "line feeds"):
        assert quick.plain_head(ANSWERS[kind]) is None
    for length in ("", "-1", "+5", "5 5", "0x5", "1" * 16, "\u0665"):
        assert quick.plain_head(answer(200, b"", f"Content-Length: {length}", length=False)) is None
    assert quick.plain_head(answer(404, b"")) is None
    assert quick.plain_head(PLAIN[:20]) is None


def test_what_cannot_be_written_by_hand_is_not() -> None:
    written = quick.request("h:1", "/logs?a=b%20c", {"A": "b"})
    assert written == b"GET /logs?a=b%20c HTTP/1.1\r\nHost: h:1\r\nA: b\r\n\r\n"
    for host, target, value in (
        ("h\n", "/", "b"),
        ("h", "/ ", "b"),
        ("h", "/\r", "b"),
        ("h", "/", "b\r\nX: y"),
        ("h", "/", "ü"),
        ("h", "/ü", "b"),
    ):
        assert quick.request(host, target, {"A": value}) is None
