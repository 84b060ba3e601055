"""The few files that the pages are drawn with, held in memory."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from archiver.web.errors import NotThere
from archiver.web.room import Room

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


class _File(NamedTuple):
    body: bytes
    media_type: str
    version: str


@cache
def _files() -> dict[str, _File]:
    found = {}
    for entry in files("archiver.web").joinpath("static").iterdir():
        ending = entry.name.rpartition(".")[2]
        if ending in _TYPES:
            body = entry.read_bytes()
            found[entry.name] = _File(body, _TYPES[ending], sha256(body).hexdigest()[:12])
    return found


def version_of(name: str) -> str:
    """What a file's URL ends with, so that it may be kept for ever."""
    return _files()[name].version


def static(_: Room, request: Request) -> Response:
    """A file by its name."""
    file = _files().get(request.path_params["name"])
    if file is None:
        raise NotThere("There is no such file.")
    kept = request.query_params.get("v") == file.version
    headers = {"Cache-Control": "public, max-age=31536000, immutable" if kept else "no-cache"}
    return Response(file.body, media_type=file.media_type, headers=headers)
