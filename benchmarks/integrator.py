"""A loopback Integrator for measurements: the demo's world, each answer rendered once and sent as bytes, one thread.

    python -m benchmarks.integrator --runs 50 --lines 2000 [--latency 30]

It prints one line of JSON (base_url, username, password, flows, lines) and serves until its standard input ends. Every
answer waits `--latency` milliseconds, however many connections there are. A line `latency MS` on its standard input
changes that; after each line, also an empty one, it prints how many requests there were, by path, since the last time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from threading import Thread
from urllib.parse import parse_qsl, urlencode

from archiver.demo.api import LOGIN, LOGS, LogsApi, Tokens
from archiver.demo.flows import flow_named
from archiver.demo.server import CREDENTIALS, PASSWORD, USERNAME
from archiver.demo.wire import Request
from archiver.demo.world import World

Rendered = tuple[bytes, bytes]  # the head without `Date` and its end, and the body
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Integrator:
    """The answers. Pages of lines stand still: they are kept, whatever the order and spelling of their parameters."""

    def __init__(self, world: World, latency: float) -> None:
        self.latency = latency  # seconds
        self.counts: Counter[str] = Counter()  # requests by path
        self.base_url = ""
        self._world = world
        self._api = LogsApi(world, CREDENTIALS, Tokens(86_400.0, None))
        self._tokens: set[str] = set()
        self._kept: dict[frozenset[str], Rendered] = {}

    def prerender(self) -> int:
        """Render all whole pages of lines; answers how many lines there are."""
        self._tokens.add(token := self._api.tokens.issue(USERNAME, 0))
        lines = 0
        for flow in self._world.flows:
            asked = {"projectid": flow.project.project_id, "flowId": flow.flow_id, "log_type": 3, "limit": 100}
            for run in self._world.main_logs(flow.flow_id):
                page, found = 1, 1
                while found:
                    query = urlencode(asked | {"page": page, "original_filename_uuid": run["filename_uuid"]})
                    _, body = self.answer("GET", f"{LOGS}?{query}", {"authorization": f"Bearer {token}"}, b"")
                    found = len(json.loads(body).get("results", ()))
                    lines += found
                    page += 1
        self.counts.clear()
        return lines

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Rendered:
        """The answer to a request."""
        path, _, query = target.partition("?")
        self.counts[path] += 1
        key = frozenset(query.replace("projectId=", "projectid=").split("&"))
        if path == LOGS and headers.get("authorization", "")[7:] in self._tokens and key in self._kept:
            return self._kept[key]
        params = dict(parse_qsl(query, keep_blank_values=True))
        answer = self._api.respond(Request(method, target, path, params, headers, body), self.base_url)
        payload = answer.payload()
        made = answer.head(len(payload), closing=False)[:-2], payload
        if path == LOGIN and answer.status == 200:
            self._tokens.add(payload.decode())
        elif path == LOGS and answer.status != 401 and params.get("log_type") == "3":
            self._kept[key] = made
        return made


class Connection(asyncio.Protocol):
    """One connection of a client: requests in turn, each answered after the latency."""

    def __init__(self, integrator: Integrator, loop: asyncio.AbstractEventLoop) -> None:
        self._integrator = integrator
        self._loop = loop
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=4 << 20)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = int(found[1]) if (found := _LENGTH.search(head)) else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            answer = self._integrator.answer(method, target, headers, body)
            if self._integrator.latency:
                self._loop.call_later(self._integrator.latency, self._send, *answer)
            else:
                self._send(*answer)

    def _send(self, head: bytes, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            date = formatdate(usegmt=True).encode()
            self._transport.writelines((head, b"Date: ", date, b"\r\n\r\n", body))


async def _serve(integrator: Integrator, world: World, lines: int, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(integrator, loop), "127.0.0.1", port)
    named = [
        {"project_id": flow.project.project_id, "slug": flow.project.slug, "id": flow.flow_id, "name": flow.name}
        for flow in world.flows
    ]
    integrator.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    said = {"base_url": integrator.base_url, "username": USERNAME, "password": PASSWORD, "flows": named}
    print(json.dumps(said | {"lines": lines}), flush=True)
    ended = asyncio.Event()
    Thread(target=_obey, args=(integrator, lambda: loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    async with server:
        await ended.wait()


def _obey(integrator: Integrator, end: Callable[[], object]) -> None:
    for line in sys.stdin:
        word, _, value = line.strip().partition(" ")
        if word == "latency":
            integrator.latency = float(value) / 1000
        print(json.dumps(integrator.counts), flush=True)
        integrator.counts.clear()
    end()


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.integrator", description=__doc__)
    parser.add_argument("--flows", type=int, default=2)
    parser.add_argument("--runs", type=int, default=50, help="of each flow; one an hour, the last one just finished")
    parser.add_argument("--lines", type=int, default=2000, help="of each run")
    parser.add_argument("--failed", type=float, default=0.0, help="share of the runs that fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="price", help="what the names of the flows begin with, and their ids follow")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds before each answer")
    asked = parser.parse_args(given)
    start = datetime.now(UTC) - timedelta(hours=asked.runs + 1)
    habits = {"runs": asked.runs, "lines": asked.lines, "spread": 0.0, "failed": asked.failed, "partial": 0.0}
    flows = [replace(flow_named(f"{asked.name}-{number}"), empty=0.0, **habits) for number in range(1, asked.flows + 1)]
    world = World(lambda: datetime.now(UTC), start=start, flows=flows, seed=asked.seed, products=100_000)
    integrator = Integrator(world, asked.latency / 1000)
    lines = integrator.prerender()
    asyncio.run(_serve(integrator, world, lines, asked.port))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
