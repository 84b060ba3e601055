"""Logging in to the pages with a token of the configuration, and out again."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from archiver.web.door import LIVES
from archiver.web.errors import NotAllowed
from archiver.web.pages.answers import page
from archiver.web.room import COOKIE, Room


def log_in(room: Room, request: Request) -> Response:
    """The form, and what comes of it: a cookie that no script and no other site can use."""
    wanted = _inside(request.query_params.get("next", "/"))
    if request.method != "POST":
        return page(room, request, "login.html", wanted=wanted, was_wrong=False)
    _require_own_form(room, request)
    token = room.log_in(request, request.state.form.get("token", "").strip(), "page")
    if token is None:
        return page(room, request, "login.html", 403, wanted=wanted, was_wrong=True)
    answer = RedirectResponse(request.scope.get("root_path", "") + wanted, 303)
    _set_cookie(room, request, answer, token, int(LIVES["page"]))
    return answer


def log_out(room: Room, request: Request) -> Response:
    """Forget the cookie."""
    _require_own_form(room, request)
    answer = RedirectResponse(request.scope.get("root_path", "") + "/login", 303)
    _set_cookie(room, request, answer, "", 0)
    return answer


def _set_cookie(room: Room, request: Request, answer: Response, value: str, seconds: int) -> None:
    answer.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path=request.scope.get("root_path") or "/",
        secure=room.base_url(request).startswith("https:"),
        httponly=True,
        samesite="strict",
    )


def _require_own_form(room: Room, request: Request) -> None:
    """Raises NotAllowed for a form that another site sent."""
    origin = request.headers.get("origin")
    own = {urlsplit(room.base_url(request)).netloc, request.headers.get("host", "")}
    if origin is not None and urlsplit(origin).netloc not in own:
        raise NotAllowed("This form came from another site.")


def _inside(wanted: str) -> str:
    """A path of this server; `/` for anything that could lead elsewhere."""
    is_path = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_path else "/"
