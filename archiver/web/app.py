"""The ASGI application: routes, what surrounds every answer, and what comes instead of one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial

import orjson
import structlog
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from archiver.config import Config, is_loopback
from archiver.errors import ArchiverError
from archiver.queries.replay import TooBroad
from archiver.web import logs_api, operations, pages
from archiver.web.errors import Refusal
from archiver.web.meters import Meters
from archiver.web.room import Room, room_of

log = structlog.get_logger("archiver.web")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
QUERY = 16 * 1024  # bytes behind the question mark
RETRY = 5  # seconds, where nothing better is known

API = ("/logs", "/api/", "/openapi.json", "/healthz", "/readyz", "/metrics")


def application(
    engine: Engine,
    config: Config,
    clock: Callable[[], datetime],
    *,
    flow_keys: Callable[[], Collection[int]] | None = None,
    meters: Meters | None = None,
) -> Front:
    """The whole web server. `engine`: connections of its own, for it holds some of them for seconds.

    `flow_keys`: what the daemon of this process polls; None without one.
    """
    room = Room(config, engine, clock, meters or Meters(), flow_keys)
    room.meters.watch(partial(operations.look, room), partial(operations.files, room))
    app = Starlette(
        routes=[*logs_api.routes(), *operations.routes(), *pages.routes()],
        exception_handlers={HTTPException: _on_http, ArchiverError: _on_error},
    )
    app.state.room = room
    return Front(app, room)


class Front:
    """Outside of everything: prefix, host, headers, numbers; and nobody ever sees a traceback."""

    def __init__(self, app: Starlette, room: Room) -> None:
        self._app = app
        self.room = room
        self._prefix = room.prefix
        self._headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in self._headers if one[0] not in own)]
            await send(message)

        self._place(scope)
        try:
            if len(scope["query_string"]) > QUERY:
                await _plain(414, "The address is too long.")(scope, receive, sending)
            elif self._is_strange(scope):
                await _plain(400, "This server answers on loopback only.")(scope, receive, sending)
            else:
                await self._app(scope, receive, sending)
        except Exception:
            log.exception("request crashed", path=scope["path"])
            if not status:
                await _plain(500, "Something is wrong with the archiver; its log says what.")(scope, receive, sending)
            else:
                raise  # the answer was under way: only an aborted connection tells that it is not whole
        finally:
            route = getattr(scope.get("endpoint"), "__name__", "none")
            self.room.meters.web_requests.labels(route, str(status)).inc()
            self.room.meters.web_seconds.labels(route).observe(time.monotonic() - began)

    def _place(self, scope: Scope) -> None:
        """Under a prefix, whether the proxy before us cuts it off or not."""
        if self._prefix:
            if not (scope["path"] + "/").startswith(self._prefix + "/"):
                scope["path"] = self._prefix + scope["path"]
            scope["root_path"] = self._prefix

    def _is_strange(self, scope: Scope) -> bool:
        """Whether the door is open and the request was meant for another name: a page that a browser of this machine
        shows may have rebound its own name to this address."""
        if not self.room.door.is_open or self.room.web.public_url:
            return False
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        return not is_loopback(re.sub(r":\d+$", "", host).strip("[]"))


def _on_http(request: Request, exc: Exception) -> Response:
    """Starlette's own: no such path, or not with this method."""
    assert isinstance(exc, HTTPException)  # noqa: S101 - registered for nothing else
    words = {404: "There is no such page.", 405: "This path takes another method."}
    return _problem(request, exc.status_code, words.get(exc.status_code, exc.detail), exc.headers or {})


def _on_error(request: Request, exc: Exception) -> Response:
    """The archiver's own: refused, too broad, or the database is not there."""
    if isinstance(exc, Refusal):
        if exc.status == 401 and not _is_api(request):
            return pages.to_login(request)
        headers = {"Retry-After": str(max(1, round(exc.seconds)))} if exc.seconds or exc.status == 503 else {}
        if exc.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return _problem(request, exc.status, str(exc), headers)
    if not isinstance(exc, TooBroad):
        log.error("request failed", path=request.scope["path"], error=str(exc))
    text = str(exc) if isinstance(exc, TooBroad) else "The database is not available now."
    return _problem(request, 503, text[0].upper() + text[1:], {"Retry-After": str(RETRY)})


def _problem(request: Request, status: int, message: str, headers: Mapping[str, str]) -> Response:
    if _is_api(request):
        body = orjson.dumps({"status": status, "message": message})
        return Response(body, status, dict(headers), "application/json")
    return pages.problem(room_of(request), request, status, message, headers)


def _is_api(request: Request) -> bool:
    """Whether a program asks: for the API, or for a table of a page."""
    if "format" in request.query_params:
        return True
    path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return path.startswith(API)


def _plain(status: int, message: str) -> Response:
    return Response(message, status, media_type="text/plain; charset=utf-8")
