"""One log with its file: a line, a step or the main log; what was sent, and what the other side answered."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from archiver.logs import dump_exact, load_exact
from archiver.logs.exact import holdable, unpack
from archiver.queries import LOG_TYPES, Criterion, Json, NotSearched, replay
from archiver.queries.details import OUTCOMES
from archiver.queries.error_story import kind_named
from archiver.queries.names import LARGEST_ID
from archiver.queries.one_log import SHOWN, LogFile, file_of, log_of
from archiver.web.errors import NotThere
from archiver.web.files import parts_of
from archiver.web.pages import tables
from archiver.web.pages.answers import page
from archiver.web.pages.asked import LARGEST_KEY, Asked, word_of
from archiver.web.pages.document import bodies_of, tree_of
from archiver.web.pages.flow import flow_of
from archiver.web.pages.run import run_of
from archiver.web.room import Room

TITLES = {"main": "Main log", "sub": "Step", "line": "Line"}


class Field(NamedTuple):
    """A field of a line; `word` finds the lines with the same value, where it is a value that people look for."""

    name: str
    text: str
    word: str


def log(room: Room, request: Request) -> Response:
    """The page of a log; all of it as JSON, or its fields as CSV."""
    asked = Asked(request, room.clock())
    form = tables.format_of(asked)
    log_type, log_id, is_log = _named(request)
    with room.reading() as reader:
        flow, run = flow_of(reader, request), run_of(reader, request)
        row = log_of(reader, run, log_type, log_id) if is_log else None
        if row is None:
            raise NotThere(f"This run has no {log_type[:20]} log {log_id}; its page lists what it has.")
        file = file_of(reader, flow.flow_key, log_type, log_id)
        error = kind_named(reader, flow.flow_key, row["error_fingerprint"]) if row["error_fingerprint"] else None
    fields = fields_of(row.get("fields"))
    if form == "json":
        whole = {**row, "fields": Json(row["fields"])} if "fields" in row else row
        return tables.json_answer(f"log-{log_id}", {**whole, "file": None if file is None else file._asdict()})
    if form == "csv":
        rows = [{"field": one.name, "value": one.text} for one in fields]
        return tables.answer(form, f"log-{log_id}", rows, ("field", "value"))
    document = load_exact(file.document) if file is not None and file.document is not None else None
    return page(
        room,
        request,
        "log.html",
        asked=asked,
        flow=flow,
        run=run,
        log=row,
        log_type=log_type,
        title=TITLES[log_type],
        fields=fields,
        file=file,
        why=why_not(file),
        error=error,
        bodies=bodies_of(document),
        tree=tree_of(document) if document is not None else None,
    )


def _named(request: Request) -> tuple[str, int, bool]:
    """The type and id of the log that a path names, and whether there can be such a log."""
    log_type, log_id = request.path_params["log_type"], request.path_params["log_id"]
    return log_type, log_id, log_type in LOG_TYPES and log_id <= LARGEST_ID


def fields_of(text: str | None) -> list[Field]:
    """The fields of a line without a column, by name."""
    return [_field(name, value) for name, value in sorted(unpack(text).items())]


def _field(name: str, value: Any) -> Field:
    if not holdable(name):
        name = dump_exact(name)
    if isinstance(value, str) and holdable(value):
        text, is_scalar = value, True
    else:
        text, is_scalar = _json(value), not isinstance(value, dict | list | str)
    is_sought = is_scalar and 0 < len(text) <= 200 and '"' not in text and name != "message" and name.isidentifier()
    with suppress(NotSearched):  # a field that people look for by other means
        return Field(name, text, word_of(Criterion(name, text)) if is_sought else "")
    return Field(name, text, "")


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # more digits than a machine's number has, or half a character
        return dump_exact(value)


def why_not(file: LogFile | None) -> str:
    """Why no document is shown; nothing where there is one."""
    if file is None:
        return "The Integrator announced no file for this log, or the flow's `details` setting did not ask for it."
    if file.document is not None:
        return ""
    if file.document_bytes is not None:
        return f"Its document has {file.document_bytes:,} bytes; at most {SHOWN:,} are shown here."
    why = file.error or file.document_changes
    return f"It {OUTCOMES.get(file.outcome, file.outcome)}{f': {why}' if why else ''}."


def download(room: Room, request: Request) -> Response:
    """The file of a log as it came, byte for byte."""
    log_type, log_id, is_log = _named(request)
    with room.asking() as asked:
        key = min(request.path_params["flow_key"], LARGEST_KEY)
        file = replay.file_of(asked, key, log_id, [LOG_TYPES[log_type]]) if is_log else None
    if file is None:
        raise NotThere("There is no file to download for this log.")
    ending = "zip" if file.body_form == "zip" else "txt"
    headers = {
        "Content-Length": str(file.size),
        "Content-Disposition": f'attachment; filename="log-{log_id}.{ending}"',
        "Cache-Control": "no-store",
    }
    kind = "application/zip" if ending == "zip" else "application/octet-stream"
    return StreamingResponse(parts_of(room, file), media_type=kind, headers=headers)
