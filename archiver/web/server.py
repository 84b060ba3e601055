"""The application on a port: uvicorn in a thread of its own, with an end to everything that dawdles."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import h11
import structlog
import uvicorn
from sqlalchemy import Engine
from uvicorn.protocols.http.h11_impl import H11Protocol

from archiver.config import Config, Web
from archiver.errors import OperatorError
from archiver.process import few_arenas, many_files
from archiver.store import connect
from archiver.web.app import Front, application
from archiver.web.meters import Meters
from archiver.web.workers import THREADS

HEAD = 32 * 1024  # bytes of a request's line and headers
ASKING = 10.0  # seconds for a request to arrive
TAKING = 30.0  # seconds that a client may take nothing of its answer
IDLE = 5.0  # seconds that a connection is kept for another request
CONNECTIONS = 256  # at the same time; whoever has asked for nothing longest makes room
LEAVING = 2.0  # seconds for answers under way to go out at the end

log = structlog.get_logger("archiver.web")


class Unreachable(OperatorError):
    """The address to listen on cannot be used."""


class Hasty(H11Protocol):
    """uvicorn's protocol, where a client has to get on: it waits neither for a request nor for a reader for ever."""

    _waiting: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio leaves this to sockets that say they are TCP, and ours does not: each answer would take 40 ms more.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waiting = self.loop.call_later(ASKING, transport.abort)
        if len(self.connections) > CONNECTIONS:
            idle = [one for one in self.connections if isinstance(one, Hasty) and one.since is not None]
            min(idle, key=lambda one: one.since or 0.0, default=self).transport.abort()

    @property
    def since(self) -> float | None:
        """Since when this connection has asked for nothing; None while a request is answered."""
        return None if self._waiting is None else self._waiting.when()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in (h11.DONE, h11.MUST_CLOSE, h11.ERROR):
            self._arrived()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(ASKING, self.transport.abort)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._waiting is None and not self.transport.is_closing():
            self._waiting = self.loop.call_later(ASKING, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(TAKING, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        if self._stuck is not None:
            self._stuck.cancel()
        super().connection_lost(exc)

    def _arrived(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs. `url`: where it listens."""

    url: str
    thread: threading.Thread


@contextmanager
def serving(
    engine: Engine,
    config: Config,
    *,
    clock: Callable[[], datetime],
    flow_keys: Callable[[], Collection[int]] | None = None,
    meters: Meters | None = None,
) -> Iterator[Serving]:
    """The web server, for as long as the block lasts. `engine` only says which database: it opens connections of its
    own. `flow_keys`: what the daemon of this process polls. Raises Unreachable where the address is taken."""
    few_arenas()
    many_files()
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.ERROR)
    listener = _listen(config.web or Web())
    own = connect(engine.url.render_as_string(hide_password=False), pool_size=THREADS, name="archiver web")
    app = application(own, config, clock, flow_keys=flow_keys, meters=meters)
    server = uvicorn.Server(_settings(app))
    thread = threading.Thread(target=server.run, args=([listener],), name="web", daemon=True)
    thread.start()
    try:
        _await_start(server, thread)
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("serving", url=url)
        yield Serving(url, thread)
    finally:
        server.should_exit = True
        thread.join(LEAVING + 2.0)
        app.room.workers.close()
        listener.close()
        own.dispose()


def _settings(app: Front) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Hasty,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(IDLE),
        timeout_graceful_shutdown=int(LEAVING),
        h11_max_incomplete_event_size=HEAD,
    )


def _listen(web: Web) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
        return socket.create_server((web.host, web.port), family=family, backlog=CONNECTIONS)
    except (OSError, OverflowError) as exc:
        reason = getattr(exc, "strerror", None) or type(exc).__name__
        raise Unreachable(f"web.listen: {web.host}:{web.port} cannot be listened on: {reason}") from exc


def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    until = time.monotonic() + 10.0
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise Unreachable("the web server did not start; its log says why")
        time.sleep(0.005)
