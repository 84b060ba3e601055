"""The pages: what people look at. Each page is a module here, with its route below and its template beside."""

from __future__ import annotations

from starlette.routing import Route

from archiver.web.pages import archive, errors, flow, flows, log, run, search, session, static
from archiver.web.pages.answers import problem, to_login
from archiver.web.room import endpoint

__all__ = ["problem", "routes", "to_login"]

_LOG = "/flows/{flow_key:int}/runs/{run:int}/{log_type}/{log_id:int}"


def routes() -> list[Route]:
    """All pages, and what they are drawn with."""
    return [
        Route("/", endpoint(flows.board), name="flows"),
        Route("/flows/{flow_key:int}", endpoint(flow.flow), name="flow"),
        Route("/flows/{flow_key:int}/runs/{run:int}", endpoint(run.run), name="run"),
        Route(_LOG, endpoint(log.log), name="log"),
        Route(f"{_LOG}/download", endpoint(log.download), name="file"),
        Route("/runs/{word}", endpoint(run.find), name="find_run"),
        Route("/search", endpoint(search.search_page), name="search"),
        Route("/history", endpoint(search.history_page), name="history"),
        Route("/errors", endpoint(errors.errors), name="errors"),
        Route("/errors/{flow_key:int}/{fingerprint}", endpoint(errors.error), name="error"),
        Route("/archive", endpoint(archive.archive), name="archive"),
        Route("/login", endpoint(session.log_in, guarded=False), methods=["GET", "POST"], name="login"),
        Route("/logout", endpoint(session.log_out, guarded=False), methods=["POST"], name="logout"),
        Route("/static/{name}", endpoint(static.static, guarded=False), name="static"),
    ]
