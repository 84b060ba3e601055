"""An Integrator of raw sockets on loopback that says whatever a test wants, and clients for it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import SecretStr

from archiver.client import Client, RequestNote, Share
from archiver.config import Flow, Integrator
from archiver.errors import ArchiverError
from archiver.logs import LogType, Page
from archiver.redact import page_of

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
        with contextlib.suppress(OSError, ValueError), raw:  # ValueError: a question that was cut is none
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

    def remaining(self, credentials: str) -> tuple[float, str]:
        reason = next((why for one, why in reversed(self.refusals) if one == credentials), "")
        return max(0.0, self.until.get(credentials, 0.0) - time.monotonic()), reason

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

    def client(
        self, url: str, *, hurried: bool = False, fixed: bool = False, share: Share | None = None, **settings: Any
    ) -> Client:
        """`hurried`: pauses are noted in place of being waited for."""
        secrets: dict[str, Any] = {"username": "user@example.com", "password": SecretStr(PASSWORD)}
        secrets = {"token": SecretStr(TOKEN)} if fixed else secrets
        plain: dict[str, Any] = {"requests_per_second": 1000.0, "timeout": timedelta(seconds=5)}
        integrator = Integrator("prod", url, **(plain | secrets | settings))
        wait = (lambda seconds: self.pauses.append(seconds) if seconds > 0.01 else None) if hurried else None
        client = Client(integrator, self.hold, wait=wait, on_request=self.notes.append, share=share)
        return self.stack.enter_context(client)


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


@contextlib.contextmanager
def opened() -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        yield Bench(stack)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with opened() as bench:
        yield bench


def pages_of(
    client: Client, log_type: LogType, asks: Iterable[tuple[int, int]], *, run_id: str | None = None
) -> Generator[Page, None, None]:
    """The pages `(limit, page)` in the order asked, fetched ahead over all connections.

    `asks` is read as far as `connections` pages ahead; an error comes where its page would have come.
    """
    under_way: deque[Callable[[], Page]] = deque()
    rest = iter(asks)
    with client.ahead(FLOW, log_type, page_of) as ask:
        while True:
            while len(under_way) < client.connections and (one := next(rest, None)) is not None:
                under_way.append(ask(one, run_id))
            if not under_way:
                return
            yield under_way.popleft()()
