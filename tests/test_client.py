"""The client against real servers on loopback: its manners, its patience, and what it never says."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
import traceback
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import SecretStr

from archiver.client import Client, Download, RequestNote, api
from archiver.config import Flow, Integrator
from archiver.errors import ArchiverError, ConfigError, LoginRefused, PageUnreadable, RequestRefused, SourceUnavailable
from archiver.logs import LogType

LOGIN, PASSWORD, TOKEN = "/api/nifi/login", "canary p&ssword", "canary-token"
FLOW = Flow("prod", "98765", "my-brand", "123456", "price")
PAGE = json.dumps({"count": 1, "limit": 20, "results": [{"id": 7, "price": 1.0}]}).encode()
DATE = "Mon, 05 Jan 2026 10:00:00 GMT"


class Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at: float

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def params(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


Handler = Callable[[Request, socket.socket], bytes | None]


def answer(status: int, body: bytes = b"", *headers: str, length: bool = True) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Word",
        f"Date: {DATE}",
        *headers,
        *([f"Content-Length: {len(body)}"] if length else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    """Threads and raw sockets: a handler's None closes the connection, after whatever it sent by itself."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.handler = handler
        self.tls = tls
        self.seen: list[Request] = []
        self.most_under_way = self.under_way = self.connections = 0
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def paths(self) -> Counter[str]:
        return Counter(request.path for request in self.seen)

    def close(self) -> None:
        self.done.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, raw: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self.tls.wrap_socket(raw, server_side=True) if self.tls else raw
            with connection, connection.makefile("rb") as reader:
                while first := reader.readline().decode():
                    method, target, _ = first.split(" ", 2)
                    headers = {}
                    while (line := reader.readline().decode("latin-1").strip()) != "":
                        name, value = line.split(":", 1)
                        headers[name.lower()] = value.strip()
                    body = reader.read(int(headers.get("content-length", 0)))
                    if not self._answer(Request(method, target, headers, body, number, time.monotonic()), connection):
                        return

    def _answer(self, request: Request, connection: socket.socket) -> bool:
        with self._lock:
            self.seen.append(request)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            reply = self.handler(request, connection)
        finally:
            with self._lock:
                self.under_way -= 1
        if reply is not None:
            connection.sendall(reply)
        return reply is not None


class Hold:
    """A login hold in memory."""

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        self.refusals: list[tuple[str, str]] = []
        self.accepted: list[str] = []

    def remaining(self, credentials: str) -> float:
        return max(0.0, self.until.get(credentials, 0.0) - time.monotonic())

    def refuse(self, credentials: str, reason: str) -> float:
        self.refusals.append((credentials, reason))
        seconds = 60.0 * len(self.refusals)
        self.until[credentials] = time.monotonic() + seconds
        return seconds

    def accept(self, credentials: str) -> None:
        self.accepted.append(credentials)


class Bench:
    """Starts servers and clients, and stops them; keeps what clients noted and how long they paused."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.stack = stack
        self.hold = Hold()
        self.notes: list[RequestNote] = []
        self.pauses: list[float] = []

    def server(self, handler: Handler, tls: ssl.SSLContext | None = None) -> Server:
        server = Server(handler, tls)
        self.stack.callback(server.close)
        return server

    def client(self, url: str, *, hurried: bool = False, fixed: bool = False, **settings: Any) -> Client:
        """`hurried`: pauses are noted in place of being waited for."""
        secrets: dict[str, Any] = {"username": "user@example.com", "password": SecretStr(PASSWORD)}
        secrets = {"token": SecretStr(TOKEN)} if fixed else secrets
        plain: dict[str, Any] = {"requests_per_second": 1000.0, "timeout": timedelta(seconds=5)}
        integrator = Integrator("prod", url, **(plain | secrets | settings))
        wait = (lambda seconds: self.pauses.append(seconds) if seconds > 0.01 else None) if hurried else None
        return self.stack.enter_context(Client(integrator, self.hold, wait=wait, on_request=self.notes.append))


@pytest.fixture
def bench() -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        yield Bench(stack)


def logged_in(handler: Handler) -> Handler:
    """A server whose login always succeeds."""
    return lambda request, peer: answer(200, TOKEN.encode()) if request.path == LOGIN else handler(request, peer)


def always(reply: bytes) -> Handler:
    return logged_in(lambda request, peer: reply)


def in_turn(*replies: bytes | None) -> Handler:
    rest = deque(replies)
    return logged_in(lambda request, peer: rest.popleft() if len(rest) > 1 else rest[0])


def read(client: Client, page: int = 1) -> Any:
    return client.list_logs(FLOW, LogType.MAIN, limit=20, page=page)


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `count` threads that start together return or raise."""
    start = threading.Barrier(count)

    def run(number: int) -> Any:
        start.wait()
        try:
            return work(number)
        except ArchiverError as exc:
            return exc

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# The wire


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
        time.sleep(0.3)
        return answer(503) if len(server.seen) == 2 else answer(200, PAGE)

    server = bench.server(logged_in(slow))
    signpost = read(bench.client(server.url, hurried=True)).signpost
    early = datetime(2026, 1, 5, 10, tzinfo=UTC) - signpost
    assert timedelta(seconds=0.3) <= early < timedelta(seconds=0.55)


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


# Token and login


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


def test_refused_credentials_are_tried_once_and_held(bench: Bench) -> None:
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
        with pytest.raises(LoginRefused, match=r"integrators\.prod\.token"):
            read(held)
    assert len(server.seen) == count


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ümlaut", ""])
def test_a_fixed_token_that_is_none(bench: Bench, token: str) -> None:
    with pytest.raises(ConfigError, match=r"integrators\.prod\.token"):
        bench.client("http://127.0.0.1:1", fixed=True, token=SecretStr(token))


@pytest.mark.parametrize(
    "body",
    [b"<html>Welcome</html>", b"one\ntwo", b"", b" \n", b"x" * 70_000, b"\x00\x01", b'{"token":1}', "tökén".encode()],
)
def test_what_is_no_token_is_a_passing_fault(bench: Bench, body: bytes) -> None:
    server = bench.server(lambda request, peer: answer(200, body))
    with pytest.raises(SourceUnavailable, match="without a token"):
        read(bench.client(server.url, hurried=True))
    assert server.paths() == {LOGIN: 1}
    assert not bench.hold.refusals


def test_nothing_is_followed(bench: Bench) -> None:
    canary = bench.server(always(answer(200, PAGE)))
    moved = [answer(status, b"", f"Location: {canary.url}/x") for status in (301, 302, 303, 307, 308)]
    for reply in moved:
        server = bench.server(lambda request, peer, reply=reply: reply)  # type: ignore[misc]
        with pytest.raises(SourceUnavailable, match="redirect"):
            bench.client(server.url).login()
        with pytest.raises(SourceUnavailable, match="redirect"):
            read(bench.client(bench.server(always(reply)).url))
    foreign = json.dumps({"results": [], "next": canary.url, "previous": canary.url}).encode()
    read(bench.client(bench.server(always(answer(200, foreign))).url))
    assert canary.connections == 0


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


# Surroundings


def test_netrc_and_environment_proxies_do_not_matter(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = bench.server(always(answer(200, PAGE)))
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login canary password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = bench.server(always(answer(200, PAGE)))
    read(bench.client(server.url))
    assert server.seen[-1].token == TOKEN
    assert proxy.connections == 0
    read(bench.client(server.url, proxy="environment"))
    assert [request.target.split("?")[0] for request in proxy.seen] == [server.url + LOGIN, server.url + "/logs"]
    with_secret = proxy.url.replace("://", "://me:canary@")
    read(bench.client(server.url, proxy=with_secret))
    assert proxy.seen[-1].headers["proxy-authorization"].startswith("Basic ")
    assert proxy.seen[-1].token == TOKEN


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


# Deadlines, sizes, broken answers


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
def test_a_drip_ends_at_the_deadline(bench: Bench, handler: Handler, where: str) -> None:
    server = bench.server(handler if where == "login" else logged_in(handler))
    client = bench.client(server.url, timeout=timedelta(seconds=0.4))
    started = time.monotonic()
    with pytest.raises(SourceUnavailable, match=r"within 0\.4 s \(integrators\.prod\.timeout\)"):
        read(client)
    assert time.monotonic() - started < 0.4 + 2
    server.handler = always(answer(200, PAGE))
    assert read(client).rows


def test_a_body_cut_anywhere_is_no_page(bench: Bench) -> None:
    cut = [0]
    handler = logged_in(lambda request, peer: peer.sendall(answer(200, PAGE[: cut[0]], length=False)))
    client = bench.client(bench.server(handler).url, hurried=True)
    for cut[0] in range(len(PAGE)):
        with pytest.raises(PageUnreadable, match="integrator prod, flow price"):
            read(client)
    cut[0] = len(PAGE)
    assert read(client).rows


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


def test_a_gzip_bomb_is_not_unpacked(bench: Bench) -> None:
    mebibyte = gzip.compress(b" " * 2**20)
    server = bench.server(always(answer(200, mebibyte * 600, "Content-Encoding: gzip")))
    client = bench.client(server.url)
    tracemalloc.start()
    with pytest.raises(PageUnreadable, match="more than"):
        read(client)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20
    assert server.paths()["/logs"] == 1  # asking again would not make it smaller
    assert client.download(FLOW, 1) == Download(b"", too_large=True)


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


def test_the_rate_holds_over_all_threads(bench: Bench) -> None:
    server = bench.server(always(answer(200, PAGE)))
    client = bench.client(server.url, requests_per_second=50.0, connections=8)
    at_once(8, lambda number: [read(client) for _ in range(5)])
    times = sorted(request.at for request in server.seen)
    assert len(times) == client.requests == 41
    assert times[-1] - times[0] >= 40 / 50 - 0.02
    assert times[-1] - times[0] < 40 / 50 + 0.5  # neither slower than it may
    assert all(later - earlier > 8 / 50 for earlier, later in zip(times, times[10:], strict=False))


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


def test_many_threads_get_each_their_own_answer(bench: Bench) -> None:
    server = bench.server(
        logged_in(lambda request, peer: answer(200, b'{"results":[{"id":%s}]}' % request.params["page"].encode()))
    )
    client = bench.client(server.url, connections=4)
    got = at_once(16, lambda number: [read(client, number * 100 + n).rows[0]["id"] for n in range(20)])
    assert got == [[number * 100 + n for n in range(20)] for number in range(16)]


def test_a_connection_that_was_closed_while_idle(bench: Bench) -> None:
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


@pytest.mark.parametrize("after", ["9999999999", "Tue, 05 Jan 2027 10:00:00 GMT"])
def test_a_long_retry_after_ends_the_call(bench: Bench, after: str) -> None:
    server = bench.server(always(answer(503, b"", f"Retry-After: {after}")))
    client = bench.client(server.url)
    for _ in range(3):
        with pytest.raises(SourceUnavailable) as caught:
            read(client)
        assert caught.value.status in (429, 503)
    assert server.paths()["/logs"] == 1  # the others are not even sent


@pytest.mark.parametrize("after", ["soon", "-5", "9" * 5000, "Mon, 99 Foo"])
def test_an_odd_retry_after_is_as_none(bench: Bench, after: str) -> None:
    server = bench.server(in_turn(answer(503, b"", f"Retry-After: {after}"), answer(200, PAGE)))
    assert read(bench.client(server.url, hurried=True)).rows
    assert max(bench.pauses) < 1


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

    pages = client.list_pages(FLOW, LogType.LINE, asks(), run_id="run")
    assert taken == []
    got = [next(pages).rows[0] for _ in range(9)]
    assert got == [{"id": page, "limit": str(50 + page)} for page in range(1, 10)]
    assert server.most_under_way == 4
    pages.close()
    assert len(taken) <= 13
    time.sleep(0.2)
    assert server.paths()["/logs"] <= 13
    assert server.seen[-1].params["original_filename_uuid"] == "run"
    assert [page.rows[0]["id"] for page in client.list_pages(FLOW, LogType.MAIN, [(5, 1), (5, 2)])] == [1, 2]


def test_an_error_comes_in_the_place_of_its_page(bench: Bench) -> None:
    server = bench.server(
        logged_in(lambda request, peer: answer(400) if request.params["page"] == "3" else answer(200, PAGE))
    )
    client = bench.client(server.url, connections=2)
    pages = client.list_pages(FLOW, LogType.MAIN, ((9, page) for page in range(1, 9)))
    assert [next(pages).count, next(pages).count] == [1, 1]
    with pytest.raises(RequestRefused):
        next(pages)
    assert list(pages) == []


def test_a_walk_that_ended_does_not_try_again(bench: Bench) -> None:
    server = bench.server(logged_in(lambda request, peer: answer(400 if request.params["page"] == "1" else 503)))
    client = bench.client(server.url, connections=2)
    with pytest.raises(RequestRefused):
        next(client.list_pages(FLOW, LogType.MAIN, [(9, 1), (9, 2)]))
    time.sleep(1)
    assert Counter(request.params.get("page") for request in server.seen)["2"] <= 1


# The end


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
        walk = client.list_pages(FLOW, LogType.MAIN, ((9, page) for page in range(1, 9)))
        calls.append(pool.submit(next, walk))
        time.sleep(0.3)
        started = time.monotonic()
        client.close()
        for call in calls:
            with pytest.raises(SourceUnavailable, match="the client was closed"):
                call.result()
    assert time.monotonic() - started < 1.5
    with pytest.raises(SourceUnavailable, match="the client was closed"):
        read(client)
    with pytest.raises(SourceUnavailable, match="the client was closed"):
        next(client.list_pages(FLOW, LogType.MAIN, [(1, 1)]))
    assert not [thread.name for thread in threading.enumerate() if thread.name == "client-deadlines"]


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
