"""The pages: what people look at. Each page is a module here, with its route below and its template beside."""

from __future__ import annotations

from starlette.routing import Route

from archiver.web.pages import flows, session, static
from archiver.web.pages.answers import problem, to_login
from archiver.web.room import endpoint

__all__ = ["problem", "routes", "to_login"]


def routes() -> list[Route]:
    """All pages, and what they are drawn with."""
    return [
        Route("/", endpoint(flows.board), name="flows"),
        Route("/login", endpoint(session.log_in, guarded=False), methods=["GET", "POST"], name="login"),
        Route("/logout", endpoint(session.log_out, guarded=False), methods=["POST"], name="logout"),
        Route("/static/{name}", endpoint(static.static, guarded=False), name="static"),
    ]
