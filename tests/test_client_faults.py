"""Slow, broken, oversized and overloaded Integrators; rate, connections, and the end of a client."""

from __future__ import annotations

import gzip
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import pytest

from archiver.client import Download, api
from archiver.client.pace import Rate
from archiver.errors import ArchiverError, PageUnreadable, SourceUnavailable
from archiver.logs import LogType
from tests.wire import (
    FLOW,
    LOGIN,
    PAGE,
    Bench,
    Request,
    always,
    answer,
    at_once,
    bench,
    in_turn,
    logged_in,
    pages_of,
    read,
)

__all__ = ["bench"]


# Deadlines, sizes, broken answers


@pytest.mark.parametrize("encoding", ["plain", "gzip", "chunked"])
def test_a_body_shorter_than_stated_is_asked_for_again(bench: Bench, encoding: str) -> None:
    whole = {
        "plain": answer(200, PAGE),
        "gzip": answer(200, gzip.compress(PAGE), "Content-Encoding: gzip"),
        "chunked": answer(
            200, b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE), "Transfer-Encoding: chunked", length=False
        ),
    }[encoding]
    count = [0]

    def handler(request: Request, peer: socket.socket) -> bytes | None:
        count[0] += 1
        if count[0] % 4:
            peer.sendall(whole[: -10 * count[0]])
            return None
        return whole

    server = bench.server(logged_in(handler))
    client = bench.client(server.url, hurried=True)
    assert read(client).rows
    assert server.paths()["/logs"] == 4
    server.handler = logged_in(lambda request, peer: peer.sendall(whole[:-10]))
    with pytest.raises(SourceUnavailable, match=r"ended too early|broke"):
        read(client)
    assert server.paths()["/logs"] == 8


def test_an_unreadable_page_is_asked_for_again(bench: Bench) -> None:
    server = bench.server(in_turn(answer(200, b"<html>"), answer(200, b'{"results": 5}'), answer(200, PAGE)))
    assert read(bench.client(server.url, hurried=True)).rows
    server = bench.server(always(answer(200, b"<html>")))
    with pytest.raises(PageUnreadable):
        read(bench.client(server.url, hurried=True))
    assert server.paths()["/logs"] == 3


def test_gzip_of_several_members(bench: Bench) -> None:
    member = bytes(2**20)  # ends exactly where a piece ends: urllib3's own decoder goes wrong there
    pages = [gzip.compress(member) * 3, gzip.compress(member) + gzip.compress(b"rest"), gzip.compress(b"") * 9_000]
    pages.append(gzip.compress(b"x") + bytes(512))  # padding
    client = bench.client(bench.server(in_turn(*(answer(200, page, "Content-Encoding: gzip") for page in pages))).url)
    for body in (member * 3, member + b"rest", b"", b"x"):
        assert client.download(FLOW, 1) == Download(body)


def test_gzip_that_ends_too_early_is_asked_for_again(bench: Bench) -> None:
    packed = gzip.compress(PAGE)
    cut = [0]
    handler = logged_in(
        lambda request, peer: peer.sendall(answer(200, packed[: cut[0]], "Content-Encoding: gzip", length=False))
    )
    client = bench.client(bench.server(handler).url, hurried=True)
    for cut[0] in range(1, len(packed)):
        with pytest.raises(SourceUnavailable):
            client.download(FLOW, 1)
    for cut[0], body in ((0, b""), (len(packed), PAGE)):
        assert client.download(FLOW, 1) == Download(body)


def test_whatever_comes_ends_in_an_answer_or_an_error_of_ours(bench: Bench) -> None:
    dice = random.Random(7)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE)
    whole = [
        answer(200, PAGE),
        answer(200, PAGE, "Connection: close"),
        answer(200, gzip.compress(PAGE), "Content-Encoding: gzip"),
        answer(200, PAGE, "Content-Encoding: br"),
        answer(200, chunked, "Transfer-Encoding: chunked", length=False),
        answer(200, PAGE, "Content-Length: 5"),
        answer(200, PAGE, "X: " + "x" * 70_000),
        answer(200, PAGE, *["X: x"] * 200),
        b"HTTP/1.0 200 OK\r\n\r\n" + PAGE,
        b"HTTP/1.1 -1 \xff\r\n\r\n",
    ]
    reply = [b""]
    said: list[str] = []

    def handler(request: Request, peer: socket.socket) -> None:
        peer.sendall(reply[0])

    client = bench.client(bench.server(logged_in(handler)).url, hurried=True)
    for _ in range(300):
        mutated = bytearray(dice.choice(whole))
        for _ in range(dice.choice((0, 1, 1, 3))):
            place = dice.randrange(len(mutated))
            mutated[place : place + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
        reply[0] = bytes(mutated)
        try:
            assert isinstance(read(client).rows, list)
        except ArchiverError as exc:
            said.append(str(exc))
    assert all(words.isprintable() for words in said)


def test_downloads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(range(256)) * 8
    server = bench.server(always(answer(200, body)))
    client = bench.client(server.url)
    assert client.download(FLOW, 5) == Download(body)
    server.handler = always(answer(200, gzip.compress(body), "Content-Encoding: gzip"))
    assert client.download(FLOW, 5) == Download(body)
    monkeypatch.setattr(api, "DOWNLOAD_CAP", len(body))
    assert client.download(FLOW, 5) == Download(body)
    monkeypatch.setattr(api, "DOWNLOAD_CAP", len(body) - 1)
    assert client.download(FLOW, 5) == Download(b"", too_large=True)
    server.handler = always(answer(200, body))
    assert client.download(FLOW, 5) == Download(b"", too_large=True)
    assert read(bench.client(bench.server(always(answer(200, PAGE))).url)).rows


# Rate, connections, retries


def test_the_rate_holds_over_all_threads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float] = []  # when each request may be sent; how late it comes then is the machine's affair
    reserve = Rate.reserve

    def noted(rate: Rate, now: float, fraction: float = 1.0) -> float:
        wait = reserve(rate, now, fraction)
        turns.append(now + wait)
        return wait

    monkeypatch.setattr(Rate, "reserve", noted)
    server = bench.server(always(answer(200, PAGE)))
    client = bench.client(server.url, requests_per_second=50.0, connections=8)
    began = time.monotonic()
    at_once(8, lambda number: [read(client) for _ in range(5)])
    times = sorted(request.at - began for request in server.seen)
    assert len(times) == client.requests == 41
    # However late a busy machine is, none comes before its turn.
    assert all(at >= number / 50 - 0.001 for number, at in enumerate(times)), times
    assert times[-1] - times[0] >= 40 / 50 - 0.02
    assert times[-1] - times[0] < 40 / 50 + 0.5  # neither slower than it may
    assert len(turns) == 41
    assert all(later - earlier > 1 / 50 - 1e-6 for earlier, later in pairwise(sorted(turns)))


def test_connections_are_limited_and_used_again(bench: Bench) -> None:
    def handler(request: Request, peer: socket.socket) -> bytes:
        time.sleep(0.02)
        return answer(200, PAGE)

    server = bench.server(logged_in(handler))
    client = bench.client(server.url, connections=3)
    assert client.connections == 3
    for _ in range(5):
        read(client)
    assert server.connections == 1
    at_once(12, lambda number: [read(client) for _ in range(3)])
    assert server.most_under_way == server.connections == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_a_passing_status_is_tried_again_after_growing_pauses(bench: Bench, status: int) -> None:
    server = bench.server(always(answer(status)))
    client = bench.client(server.url, hurried=True)
    with pytest.raises(SourceUnavailable, match=rf"/logs answered {status} 5 times") as caught:
        read(client)
    assert caught.value.status == status
    assert server.paths()["/logs"] == 5
    assert len(bench.pauses) == 4
    for pause, steady in zip(bench.pauses, (0.5, 1, 2, 4), strict=True):
        assert steady * 0.5 <= pause <= steady * 1.5
    assert bench.pauses != [0.5, 1, 2, 4]


@pytest.mark.parametrize("broken", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"\x16\x03\x01garbage\r\n\r\n"])
def test_a_broken_connection_is_tried_again(bench: Bench, broken: bytes) -> None:
    def handler(request: Request, peer: socket.socket) -> bytes | None:
        if server.paths()["/logs"] < 3:
            peer.sendall(broken)
            return None
        return answer(200, PAGE)

    server = bench.server(logged_in(handler))
    assert read(bench.client(server.url, hurried=True)).rows
    assert server.paths()["/logs"] == 3


@pytest.mark.parametrize("after", ["Retry-After: 2", "Retry-After: Mon, 05 Jan 2026 10:00:02 GMT"])
def test_retry_after_is_honoured_by_all_threads(bench: Bench, after: str) -> None:
    refused: list[float] = []

    def handler(request: Request, peer: socket.socket) -> bytes:
        if refused:
            return answer(200, PAGE)
        refused.append(time.monotonic())
        return answer(429, b"", after)

    server = bench.server(logged_in(handler))
    client = bench.client(server.url)
    client.login()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(read, client)
        while not refused:
            time.sleep(0.01)
        time.sleep(0.05)
        second = pool.submit(read, client)
        assert first.result().rows
        assert second.result().rows
    assert all(request.at - refused[0] > 1.9 for request in server.seen[2:])


@pytest.mark.parametrize("after", ["soon", "-5", "9" * 5000, "Mon, 99 Foo"])
def test_an_odd_retry_after_is_as_none(bench: Bench, after: str) -> None:
    server = bench.server(in_turn(answer(503, b"", f"Retry-After: {after}"), answer(200, PAGE)))
    assert read(bench.client(server.url, hurried=True)).rows
    assert max(bench.pauses) < 1


@pytest.mark.parametrize("where", ["silence", "pause", "queue", "rate"])
def test_closing_ends_calls_under_way(bench: Bench, where: str) -> None:
    def handler(request: Request, peer: socket.socket) -> bytes:
        if where == "pause":
            return answer(503, b"", "Retry-After: 30")
        if where != "rate":
            server.done.wait(20)
        return answer(200, PAGE)

    server = bench.server(logged_in(handler))
    rate = 0.05 if where == "rate" else 100.0
    client = bench.client(server.url, connections=1, requests_per_second=rate, timeout=timedelta(seconds=30))
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(read, client) for _ in range(2 if where == "queue" else 1)]
        walk = pages_of(client, LogType.MAIN, ((9, page) for page in range(1, 9)))
        calls.append(pool.submit(next, walk))
        while (LOGIN if where == "rate" else "/logs") not in server.paths():
            time.sleep(0.01)
        time.sleep(0.2)  # the others wait
        started = time.monotonic()
        client.close()
        for call in calls:
            with pytest.raises(SourceUnavailable, match="the client was closed"):
                call.result()
    assert time.monotonic() - started < 1.5
    with pytest.raises(SourceUnavailable, match="the client was closed"):
        read(client)
    with pytest.raises(SourceUnavailable, match="the client was closed"):
        next(pages_of(client, LogType.MAIN, [(1, 1)]))
    assert not [thread.name for thread in threading.enumerate() if thread.name == "client-deadlines"]
