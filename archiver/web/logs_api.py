"""The Integrator's Logs API, answered from the archive: the same questions, the same answers, for good.

Statuses and parameters follow the vendor's page. Where two Integrators have the same project and flow, the parameter
`integrator` (the name in the configuration) says which one is meant; it is not needed otherwise.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from archiver.logs import LogType
from archiver.queries import replay
from archiver.queries.names import LARGEST_ID
from archiver.web.errors import NotThere, WrongQuestion
from archiver.web.files import parts_of
from archiver.web.openapi import document
from archiver.web.room import Room, endpoint

MOST_PAIRS = 20  # of search_field.N and search_value.N
TEXT = "text/plain; charset=utf-8"


def routes() -> list[Route]:
    """The three calls of the API, and their description."""
    return [
        Route("/logs", endpoint(list_logs)),
        Route("/logs/download", endpoint(download)),
        Route("/api/nifi/login", endpoint(log_in, guarded=False), methods=["POST"]),
        Route("/openapi.json", endpoint(openapi, guarded=False)),
    ]


def openapi(room: Room, request: Request) -> Response:
    """The description of the API in OpenAPI 3.1."""
    return _json(document(room.base_url(request)))


def log_in(room: Room, request: Request) -> Response:
    """A short-lived token, alone and as plain text, for any user name with a configured token as its password."""
    form = request.state.form
    if not form.get("username") or not form.get("password"):
        return Response("The username and password must be specified.", 400, media_type=TEXT)
    token = room.log_in(request, form["password"], "api")
    if token is None:
        return Response("The supplied username and password are not valid.", 400, media_type=TEXT)
    return Response(token, media_type=TEXT, headers={"Cache-Control": "no-store"})


def list_logs(room: Room, request: Request) -> Response:
    """A page of logs, newest first; 404 where it is empty."""
    params = dict(request.query_params)
    limit, page = _number(params, "limit", 25, 1, 100), _number(params, "page", 1, 1, 10**9)
    log_type = LogType(_number(params, "log_type", None, 1, 3))
    pairs = _search(params)
    with room.asking() as asked:
        ask = replay.Ask(
            _flow(asked, params).flow_key,
            log_type,
            limit,
            page,
            _text(params, "filename_uuid"),
            _text(params, "original_filename_uuid"),
            pairs if log_type is LogType.LINE else (),
        )
        found = replay.listing(asked, ask)
    if not found.rows:
        raise NotThere("There are no logs for this search.")
    base = room.base_url(request) + (request.scope["root_path"] if not room.web.public_url else "")
    more = found.total > page * limit
    return _json(
        {
            "count": found.total,
            "limit": limit,
            "page": page,
            "previous": _page_url(base, params, limit, page - 1) if page > 1 else "",
            "next": _page_url(base, params, limit, page + 1) if more else "",
            "results": [orjson.Fragment(row) for row in found.rows],
        }
    )


def download(room: Room, request: Request) -> Response:
    """A log's file: base64 of the zip, or the answer as it once came where that was none. 404 where there is none."""
    params = dict(request.query_params)
    slug, number = _text(params, "projectslug"), _text(params, "id")
    if slug is None or number is None:
        raise WrongQuestion("id, flowId, projectId and projectslug are required.")
    if not re.fullmatch(r"-?\d{1,19}", number, re.ASCII) or abs(int(number)) > LARGEST_ID:
        raise WrongQuestion("id is a number.")
    with room.asking() as asked:
        flow = _flow(asked, params)
        file = replay.file_of(asked, flow.flow_key, int(number)) if flow.project_slug in (None, slug) else None
    if file is None:
        raise NotThere("There is no file for this log.")
    size = (file.size + 2) // 3 * 4 if file.body_form == "zip" else file.size
    # Text to the client, whatever it was once: an answer may have been a page that must not be shown as one here.
    parts = parts_of(room, file)
    body = _in_base64(parts) if file.body_form == "zip" else parts
    return StreamingResponse(body, media_type=TEXT, headers={"Content-Length": str(size)})


async def _in_base64(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield base64.b64encode(part)


def _flow(asked: replay.Replay, params: Mapping[str, str]) -> replay.Named:
    flow_id = _text(params, "flowId")
    project_id = _text(params, "projectid") or _text(params, "projectId")
    if flow_id is None or project_id is None:
        raise WrongQuestion("flowId and projectid are required.")
    flows = replay.flows_called(asked, project_id, flow_id)
    named = _text(params, "integrator")
    if named is not None:
        flows = [flow for flow in flows if flow.integrator == named]
    if not flows:
        raise NotThere("The archive knows no such flow.")
    if len(flows) > 1:
        names = ", ".join(flow.integrator for flow in flows)
        raise WrongQuestion(f"Several integrators have this flow; add integrator, one of: {names}.")
    return flows[0]


def _text(params: Mapping[str, str], name: str) -> str | None:
    """A parameter; None where it is missing or empty."""
    value = params.get(name) or None
    if value is not None and "\0" in value:
        raise WrongQuestion(f"{name} holds a character that no log has.")
    return value


def _number(params: Mapping[str, str], name: str, default: int | None, least: int, most: int) -> int:
    text = params.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"\d{1,10}", text, re.ASCII) or not least <= int(text) <= most:
        raise WrongQuestion(f"{name} is a number from {least} to {most}.")
    return int(text)


def _search(params: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The pairs of search_field.N and search_value.N; N starts at 1."""
    pairs: dict[int, list[str | None]] = {}
    for name, value in params.items():
        match = re.fullmatch(r"search_(field|value)\.([1-9]\d{0,4})", name, re.ASCII)
        if match is not None:
            pairs.setdefault(int(match[2]), [None, None])[match[1] == "value"] = value
        elif name.startswith(("search_field", "search_value")):
            raise WrongQuestion(f"{name} is no parameter: number the pairs search_field.1, search_value.1 and so on.")
    chosen = []
    for number, (field, sought) in sorted(pairs.items()):
        if not field or sought is None:
            raise WrongQuestion(f"search_field.{number} and search_value.{number} belong together.")
        if "\0" in field + sought:
            raise WrongQuestion(f"search_field.{number} holds a character that no log has.")
        chosen.append((field, sought))
    if len(chosen) > MOST_PAIRS:
        raise WrongQuestion(f"At most {MOST_PAIRS} search fields can be asked for.")
    return tuple(chosen)


def _page_url(base: str, params: Mapping[str, str], limit: int, page: int) -> str:
    return f"{base}/logs?{urlencode({**params, 'limit': limit, 'page': page})}"


def _json(value: Mapping[str, Any] | Sequence[Any], status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
