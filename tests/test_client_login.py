"""The token: one login for all threads, tokens that live shortly, refused credentials, odd answers."""

from __future__ import annotations

import html
import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote_plus

import pytest
from pydantic import SecretStr

from archiver.errors import ConfigError, LoginHeld, LoginRefused, SourceUnavailable
from tests.wire import (
    LOGIN,
    PAGE,
    TOKEN,
    Bench,
    Request,
    always,
    answer,
    at_once,
    bench,
    logged_in,
    read,
)

__all__ = ["bench"]


def test_threads_that_are_refused_together_log_in_once(bench: Bench) -> None:
    valid = ["t1"]
    login_lock = threading.Lock()

    def handler(request: Request, peer: socket.socket) -> bytes:
        if request.path == LOGIN:
            with login_lock:
                time.sleep(0.1)
                valid[0] = f"t{server.paths()[LOGIN]}"
                return answer(200, valid[0].encode() + b"\n")
        return answer(200, PAGE) if request.token == valid[0] else answer(401)

    server = bench.server(handler)
    client = bench.client(server.url, connections=8)
    assert all(page.rows for page in at_once(8, lambda number: read(client)))
    assert server.paths()[LOGIN] == 1
    valid[0] = "expired"
    assert all(page.rows for page in at_once(8, lambda number: read(client)))
    assert server.paths()[LOGIN] == 2


@pytest.mark.parametrize(
    ("life", "uses", "login_takes", "rate", "connections"),
    [
        (60.0, 3, 0.0, 1000.0, 4),
        (60.0, 1, 0.02, 1000.0, 4),
        (0.1, 999, 0.25, 1000.0, 4),  # lives shorter than a login takes to come back
        (0.1, 999, 0.25, 1000.0, 1),
        (0.12, 999, 0.0, 7.0, 4),  # lives shorter than two requests are apart
    ],
)
def test_short_lived_tokens(
    bench: Bench, life: float, uses: int, login_takes: float, rate: float, connections: int
) -> None:
    lock = threading.Lock()
    tokens: dict[str, list[float]] = {}

    def handler(request: Request, peer: socket.socket) -> bytes:
        if request.path == LOGIN:
            time.sleep(login_takes)
            with lock:
                name = f"token-{len(tokens)}"
                tokens[name] = [time.monotonic() + life, uses]
            return answer(200, name.encode())
        with lock:
            token = tokens.get(request.token)
            if token is None or token[0] < time.monotonic() or token[1] <= 0:
                return answer(401)
            token[1] -= 1
        return answer(200, PAGE)

    client = bench.client(bench.server(handler).url, requests_per_second=rate, connections=connections)
    assert [page.rows[0]["id"] for page in at_once(6, lambda number: read(client))] == [7] * 6


def test_a_token_that_is_never_accepted_ends(bench: Bench) -> None:
    server = bench.server(always(answer(401)))
    with pytest.raises(SourceUnavailable, match="401") as caught:
        read(bench.client(server.url, hurried=True))
    assert caught.value.status == 401
    assert server.paths() == {LOGIN: 5, "/logs": 5}


def test_tokens_that_are_refused_at_once_are_not_fetched_by_everybody(bench: Bench) -> None:
    """An account without rights: the first request finds it out; the others ask all the same, and log in no more."""
    works = [False]
    server = bench.server(logged_in(lambda request, peer: answer(200, PAGE) if works[0] else answer(401)))
    client = bench.client(server.url, connections=4)
    with pytest.raises(SourceUnavailable, match="401 to fresh tokens"):
        read(client)
    first = server.paths()[LOGIN]
    for failure in at_once(6, lambda number: read(client)):
        assert "401 to fresh tokens" in str(failure)
    assert server.paths()[LOGIN] == first
    works[0] = True
    assert read(client).rows


@pytest.mark.parametrize(
    "spelling",
    [
        lambda secret: secret,
        quote_plus,
        lambda secret: json.dumps({"error": {"password": secret}}),
        lambda secret: json.dumps(secret, ensure_ascii=False),
        html.escape,
        lambda secret: "Basic " + b64encode(f"user@example.com:{secret}".encode()).decode(),
        lambda secret: b64encode(secret.encode()).decode(),
    ],
)
def test_a_password_that_is_echoed_is_not_shown_however_it_is_spelled(
    bench: Bench, spelling: Callable[[str], str]
) -> None:
    secret = 'pä"<&>\\ss wörd+%/x'
    server = bench.server(lambda request, peer: answer(400, f"wrong: {spelling(secret)}!".encode()))
    client = bench.client(server.url, password=SecretStr(secret))
    with pytest.raises(LoginRefused) as refused:
        read(client)
    assert "wrong: " in str(refused.value)
    for part in ("ss w", "ss+w", "cGE", "cMOk", b64encode(secret.encode()).decode()[4:12]):
        assert part not in str(refused.value)


@pytest.mark.parametrize("status", [401, 403])
def test_other_ways_to_refuse_a_login(bench: Bench, status: int) -> None:
    server = bench.server(lambda request, peer: answer(status))
    with pytest.raises(LoginRefused):
        bench.client(server.url).login()
    assert len(bench.hold.refusals) == len(server.seen) == 1


def test_a_fixed_token(bench: Bench) -> None:
    server = bench.server(lambda request, peer: answer(200, PAGE) if request.token == TOKEN else answer(401))
    client = bench.client(server.url, fixed=True)
    client.login()
    at_once(4, lambda number: read(client))
    assert server.paths() == {"/logs": 4}
    server.handler = lambda request, peer: answer(401, TOKEN.encode())
    errors = at_once(8, lambda number: read(client))
    assert all(isinstance(error, LoginRefused) and TOKEN not in str(error) for error in errors)
    assert len(bench.hold.refusals) == 1
    count = len(server.seen)
    for held in (client, bench.client(server.url, fixed=True)):
        with pytest.raises(LoginHeld, match=r"integrators\.prod\.token"):
            read(held)
    assert len(server.seen) == count


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ümlaut", ""])
def test_a_fixed_token_that_is_none(bench: Bench, token: str) -> None:
    with pytest.raises(ConfigError, match=r"integrators\.prod\.token"):
        bench.client("http://127.0.0.1:1", fixed=True, token=SecretStr(token))


def test_a_failing_login_is_retried_and_shared(bench: Bench) -> None:
    down = [True]

    def handler(request: Request, peer: socket.socket) -> bytes:
        time.sleep(0.05)
        return answer(503) if down[0] else answer(200, TOKEN.encode() if request.path == LOGIN else PAGE)

    server = bench.server(handler)
    client = bench.client(server.url, hurried=True)
    errors = at_once(6, lambda number: read(client))
    assert all(isinstance(error, SourceUnavailable) and error.status == 503 for error in errors)
    assert len(server.seen) == 3
    down[0] = False
    assert read(client).rows


def test_a_login_whose_answer_broke_off_is_not_sent_again(bench: Bench) -> None:
    def handler(request: Request, peer: socket.socket) -> None:
        peer.sendall(answer(200, TOKEN.encode())[:-3])

    server = bench.server(handler)
    with pytest.raises(SourceUnavailable, match=r"ended too early|broke"):
        bench.client(server.url, hurried=True).login()
    assert len(server.seen) == 1
