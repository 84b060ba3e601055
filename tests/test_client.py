"""The client against real servers on loopback: what it asks for, what it says, what surrounds it."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import socket
import ssl
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr

from archiver.errors import ArchiverError, ConfigError, PageUnreadable, RequestRefused, SourceUnavailable
from archiver.logs import LogType
from tests.wire import (
    FLOW,
    LOGIN,
    PAGE,
    PASSWORD,
    TOKEN,
    Bench,
    Handler,
    Hold,
    Request,
    always,
    answer,
    bench,
    in_turn,
    logged_in,
    pages_of,
    read,
)

__all__ = ["bench"]


@pytest.mark.parametrize(
    ("log_type", "run_id", "expected"),
    [
        (LogType.MAIN, None, {}),
        (LogType.MAIN, "a b", {"filename_uuid": "a b"}),
        (LogType.SUB, "x", {"original_filename_uuid": "x"}),
        (LogType.LINE, "x&y=z", {"original_filename_uuid": "x&y=z"}),
    ],
)
def test_a_page_is_asked_for_as_the_vendor_says(
    bench: Bench, log_type: LogType, run_id: str | None, expected: dict[str, str]
) -> None:
    server = bench.server(always(answer(200, PAGE)))
    page = bench.client(server.url).list_logs(FLOW, log_type, limit=20, page=3, run_id=run_id)
    login, request = server.seen
    assert (login.method, login.target) == ("POST", LOGIN)
    assert dict(parse_qsl(login.body.decode())) == {"username": "user@example.com", "password": PASSWORD}
    usual = {"flowId": "123456", "projectid": "98765", "log_type": str(int(log_type)), "limit": "20", "page": "3"}
    assert (request.method, request.path, request.params) == ("GET", "/logs", usual | expected)
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert (page.rows, page.count, page.limit) == ([{"id": 7, "price": 1.0}], 1, 20)


def test_a_404_is_an_empty_page_and_no_file(bench: Bench) -> None:
    client = bench.client(bench.server(always(answer(404, b"<html>"))).url)
    page = read(client)
    assert (page.rows, page.count) == ([], 0)
    assert page.signpost is not None
    assert client.download(FLOW, 1) is None


def test_the_signpost_is_the_date_less_the_time_of_the_last_try(bench: Bench) -> None:
    def slow(request: Request, peer: socket.socket) -> bytes:
        first = len(server.seen) == 2
        time.sleep(1.5 if first else 0.3)
        return answer(503) if first else answer(200, PAGE)

    server = bench.server(logged_in(slow))
    signpost = read(bench.client(server.url, hurried=True)).signpost
    early = datetime(2026, 1, 5, 10, tzinfo=UTC) - signpost
    assert timedelta(seconds=0.3) <= early < timedelta(seconds=1.8)  # as long as both took


@pytest.mark.parametrize("date", ["", "Date: yesterday\r\n", "Date: Mon, 55 Jan 2026 00:00:00 +0900\r\n"])
def test_no_usable_date_no_signpost(bench: Bench, date: str) -> None:
    reply = f"HTTP/1.1 200 OK\r\n{date}Content-Length: {len(PAGE)}\r\n\r\n".encode() + PAGE
    assert read(bench.client(bench.server(always(reply)).url)).signpost is None


def test_a_path_in_the_base_url_is_kept(bench: Bench) -> None:
    server = bench.server(
        lambda request, peer: answer(200, TOKEN.encode()) if request.method == "POST" else answer(200, PAGE)
    )
    read(bench.client(server.url + "/inner"))
    assert server.paths() == {"/inner" + LOGIN: 1, "/inner/logs": 1}


def test_both_spellings_of_the_project_parameter(bench: Bench) -> None:
    wanted = {"/logs": "projectId", "/logs/download": "projectid"}  # for each path, the one that is tried second
    server = bench.server(
        logged_in(lambda request, peer: answer(200 if wanted[request.path] in request.params else 400, PAGE))
    )
    client = bench.client(server.url)
    for _ in range(3):
        read(client)
        client.download(FLOW, 9)
    assert server.paths() == {LOGIN: 1, "/logs": 4, "/logs/download": 4}
    file = server.seen[-1].params
    assert file == {"id": "9", "flowId": "123456", "projectid": "98765", "projectslug": "my-brand"}


def test_a_400_to_both_spellings_is_refused_in_the_servers_words(bench: Bench) -> None:
    echo = f"no\x1b[31m such\nflow {TOKEN} canary+p%26ssword {PASSWORD} ".encode() + b"x" * 9_000
    server = bench.server(always(answer(400, echo)))
    client = bench.client(server.url)
    with pytest.raises(RequestRefused) as caught:
        read(client)
    assert server.paths()["/logs"] == 2
    assert "no [31m such flow *** *** *** xxx" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert str(caught.value).endswith("; are both ids right?")
    server.handler = always(answer(200, PAGE))
    read(client)
    server.handler = always(answer(400))
    with pytest.raises(RequestRefused):
        read(client)
    assert server.paths()["/logs"] == 4  # the spelling is known now: no second try


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, RequestRefused), (302, SourceUnavailable), (204, PageUnreadable), (501, SourceUnavailable)],
)
def test_other_statuses_say_whose_turn_it_is(bench: Bench, status: int, error: type[Exception]) -> None:
    client = bench.client(bench.server(always(answer(status))).url, hurried=True)
    with pytest.raises(error, match=str(status)):
        read(client)


# Many pages


def test_pages_come_in_the_order_asked_and_no_further_than_needed(bench: Bench) -> None:
    def handler(request: Request, peer: socket.socket) -> bytes:
        page = int(request.params["page"])
        time.sleep(0.1 if page % 4 == 1 else 0.02)
        return answer(200, json.dumps({"results": [{"id": page, "limit": request.params["limit"]}]}).encode())

    server = bench.server(logged_in(handler))
    client = bench.client(server.url, connections=4)
    taken: list[int] = []

    def asks() -> Iterator[tuple[int, int]]:
        for page in range(1, 1000):
            taken.append(page)
            yield 50 + page, page

    pages = pages_of(client, LogType.LINE, asks(), run_id="run")
    assert taken == []
    got = [next(pages).rows[0] for _ in range(9)]
    assert got == [{"id": page, "limit": str(50 + page)} for page in range(1, 10)]
    assert server.most_under_way == 4
    pages.close()
    assert len(taken) <= 13
    time.sleep(0.2)
    assert server.paths()["/logs"] <= 13
    assert server.seen[-1].params["original_filename_uuid"] == "run"
    assert [page.rows[0]["id"] for page in pages_of(client, LogType.MAIN, [(5, 1), (5, 2)])] == [1, 2]


def test_an_error_comes_in_the_place_of_its_page(bench: Bench) -> None:
    server = bench.server(
        logged_in(lambda request, peer: answer(400) if request.params["page"] == "3" else answer(200, PAGE))
    )
    client = bench.client(server.url, connections=2)
    pages = pages_of(client, LogType.MAIN, ((9, page) for page in range(1, 9)))
    assert [next(pages).count, next(pages).count] == [1, 1]
    with pytest.raises(RequestRefused):
        next(pages)
    assert list(pages) == []


def test_a_walk_that_ended_does_not_try_again(bench: Bench) -> None:
    server = bench.server(logged_in(lambda request, peer: answer(400 if request.params["page"] == "1" else 503)))
    client = bench.client(server.url, connections=2)
    with pytest.raises(RequestRefused):
        next(pages_of(client, LogType.MAIN, [(9, 1), (9, 2)]))
    time.sleep(1)
    assert Counter(request.params.get("page") for request in server.seen)["2"] <= 1


# Surroundings


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes a certificate with openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=test"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return cert, key


def test_certificates(bench: Bench, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    server = bench.server(always(answer(200, PAGE)), tls)
    assert read(bench.client(server.url, ca_file=certificate[0])).rows
    assert server.connections == 1
    with pytest.raises(SourceUnavailable, match=r"certificate is not trusted.*ca_file"):
        read(bench.client(server.url))
    assert server.connections == 2  # not tried again: it does not become valid in a second
    with pytest.raises(ConfigError, match="ca_file"):
        bench.client(server.url, ca_file=tmp_path / "absent.pem")


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_what_comes_behind_a_body_is_no_answer(
    bench: Bench, certificate: tuple[Path, Path], *, secure: bool, compressed: bool
) -> None:
    """Neither in the record of TLS that ends the body, nor behind padding that a gzip reader need not look at."""

    def page(number: int) -> bytes:
        return json.dumps({"results": [{"id": number}]}).encode()

    def handler(request: Request, peer: socket.socket) -> bytes:
        number = int(request.params["page"])
        if number != 2:
            return answer(200, page(number))
        other = answer(200, page(666))
        if compressed:
            whole = gzip.compress(page(2))
            body = whole + bytes(65536 - len(whole)) + other
            head = answer(200, b"", "Content-Encoding: gzip", f"Content-Length: {len(body)}", length=False)
        else:
            body = page(2) + other
            head = answer(200, b"", f"Content-Length: {len(page(2))}", length=False)
        peer.sendall(head)
        time.sleep(0.05)
        peer.sendall(body)
        return b""

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    server = bench.server(logged_in(handler), tls if secure else None)
    client = bench.client(server.url, connections=1, ca_file=certificate[0])
    assert [read(client, number).rows[0]["id"] for number in (1, 2, 3)] == [1, 2, 3]
    assert server.connections == 2


def test_a_tls_handshake_that_hangs(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(SourceUnavailable, match=r"within 0\.5 s|within the time"):
            read(bench.client(url, timeout=timedelta(seconds=0.5)))
        assert time.monotonic() - started < 2.5


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1", r"no connection \(connection refused\); check integrators\.prod\.base_url"),
        ("http://no-such-host.invalid:80", "host name is not known"),
    ],
)
def test_no_server(bench: Bench, url: str, words: str) -> None:
    with pytest.raises(SourceUnavailable, match=words) as caught:
        read(bench.client(url, hurried=True))
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_notes_say_what_happened(bench: Bench) -> None:
    server = bench.server(in_turn(answer(503), None, answer(200, PAGE)))
    client = bench.client(server.url, hurried=True)
    read(client)
    told = [(note.method, note.path, note.status, note.bytes, note.attempt) for note in bench.notes]
    assert told == [
        ("POST", LOGIN, 200, len(TOKEN), 1),
        ("GET", "/logs", 503, 0, 1),
        ("GET", "/logs", None, 0, 2),
        ("GET", "/logs", 200, len(PAGE), 3),
    ]
    assert client.requests == 4
    assert all(0 < note.seconds < 2 for note in bench.notes)


def test_no_secret_is_ever_said(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"{TOKEN} {PASSWORD}".encode()
    handlers: list[Handler] = [
        always(answer(400, echo)),
        always(answer(403, echo)),
        always(answer(302, echo, f"Location: http://x/{TOKEN}")),
        always(answer(503, echo, f"X-Echo: {TOKEN}")),
        always(answer(200, echo)),
        always(answer(401, echo)),
        always(b"HTTP/1.1 " + echo + b"\r\n\r\n"),
        lambda request, peer: answer(400, (PASSWORD if request.path == LOGIN else TOKEN).encode()),
        lambda request, peer: answer(200, PASSWORD.encode()),
        lambda request, peer: answer(500, echo),
    ]
    said = [repr(bench.notes)]
    for handler in handlers:
        server = bench.server(handler)
        bench.hold = Hold()
        for settings in (
            {},
            {"fixed": True, "password": SecretStr(PASSWORD)},
            {"proxy": server.url.replace("://", f"://user:{TOKEN}@")},
        ):
            client = bench.client(server.url, hurried=True, **settings)
            with pytest.raises(ArchiverError) as caught:
                read(client)
            said += ["".join(traceback.format_exception(caught.value)), repr(client), str(bench.hold.refusals)]
    said += [repr(bench.notes), caplog.text]
    for secret in (TOKEN, PASSWORD, "canary+p%26ssword", "p&ssword"):
        assert not [text for text in said if secret in text]


def test_a_proxy_that_cannot_be_used_is_named_without_its_password(bench: Bench) -> None:
    with pytest.raises(SourceUnavailable, match="proxy") as caught:
        read(bench.client("https://127.0.0.1:1", proxy=f"http://user:{TOKEN}@127.0.0.1:1", hurried=True))
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_two_integrators_are_two_credentials(bench: Bench) -> None:
    server = bench.server(lambda request, peer: answer(200, TOKEN.encode()))
    bench.client(server.url).login()
    bench.client(server.url + "/other").login()
    bench.client(server.url, username="other@example.com").login()
    assert len(set(bench.hold.accepted)) == 3
