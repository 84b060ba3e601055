"""Pages that are fetched ahead: the one before is read while the next is on its way, and nobody waits for ever."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest

from archiver.errors import PageUnreadable, SourceUnavailable
from archiver.logs import LogType
from archiver.redact import page_of
from tests.wire import FLOW, PAGE, Bench, Request, answer, bench, logged_in, read

__all__ = ["bench"]


Rules = tuple[str, ...]


def number(body: bytes, rules: Rules) -> int:
    return int(page_of(body, rules).rows[0]["id"])


def numbered(request: Request) -> bytes:
    return answer(200, json.dumps({"results": [{"id": int(request.params["page"])}]}).encode())


def test_a_page_is_read_while_the_next_is_on_its_way(bench: Bench) -> None:
    asked = {page: threading.Event() for page in range(1, 5)}
    all_wanted = threading.Event()

    def handler(request: Request, peer: socket.socket) -> bytes:
        all_wanted.wait(5)
        asked[int(request.params["page"])].set()
        return numbered(request)

    def reading(body: bytes, rules: Rules) -> bool:
        return number(body, rules) == 4 or asked[number(body, rules) + 1].wait(5)

    client = bench.client(bench.server(logged_in(handler)).url, connections=1)
    with client.ahead(FLOW, LogType.LINE, reading) as ask:
        answers = [ask((10, page), "run") for page in range(1, 5)]
        all_wanted.set()
        assert [answer() for answer in answers] == [True] * 4


def test_the_last_page_needs_no_other_to_be_read(bench: Bench) -> None:
    client = bench.client(bench.server(logged_in(lambda request, peer: numbered(request))).url, connections=2)
    with client.ahead(FLOW, LogType.LINE, number) as ask:
        assert [ask((10, page), None)() for page in (1, 2, 3)] == [1, 2, 3]


def test_what_is_wrong_with_a_page_comes_in_its_place_and_the_others_are_read(bench: Bench) -> None:
    def handler(request: Request, peer: socket.socket) -> bytes:
        return answer(200, b"no JSON") if request.params["page"] == "2" else numbered(request)

    def reading(body: bytes, rules: Rules) -> int:
        if number(body, rules) == 4:
            raise ValueError("not this one")
        return number(body, rules)

    server = bench.server(logged_in(handler))
    client = bench.client(server.url, connections=2, hurried=True)
    with client.ahead(FLOW, LogType.LINE, reading) as ask:
        first, second, third, fourth, fifth = [ask((10, page), None) for page in range(1, 6)]
        assert (first(), third(), fifth()) == (1, 3, 5)
        with pytest.raises(PageUnreadable, match="flow price"):
            second()
        with pytest.raises(ValueError, match="not this one"):
            fourth()
    pages = Counter(request.params.get("page") for request in server.seen if request.path == "/logs")
    assert pages == {"1": 1, "2": 3, "3": 1, "4": 1, "5": 1}
    assert [pause for pause in bench.pauses if pause >= 0.5] == [0.5, 1.0]


def test_a_page_that_can_be_read_the_second_time(bench: Bench) -> None:
    seen: Counter[str] = Counter()

    def handler(request: Request, peer: socket.socket) -> bytes:
        seen[request.params["page"]] += 1
        return answer(200, b"{") if seen[request.params["page"]] == 1 else numbered(request)

    client = bench.client(bench.server(logged_in(handler)).url, connections=2, hurried=True)
    with client.ahead(FLOW, LogType.LINE, number) as ask:
        assert [answer() for answer in [ask((10, page), None) for page in range(1, 9)]] == [*range(1, 9)]


@pytest.mark.parametrize("rate", [1000.0, 20.0])
def test_a_busy_reader_leaves_connections_to_others(bench: Bench, rate: float) -> None:
    """One thread hardly lets its connection go: who waits for one has it in turn all the same, and what was fetched
    is read, however long that takes."""
    client = bench.client(
        bench.server(logged_in(lambda request, peer: numbered(request))).url, connections=1, requests_per_second=rate
    )
    with client.ahead(FLOW, LogType.LINE, number) as ask:
        answers = [ask((10, page), None) for page in range(1, int(rate * 1.5))]
        assert answers[0]() == 1
        began = time.monotonic()
        assert read(client, 77).rows == [{"id": 77}]
        took = time.monotonic() - began
        assert answers[1]() == 2
    assert took < 0.5 + 4 / rate


def test_reading_does_not_count_for_the_next_answer(bench: Bench) -> None:
    """Neither for its deadline, nor for what is said to have gone by until it came."""

    def reading(body: bytes, rules: Rules) -> int:
        time.sleep(0.5)
        return number(body, rules)

    server = bench.server(logged_in(lambda request, peer: numbered(request)))
    client = bench.client(server.url, connections=1, timeout=timedelta(seconds=0.3))
    with client.ahead(FLOW, LogType.LINE, reading) as ask:
        assert [answer() for answer in [ask((10, page), None) for page in range(1, 5)]] == [1, 2, 3, 4]
    assert max(note.seconds for note in bench.notes) < 0.3


@pytest.mark.parametrize("second", ["refused for long", "silent", "no part of the rate"])
def test_a_page_that_is_here_does_not_wait_for_the_next(bench: Bench, second: str) -> None:
    came = threading.Event()

    def handler(request: Request, peer: socket.socket) -> bytes | None:
        if request.params["page"] == "1":
            wanted.wait(5)
            came.set()
            return numbered(request).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        if second == "silent":
            server.done.wait(10)
        return answer(503, b"", "Retry-After: 5")

    wanted = threading.Event()
    server = bench.server(logged_in(handler))
    share = Fractions(came) if second == "no part of the rate" else None
    client = bench.client(server.url, connections=1, share=share)
    with client.ahead(FLOW, LogType.LINE, number) as ask:
        first, _ = ask((10, 1), None), ask((10, 2), None)
        wanted.set()
        assert came.wait(5)
        began = time.monotonic()
        assert first() == 1
        assert time.monotonic() - began < 1.5
        client.close()


class Fractions:
    """All of the rate until something has come, and nothing of it then."""

    def __init__(self, came: threading.Event) -> None:
        self._came = came

    def fraction(self) -> float:
        return 0.0 if self._came.is_set() else 1.0


def test_slow_reading_does_not_push_requests_together(bench: Bench) -> None:
    def reading(body: bytes, rules: Rules) -> int:
        time.sleep(0.25 if number(body, rules) % 3 == 0 else 0.0)
        return number(body, rules)

    server = bench.server(logged_in(lambda request, peer: numbered(request)))
    client = bench.client(server.url, connections=4, requests_per_second=10.0)
    with client.ahead(FLOW, LogType.LINE, reading) as ask:
        assert [answer() for answer in [ask((10, page), None) for page in range(1, 25)]] == [*range(1, 25)]
    at = sorted(request.at for request in server.seen)
    assert max(sum(start <= one < start + 0.3 for one in at) for start in at) <= 4


def test_a_thread_that_cannot_be_started_costs_one_page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    failures = iter([RuntimeError("can't start new thread")])

    def unwilling(thread: threading.Thread) -> None:
        if "client-pages" in thread.name and (failure := next(failures, None)):
            raise failure
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", unwilling)
    client = bench.client(bench.server(logged_in(lambda request, peer: numbered(request))).url, connections=1)
    with client.ahead(FLOW, LogType.LINE, number) as ask:
        with pytest.raises(RuntimeError, match="can't start"):
            ask((10, 1), None)
        assert [answer() for answer in [ask((10, page), None) for page in (2, 3)]] == [2, 3]


def test_deadlines_hold_after_their_thread_could_not_be_started(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    failures = iter([RuntimeError("can't start new thread")])

    def unwilling(thread: threading.Thread) -> None:
        if thread.name == "client-deadlines" and (failure := next(failures, None)):
            raise failure
        start(thread)

    def handler(request: Request, peer: socket.socket) -> bytes:
        if request.params["page"] == "2":
            server.done.wait(10)
        return numbered(request)

    monkeypatch.setattr(threading.Thread, "start", unwilling)
    server = bench.server(logged_in(handler))
    client = bench.client(server.url, timeout=timedelta(seconds=0.5))
    with pytest.raises(RuntimeError, match="can't start"):
        read(client, 1)
    assert read(client, 1).rows == [{"id": 1}]
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match=r"no complete answer within 0\.5 s"):
        read(client, 2)
    assert time.monotonic() - began < 5


def test_what_is_not_begun_when_the_client_closes_has_an_end(bench: Bench) -> None:
    begun = threading.Event()

    def handler(request: Request, peer: socket.socket) -> bytes:
        begun.set()
        server.done.wait(20)
        return answer(200, PAGE)

    server = bench.server(logged_in(handler))
    client = bench.client(server.url, connections=2)
    with client.ahead(FLOW, LogType.LINE, number) as ask:
        answers = [ask((10, page), None) for page in range(1, 30)]
        assert begun.wait(5)
        started = time.monotonic()
        client.close()
        for one in answers:
            with pytest.raises(SourceUnavailable, match="the client was closed"):
                one()
        with pytest.raises(SourceUnavailable, match="the client was closed"):
            ask((10, 1), None)
    assert time.monotonic() - started < 2


def test_who_ends_early_leaves_the_rest_unasked(bench: Bench) -> None:
    def handler(request: Request, peer: socket.socket) -> bytes:
        time.sleep(0.02)
        return numbered(request)

    server = bench.server(logged_in(handler))
    client = bench.client(server.url, connections=2)
    with client.ahead(FLOW, LogType.LINE, number) as ask:
        first, *_ = [ask((10, page), None) for page in range(1, 40)]
        assert first() == 1
    time.sleep(0.3)
    assert server.paths()["/logs"] < 10
    with client.ahead(FLOW, LogType.LINE, number) as ask:
        assert ask((10, 5), None)() == 5
