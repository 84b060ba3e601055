"""Rows 23 to 35 of the catalogue: what servers, networks and logins do to a client.

Each test shows what a plain client makes of the same thing.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import time
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr
from urllib3 import HTTPResponse
from urllib3.util import Retry

from archiver.client import Download
from archiver.errors import LoginRefused, PageUnreadable, SourceUnavailable
from tests.faults import canaries
from tests.faults.proxy import Cut, Drip, Proxy
from tests.faults.scene import Scene
from tests.test_archive import FLOW as FLOW_ID
from tests.test_archive import main_log
from tests.wire import (
    FLOW,
    LOGIN,
    PAGE,
    PASSWORD,
    TOKEN,
    Bench,
    Handler,
    Request,
    always,
    answer,
    at_once,
    bench,
    logged_in,
    read,
)

__all__ = ["bench"]

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def drip(reply: bytes, start: int) -> Handler:
    def handler(request: Request, peer: socket.socket) -> None:
        peer.sendall(reply[:start])
        for byte in reply[start:]:
            peer.sendall(bytes([byte]))
            time.sleep(0.05)

    return handler


@pytest.mark.parametrize(
    "handler",
    [
        drip(answer(200, PAGE * 9), 4),
        drip(answer(200, PAGE * 9), 90),
        drip(answer(200, PAGE * 9, length=False), 90),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 99, 0),
        lambda request, peer: time.sleep(3),
    ],
    ids=["headers", "body", "close-delimited body", "interim answers", "silence"],
)
@pytest.mark.parametrize("where", ["login", "logs"])
def test_23_a_drip_ends_at_the_deadline(bench: Bench, handler: Handler, where: str) -> None:
    """A try has `timeout` seconds in all, whatever trickles in. Naive: see the next test."""
    server = bench.server(handler if where == "login" else logged_in(handler))
    client = bench.client(server.url, timeout=timedelta(seconds=0.4))
    started = time.monotonic()
    with pytest.raises(SourceUnavailable, match=r"within 0\.4 s \(integrators\.prod\.timeout\)"):
        read(client)
    assert time.monotonic() - started < 0.4 + 2
    server.handler = always(answer(200, PAGE))
    assert read(client).rows


def test_23_a_plain_timeout_is_no_deadline(bench: Bench) -> None:
    """Naive: a timeout of 0.2 s for each read lets forty pieces take two seconds."""
    server = bench.server(always(answer(200, PAGE)))
    with Proxy(("127.0.0.1", server.port), Drip(pause=0.05, size=3)) as proxy:
        started = time.monotonic()
        assert requests.get(f"http://127.0.0.1:{proxy.port}/logs", timeout=0.2).ok
        assert time.monotonic() - started > 1
        client = bench.client(f"http://127.0.0.1:{proxy.port}", timeout=timedelta(seconds=0.2), fixed=True)
        with pytest.raises(SourceUnavailable, match=r"within 0\.2 s"):
            read(client)


def test_24_a_body_cut_anywhere_is_no_page(bench: Bench) -> None:
    """Without a length, the end of the connection is the end of the body: only whole JSON, or a zip's checksum, is
    believed.

    Naive: status 200, and base64 that is cut at a group of four still decodes.
    """
    cut = [0]
    handler = logged_in(lambda request, peer: peer.sendall(answer(200, PAGE[: cut[0]], length=False)))
    server = bench.server(handler)
    client = bench.client(server.url, hurried=True)
    for cut[0] in range(len(PAGE)):
        with pytest.raises(PageUnreadable, match="integrator prod, flow price"):
            read(client)
    cut[0] = len(PAGE)
    assert read(client).rows
    text = base64.b64encode(b"the whole file")
    server.handler = lambda request, peer: peer.sendall(answer(200, text, length=False))
    with Proxy(("127.0.0.1", server.port)) as proxy:
        whole = requests.get(f"http://127.0.0.1:{proxy.port}/").content
        head = len(answer(200, text, length=False)) - len(text)
        proxy.toxic = Cut(head + 8)
        naive = requests.get(f"http://127.0.0.1:{proxy.port}/")
    assert (naive.status_code, base64.b64decode(naive.content)) == (200, b"the wh")
    assert base64.b64decode(whole) == b"the whole file"


def test_25_the_token_expires_during_a_walk(archive: str, tmp_path: Path) -> None:
    """Tokens live for three requests: each 401 makes one login, and its request is sent again.

    Naive: a login at the start of the walk; the fourth page is 401, at every pass.
    """
    with Scene.opened(archive, tmp_path, token_requests=3) as scene:
        scene.world.insert(FLOW_ID, 1, *(main_log(n, age=60.0 * n) for n in range(1, 700)))
        form = {"username": "integration@example.com", "password": canaries.PASSWORD}
        token = requests.post(scene.server.base_url + LOGIN, data=form).text
        params: dict[str, str | int] = {"projectid": scene.flow.project_id, "flowId": FLOW_ID, "log_type": 1}
        statuses = [
            requests.get(
                scene.server.base_url + "/logs",
                params=params | {"page": page, "limit": 100},
                headers={"Authorization": f"Bearer {token}"},
            ).status_code
            for page in range(1, 6)
        ]
        assert statuses == [200, 200, 200, 401, 401]
        before = scene.server.logins
        report = scene.poll()
        assert report.errors == []
        assert scene.stored() == scene.shown()
        assert report.requests > 7
        assert scene.server.logins - before == -(-report.requests // 3)


def test_26_refused_credentials_are_tried_once_and_held(bench: Bench) -> None:
    """One login, by whomever; then a hold that outlives the process, until the credentials change.

    Naive: a login at every poll, 1,500 tries in two days, and the account is locked.
    """
    echo = f"The supplied username and password are not valid. {PASSWORD}".encode()
    server = bench.server(lambda request, peer: answer(400, echo))
    client = bench.client(server.url)
    errors = at_once(8, lambda number: read(client))
    assert all(isinstance(error, LoginRefused) and error.seconds > 50 for error in errors)
    assert any("username and password are not valid. ***" in str(error) for error in errors)
    again = bench.client(server.url)  # the hold outlives the client
    with pytest.raises(LoginRefused, match="refused before"):
        again.login()
    assert len(server.seen) == 1
    ((digest, reason),) = bench.hold.refusals
    assert PASSWORD not in digest + reason
    with pytest.raises(LoginRefused):
        bench.client(server.url, password=SecretStr("changed")).login()
    assert len(server.seen) == 2
    assert len({digest for digest, _ in bench.hold.refusals}) == 2
    bench.hold.until.clear()
    server.handler = always(answer(200, PAGE))
    bench.client(server.url).login()
    assert bench.hold.accepted == [digest]
    server.seen.clear()
    for _ in range(8):
        requests.post(server.url + LOGIN, data={"username": "user@example.com", "password": "wrong"})
    assert len(server.seen) == 8


@pytest.mark.parametrize(
    "body",
    [b"<html>Welcome</html>", b"one\ntwo", b"", b" \n", b"x" * 70_000, b"\x00\x01", b'{"token":1}', "tökén".encode()],
)
def test_27_a_login_that_answers_something_else(bench: Bench, body: bytes) -> None:
    """A token is one printable word of a sensible length; anything else is a fault that passes.

    Naive: whatever comes with status 200 is the token, and is sent on as a header, or breaks one.
    """
    server = bench.server(lambda request, peer: answer(200, body))
    with pytest.raises(SourceUnavailable, match="without a token"):
        read(bench.client(server.url, hurried=True))
    assert server.paths() == {LOGIN: 1}
    assert not bench.hold.refusals
    naive = requests.post(server.url + LOGIN, data={"username": "u", "password": "p"})
    assert naive.ok
    assert naive.content == body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_28_a_redirect_of_the_login(bench: Bench, status: int) -> None:
    """No redirect is followed, in particular none that would take the password along.

    Naive: requests posts the password again to whatever host a 307 or 308 names.
    """
    elsewhere = bench.server(always(answer(200, PAGE)))
    server = bench.server(lambda request, peer: answer(status, b"", f"Location: {elsewhere.url}{LOGIN}"))
    with pytest.raises(SourceUnavailable, match="redirect"):
        bench.client(server.url).login()
    assert elsewhere.connections == 0
    requests.post(server.url + LOGIN, data={"username": "u", "password": PASSWORD})
    (seen,) = elsewhere.seen
    assert (b"password=" in seen.body) == (status in (307, 308))


def test_29_next_leads_to_a_foreign_host(bench: Bench) -> None:
    """Pages are asked for by their number, at the configured host; `next` is not even looked at.

    Naive: following `next` hands the token to whoever wrote it.
    """
    foreign = bench.server(always(answer(200, PAGE)))
    page = json.dumps({"results": [], "next": f"{foreign.url}/logs?page=2", "previous": foreign.url}).encode()
    server = bench.server(always(answer(200, page)))
    read(bench.client(server.url))
    assert foreign.connections == 0
    found = requests.get(server.url + "/logs", headers=BEARER).json()
    requests.get(found["next"], headers=BEARER)
    assert [request.token for request in foreign.seen] == [TOKEN]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_30_a_redirect_of_a_call(bench: Bench, status: int) -> None:
    """Neither is a call's redirect followed: a header with a key would go along.

    Naive: requests drops `Authorization` on its way to another host, and keeps every other header.
    """
    elsewhere = bench.server(always(answer(200, PAGE)))
    server = bench.server(always(answer(status, b"", f"Location: {elsewhere.url}/x")))
    with pytest.raises(SourceUnavailable, match="redirect"):
        read(bench.client(server.url))
    assert elsewhere.connections == 0
    requests.get(server.url + "/logs", headers={**BEARER, "X-Api-Key": "key"})
    assert elsewhere.seen[0].headers["x-api-key"] == "key"


def test_31_netrc_and_environment_proxies_do_not_matter(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the configuration says holds, whatever lies in HOME or the environment.

    Naive: requests replaces the bearer's header by the password that ~/.netrc has for the host.
    """
    proxy = bench.server(always(answer(200, PAGE)))
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login me password parrot\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = bench.server(always(answer(200, PAGE)))
    requests.get(server.url + "/logs", headers=BEARER)
    assert server.seen[-1].token.startswith("Basic ")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    read(bench.client(server.url))
    assert server.seen[-1].token == TOKEN
    assert proxy.connections == 0
    read(bench.client(server.url, proxy="environment"))
    assert [request.target.split("?")[0] for request in proxy.seen] == [server.url + LOGIN, server.url + "/logs"]
    with_secret = proxy.url.replace("://", f"://me:{canaries.PROXY}@")
    read(bench.client(server.url, proxy=with_secret))
    assert proxy.seen[-1].headers["proxy-authorization"].startswith("Basic ")
    assert proxy.seen[-1].token == TOKEN


@pytest.mark.parametrize("after", ["9999999999", "Tue, 05 Jan 2027 10:00:00 GMT"])
def test_32_a_long_retry_after_ends_the_call(bench: Bench, after: str) -> None:
    """Nobody waits for it in a call: the turn ends, and the next one comes by its schedule.

    Naive: urllib3's own Retry sleeps for six hours.
    """
    reply = answer(503, b"", f"Retry-After: {after}")
    server = bench.server(always(reply))
    client = bench.client(server.url)
    for _ in range(3):
        with pytest.raises(SourceUnavailable) as caught:
            read(client)
        assert caught.value.status in (429, 503)
    assert server.paths()["/logs"] == 1  # the others are not even sent
    assert (Retry().get_retry_after(HTTPResponse(headers={"Retry-After": "9999999999"})) or 0) >= 6 * 3600


def test_33_a_connection_that_was_closed_while_idle(bench: Bench) -> None:
    """A kept connection that the server has closed is replaced, without a pause; only where no byte came back.

    Naive: the first request after a pause fails, and a login that fails so is a lost poll.
    """
    served: set[int] = set()

    def handler(request: Request, peer: socket.socket) -> bytes | None:
        if request.connection in served:
            return None  # the second request on a connection: closed without a byte
        served.add(request.connection)
        if request.path == LOGIN:
            return answer(200, TOKEN.encode())
        return answer(401) if request.token != TOKEN or expired.pop() else answer(200, PAGE)

    expired = [False, True, False]
    server = bench.server(handler)
    client = bench.client(server.url, hurried=True, connections=1)
    assert read(client).rows
    assert read(client).rows  # refused, logged in on a stale connection, and answered
    assert server.connections == 5
    assert bench.pauses == []
    naive = http.client.HTTPConnection("127.0.0.1", server.port)
    naive.request("POST", LOGIN)
    naive.getresponse().read()
    naive.request("POST", LOGIN)
    with pytest.raises(http.client.RemoteDisconnected):
        naive.getresponse()
    naive.close()


def test_34_a_gzip_bomb_is_not_unpacked(bench: Bench) -> None:
    """Decoded bytes are counted while they come: what is too much is never held.

    Naive: requests unpacks all of it, a thousand times what came over the wire.
    """
    mebibyte = gzip.compress(b" " * 2**20)
    one_member = gzip.compress(b" " * 30 * 2**20)  # of several, what requests makes of it depends on the zlib there is
    small = bench.server(always(answer(200, one_member, "Content-Encoding: gzip")))
    assert len(requests.get(small.url + "/logs").content) == 30 * 2**20 > 500 * len(one_member)
    server = bench.server(always(answer(200, mebibyte * 600, "Content-Encoding: gzip")))
    client = bench.client(server.url, timeout=timedelta(seconds=60))
    tracemalloc.start()
    with pytest.raises(PageUnreadable, match="more than"):
        read(client)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20
    assert server.paths()["/logs"] == 1  # asking again would not make it smaller
    assert client.download(FLOW, 1) == Download(b"", too_large=True)


def test_35_many_threads_get_each_their_own_answer(bench: Bench) -> None:
    """One client for all threads: a connection belongs to one of them at a time.

    Naive: threads that share a connection cannot ask before the other has read.
    """
    server = bench.server(
        logged_in(lambda request, peer: answer(200, b'{"results":[{"id":%s}]}' % request.params["page"].encode()))
    )
    client = bench.client(server.url, connections=4)
    got = at_once(16, lambda number: [read(client, number * 100 + n).rows[0]["id"] for n in range(20)])
    assert got == [[number * 100 + n for n in range(20)] for number in range(16)]
    shared = http.client.HTTPConnection("127.0.0.1", server.port)
    shared.request("GET", "/logs?page=1")  # one thread has asked
    with pytest.raises(http.client.CannotSendRequest):
        shared.request("GET", "/logs?page=2")  # before it has read its answer, another asks
    shared.close()
