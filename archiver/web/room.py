"""What every handler works with, and how a plain function becomes an endpoint."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

import psycopg
from sqlalchemy import Engine
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archiver.config import Config, Web
from archiver.queries import replay
from archiver.queries.reader import Reader, transaction
from archiver.store import translated
from archiver.web.door import Door, Use
from archiver.web.errors import Busy, NotAdmitted, TooLong, WrongQuestion
from archiver.web.meters import Meters
from archiver.web.workers import PATIENCE, Workers

STATEMENT = 5.0  # seconds that a statement may take
FORM = 8 * 1024  # bytes of a form
SLOW = 10.0  # seconds that a form may take to arrive
TABLES = 2  # tables for programs that are made or fetched at once: each is in memory
COOKIE = "archiver_session"

_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Room:
    """One web server: its database, its threads, its door. `clock` tells the time to whoever needs it.

    `flow_keys` are the flows that this process's own daemon polls; None where there is no daemon beside it.
    """

    config: Config
    engine: Engine
    clock: Callable[[], datetime]
    meters: Meters
    flow_keys: Callable[[], Collection[int]] | None = None
    door: Door = field(init=False)
    workers: Workers = field(default_factory=Workers)
    memory: replay.Memory = field(default_factory=replay.Memory)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TABLES))

    def __post_init__(self) -> None:
        object.__setattr__(self, "door", Door(self.web.tokens, self.clock))

    @property
    def web(self) -> Web:
        """The web section, or what holds without one."""
        return self.config.web or Web()

    @property
    def prefix(self) -> str:
        """The path that the pages are under, behind a reverse proxy; mostly nothing."""
        return urlsplit(self.web.public_url or "").path

    def asking(self) -> AbstractContextManager[replay.Replay]:
        """A short read-only transaction."""
        return replay.asking(self.engine, self.memory, seconds=STATEMENT)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """The same for the pages. Raises TooBroad where a statement takes longer than it may."""
        try:
            with transaction(self.engine, statement_timeout=f"{STATEMENT * 1000:.0f}") as driver:
                yield Reader(driver)
        except psycopg.errors.QueryCanceled as exc:
            raise replay.TooBroad(f"the archive could not answer within {STATEMENT:g} s; ask for less") from exc

    async def take_turn(self) -> None:
        """Wait until a table may be made; it is to be released. Raises Busy."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.turns.acquire()
        except TimeoutError as exc:
            raise Busy("Others are fetching tables; try again in a moment.", 1.0) from exc

    def admits(self, request: Request) -> bool:
        """Whether a request carries a token that opens, in its header or in the cookie of the pages."""
        if self.door.is_open:
            return True
        token = bearer_of(request)
        if token is not None:
            return self.door.knows(token) or self.door.holds(token, "api")
        return self.door.holds(request.cookies.get(COOKIE, ""), "page")

    def log_in(self, request: Request, password: str, use: Use) -> str | None:
        """A token for whoever knows one of the configuration; None for others. Raises TooOften."""
        address = request.client.host if request.client else ""
        self.door.attempts.require(address)
        if password and (self.door.is_open or self.door.knows(password)):
            self.meters.logins.labels("accepted").inc()
            return self.door.issue(use)
        self.door.attempts.note(address)
        self.meters.logins.labels("refused").inc()
        return None

    def base_url(self, request: Request) -> str:
        """Where the reader finds this server, without a slash at its end."""
        if self.web.public_url:
            return self.web.public_url
        host = request.headers.get("host", "")
        return f"{request.scope['scheme']}://{host}" if _HOST.fullmatch(host) else ""


Handler = Callable[[Room, Request], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def room_of(request: Request) -> Room:
    """The room of the server that a request came to."""
    room: Room = request.app.state.room
    return room


def bearer_of(request: Request) -> str | None:
    """The token in the Authorization header; None without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def endpoint(handler: Handler, *, guarded: bool = True) -> Endpoint:
    """A handler as Starlette wants it: run in a thread, once the one who asks was admitted."""

    @functools.wraps(handler)
    async def answer(request: Request) -> Response:
        room = room_of(request)
        if guarded and not room.admits(request):
            raise NotAdmitted("The token is incorrect or has expired, or the header is missing.")
        request.state.form = await _form(request) if request.method == "POST" else {}

        def work() -> Response:
            with translated():
                return handler(room, request)

        if "format" not in request.query_params:
            return await room.workers.run(work)
        await room.take_turn()
        try:
            return _Turn(await room.workers.run(work), room)
        except BaseException:
            room.turns.release()
            raise

    return answer


class _Turn(Response):
    """A table on its way: the next one may begin when it is out."""

    def __init__(self, table: Response, room: Room) -> None:
        self._table = table
        self._room = room
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._table(scope, receive, send)
        finally:
            self._room.turns.release()


async def _form(request: Request) -> dict[str, str]:
    """A form of bounded size that came in bounded time."""
    body = b""
    try:
        async with asyncio.timeout(SLOW):
            async for part in request.stream():
                body += part
                if len(body) > FORM:
                    raise TooLong("The form is too long.")
    except (TimeoutError, ClientDisconnect) as exc:
        raise WrongQuestion("The form did not arrive.") from exc
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20))
    except ValueError as exc:
        raise WrongQuestion("The form has too many fields.") from exc
