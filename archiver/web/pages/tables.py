"""Tables for programs: every table of a page as CSV and as JSON, under the page's own URL with `format=`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

import orjson
from starlette.responses import Response, StreamingResponse

from archiver.queries import Json, Row
from archiver.queries.spreadsheet import record
from archiver.web.pages.asked import Asked

FORMATS = ("csv", "json")
MOST = 10_000  # rows of one answer; `Link: …; rel="next"` leads to the others

PART = 64 * 1024  # bytes
BATCH = 1_000  # rows that are in memory at once
ROUNDS = 20  # batches of one answer, also where a filter leaves few rows of each

Place = TypeVar("Place")


class Parts(Generic[Place]):
    """The rows of a list from a place on, read in batches. `more`, once they were read: where the others begin."""

    def __init__(self, fetch: Callable[[Place | None, int], tuple[list[Row], Place | None]], behind: Place | None):
        self._fetch = fetch
        self.more = behind

    def __iter__(self) -> Iterator[Row]:
        left = MOST
        for _ in range(ROUNDS):
            rows, self.more = self._fetch(self.more, min(left, BATCH))
            yield from rows
            left -= len(rows)
            if self.more is None or left <= 0:
                return


def format_of(asked: Asked) -> str:
    """csv, json, or nothing: the page itself."""
    return asked.word("format", FORMATS)


def answer(
    form: str,
    name: str,
    rows: Iterable[Row],
    columns: Sequence[str] | None = None,
    following: Callable[[], str | None] | None = None,
) -> Response:
    """The rows as a file called `name`; `columns` are the header's where there may be no row, `following` tells the URL
    of the rest, once they were read."""
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'inline; filename="{name}.{form}"'}
    if form == "json":
        body, kind = json_rows(rows).encode(), "application/json"
    else:
        body, kind = csv_text(columns, rows).encode(), "text/csv; charset=utf-8"
        headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    rest = following() if following is not None else None
    if rest is not None:
        headers["Link"] = f'<{rest}>; rel="next"'
    return _sent(body, kind, headers)


def json_answer(name: str, value: Mapping[str, Any]) -> Response:
    """One object as a file."""
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'inline; filename="{name}.json"'}
    return _sent(json_bytes(value), "application/json", headers)


def _sent(body: bytes, media_type: str, headers: Mapping[str, str]) -> Response:
    """In parts, each once the reader has taken the one before: only so many are under way at once (room.TABLES)."""

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), PART):
            yield body[start : start + PART]

    return StreamingResponse(parts(), media_type=media_type, headers={**headers, "Content-Length": str(len(body))})


def json_rows(rows: Iterable[Row]) -> Json:
    """A list of objects as JSON; the rows are not held in memory."""
    return Json("[" + ",".join(json_bytes(row).decode() for row in rows) + "]")


def json_bytes(value: Any) -> bytes:
    """JSON; times in ISO 8601, and what Postgres holds as JSON digit by digit."""
    return orjson.dumps(value, default=_default, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def _default(value: Any) -> Any:
    return orjson.Fragment(str(value)) if isinstance(value, Json) else str(value)


def csv_text(columns: Sequence[str] | None, rows: Iterable[Row]) -> str:
    """A line of names, those of the first row where none are given, and one of values for each row."""
    some = iter(rows)
    first = next(some, None)
    names = list(columns if columns is not None else first or ())
    found = chain([] if first is None else [first], some)
    return record(names) + "".join(record([row.get(name) for name in names]) for row in found)
