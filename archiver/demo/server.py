"""The make-believe Integrator on a loopback port: threads, keep-alive, and a book of every request.

    with serve(world, faults=faults) as server:
        requests.post(server.base_url + "/api/nifi/login", data={"username": ..., "password": ...})

`python -m archiver.demo.server --runs 50 --lines 2000` serves a world in its own process: it prints one line
of JSON (base_url, username, password, flows) and serves until its standard input ends, so give it a pipe.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event, Lock, Thread
from typing import Literal, NamedTuple

from archiver.demo.api import LOGIN, FileForm, LogsApi, Tokens
from archiver.demo.faults import Faults
from archiver.demo.flows import flow_named
from archiver.demo.listing import Source
from archiver.demo.wire import Peer, Reader, Request, close
from archiver.demo.world import World

USERNAME, PASSWORD = "integration@example.com", "make-believe"
CREDENTIALS: Mapping[str, str] = {USERNAME: PASSWORD}
_BOOK = 200_000  # requests remembered


class Seen(NamedTuple):
    """A request in the server's book: `at` is monotonic seconds, `connection` numbers the client's connections."""

    method: str
    path: str
    params: dict[str, str]
    connection: int
    at: float


class Server:
    """A running server; `serve` starts and stops one. What it has seen can be read at any time."""

    def __init__(self, api: LogsApi, faults: Faults, port: int = 0) -> None:
        self.api = api
        self.faults = faults
        self.requests: deque[Seen] = deque(maxlen=_BOOK)
        self.counts: Counter[str] = Counter()  # requests by path, however many
        self.connections = 0  # accepted so far
        self.most_connections = 0  # open at the same time
        self._stop = Event()
        self._lock = Lock()
        self._open: dict[int, socket.socket] = {}
        self._threads: set[Thread] = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self._listener.settimeout(0.2)  # where a shutdown does not wake `accept`
        self.port: int = self._listener.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._acceptor = Thread(target=self._accept, name="demo-accept", daemon=True)
        self._date = (0, "")

    @property
    def logins(self) -> int:
        """Attempts to log in, refused ones too."""
        return self.counts[LOGIN]

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    def expire_tokens(self) -> None:
        """Every token that was given out ends now."""
        self.api.tokens.forget()

    def start(self) -> None:
        """Begins to accept."""
        self._acceptor.start()

    def stop(self) -> None:
        """Ends every connection, also those that hang on purpose, and waits for the threads."""
        self._stop.set()
        close(self._listener)
        self._acceptor.join()
        with self._lock:
            connections, threads = list(self._open.values()), list(self._threads)
        for connection in connections:
            close(connection)
        for thread in threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self._open[self.connections] = connection
                self.most_connections = max(self.most_connections, len(self._open))
                thread = Thread(target=self._converse, args=(connection, self.connections), daemon=True)
                self._threads.add(thread)
                thread.start()

    def _converse(self, connection: socket.socket, number: int) -> None:
        reader, peer = Reader(connection), Peer(connection, self._stop)
        # OSError: the client is gone, or reset the connection. ValueError: it speaks no HTTP.
        with suppress(OSError, ValueError):
            while not self._stop.is_set() and (request := reader.next_request()) is not None:
                self._remember(request, number)
                if not self._answer(request, peer):
                    break
        close(connection)
        with self._lock:
            self._open.pop(number, None)
            self._threads = {thread for thread in self._threads if thread.is_alive()}

    def _remember(self, request: Request, connection: int) -> None:
        seen = Seen(request.method, request.path, dict(request.params), connection, time.monotonic())
        with self._lock:
            self.requests.append(seen)
            self.counts[request.path] += 1

    def _answer(self, request: Request, peer: Peer) -> bool:
        chosen = self.faults.choose(request)
        for fault in chosen:
            fault.before(request, peer)
        answer = self.api.respond(request, self.base_url)
        answer.headers["Date"] = self._http_date()
        for fault in chosen:
            fault.after(request, answer)
        closing = request.headers.get("connection", "").lower() == "close"
        body = answer.payload()
        return answer.sending(peer, answer.head(len(body), closing=closing), body) and not closing

    def _http_date(self) -> str:
        """The world's time in whole seconds, cut off, as web servers do it."""
        now = self.api.world.clock().astimezone(UTC)
        second = int(now.timestamp())
        if self._date[0] != second:
            self._date = (second, format_datetime(now.replace(microsecond=0), usegmt=True))
        return self._date[1]


@contextmanager
def serve(
    world: Source,
    faults: Faults | None = None,
    port: int = 0,
    *,
    credentials: Mapping[str, str] = CREDENTIALS,
    token_seconds: float = 600.0,
    token_requests: int | None = None,
    empty_status: Literal[404, 200] = 404,
    file_form: FileForm = "plain",
) -> Iterator[Server]:
    """A server on 127.0.0.1 that shows the world; port 0 takes a free one. `credentials` maps users to passwords."""
    tokens = Tokens(token_seconds, token_requests)
    api = LogsApi(world, credentials, tokens, empty_status=empty_status, file_form=file_form)
    server = Server(api, faults or Faults(), port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m archiver.demo.server", description=__doc__)
    parser.add_argument("--flows", type=int, default=2)
    parser.add_argument("--runs", type=int, default=50, help="of each flow; one an hour, the last one just finished")
    parser.add_argument("--lines", type=int, default=2000, help="of each run")
    parser.add_argument("--failed", type=float, default=0.05, help="share of the runs that fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--prerender", action="store_true", help="render all pages of lines first")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Serves a benchmark's world until standard input ends or a signal comes."""
    asked = _arguments(given)
    start = datetime.now(UTC) - timedelta(hours=asked.runs + 1)  # the entry of a process: it may read the clock
    habits = {"runs": asked.runs, "lines": asked.lines, "spread": 0.0, "failed": asked.failed, "partial": 0.0}
    flows = [replace(flow_named(f"price-{number}"), empty=0.0, **habits) for number in range(1, asked.flows + 1)]
    world = World(lambda: datetime.now(UTC), start=start, flows=flows, seed=asked.seed, products=100_000)
    rendered = world.prerender() if asked.prerender else 0
    with serve(world, port=asked.port, token_seconds=86_400) as server:
        named = [
            {"project_id": f.project.project_id, "slug": f.project.slug, "id": f.flow_id, "name": f.name} for f in flows
        ]
        account = {"username": USERNAME, "password": PASSWORD}
        print(json.dumps({"base_url": server.base_url, **account, "flows": named, "rendered": rendered}), flush=True)
        with suppress(KeyboardInterrupt):
            sys.stdin.read()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
