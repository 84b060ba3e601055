"""Tables for programs: every table of a page as CSV and as JSON, under the page's own URL with `format=`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import Response

from archiver.queries import Json, Row
from archiver.web.pages.asked import Asked

FORMATS = ("csv", "json")
MOST = 10_000  # rows of one answer; `Link: …; rel="next"` leads to the others

_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?", re.ASCII)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def format_of(asked: Asked) -> str:
    """csv, json, or nothing: the page itself."""
    return asked.word("format", FORMATS)


def answer(
    form: str, name: str, rows: Iterable[Row], columns: Sequence[str] | None = None, following: str | None = None
) -> Response:
    """The rows as a file called `name`; `columns` are the header's where there may be no row, `following` is the URL
    of the rest."""
    some = list(rows)
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'inline; filename="{name}.{form}"'}
    if following is not None:
        headers["Link"] = f'<{following}>; rel="next"'
    if form == "json":
        return Response(json_bytes(some), media_type="application/json", headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return Response(csv_text(columns or list(some[0] if some else ()), some), media_type="text/csv", headers=headers)


def json_answer(name: str, value: Mapping[str, Any]) -> Response:
    """One object as a file."""
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'inline; filename="{name}.json"'}
    return Response(json_bytes(value), media_type="application/json", headers=headers)


def json_bytes(value: Any) -> bytes:
    """JSON; times in ISO 8601, and what Postgres holds as JSON digit by digit."""
    return orjson.dumps(value, default=_default, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def _default(value: Any) -> Any:
    return orjson.Fragment(str(value)) if isinstance(value, Json) else str(value)


def csv_text(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """A line of names and one of values for each row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([cell(name) for name in columns])
    writer.writerows([cell(row.get(name)) for name in columns] for row in rows)
    return out.getvalue()


def cell(value: Any) -> str:
    """A value as text; what a spreadsheet would take for a formula has an apostrophe before it. Numbers stay."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = str(value) if isinstance(value, str) else json_bytes(value).decode()
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
