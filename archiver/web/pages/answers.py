"""Answers in HTML: a template filled in, with everything that comes from outside escaped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from archiver.web.pages import words
from archiver.web.pages.static import version_of
from archiver.web.room import Room


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("archiver.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=words.clean,
        auto_reload=False,
    )
    environment.filters |= {one.__name__: one for one in words.FILTERS} | {"moment": _moment}
    return environment


def page(
    room: Room,
    request: Request,
    template: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """A template as a page. It knows `now`, `path(…)` for links, `static(…)` for files, and who is looking."""
    root = request.scope.get("root_path", "")
    text = _templates().get_template(template)
    html = text.render(
        now=room.clock(),
        path=lambda to: root + to,
        static=lambda name: f"{root}/static/{name}?v={version_of(name)}",
        here=request.scope["path"].removeprefix(root) or "/",
        is_guarded=not room.door.is_open,
        is_admitted=room.admits(request),
        **values,
    )
    return HTMLResponse(html, status, {"Cache-Control": "no-store", "Vary": "Cookie", **(headers or {})})


def problem(room: Room, request: Request, status: int, message: str, headers: Mapping[str, str]) -> Response:
    """A page that says what went wrong, and leads on."""
    title = {404: "Not found", 429: "Too many attempts", 503: "Not available now"}.get(status, "That did not work")
    return page(room, request, "problem.html", status, headers, title=title, message=message)


def to_login(request: Request) -> Response:
    """Where to go without a session; back from there to the page that was asked for."""
    root = request.scope.get("root_path", "")
    wanted = request.scope["path"].removeprefix(root) or "/"
    query = request.scope["query_string"].decode("latin-1")
    url = f"{root}/login?next={quote(f'{wanted}?{query}' if query else wanted, safe='')}"
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": url})
    return RedirectResponse(url, 303)


def _moment(value: datetime | None) -> str:
    """For the `datetime` attribute, and for those who read without a script."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
