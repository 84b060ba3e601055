"""The archiver's own page: what is covered and what is missing on a time axis, what is left to do, what was done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from archiver.queries import KINDS_OF_GAPS, Reader, Row, flows, gaps, health_columns
from archiver.queries.standing import Span, Standing, passes, standing
from archiver.web.pages import tables
from archiver.web.pages.answers import page
from archiver.web.pages.asked import EVER, Asked, flow_asked
from archiver.web.room import Room

PASSES = 40
MISSING = 40
AXIS = 1000  # units of the time axis
TABLES = ("flows", "passes", "missing")
PERIODS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "1y": "a year", EVER: "all time"}
WORDS = {
    "up to date": "good",
    "catching up": "going",
    "not polled yet": "empty",
    "no runs": "empty",
}


class Drawn(NamedTuple):
    """A time on the axis. `kind`: covered, gap or accepted."""

    x: float
    width: float
    kind: str
    words: str


def archive(room: Room, request: Request) -> Response:
    """The page, or one of its tables."""
    now = room.clock()
    asked = Asked(request, now)
    form, table = tables.format_of(asked), asked.word("table", TABLES, "flows")
    since, _ = asked.period()
    is_failed = asked.word("passes", ("failed",)) == "failed"
    with room.reading() as reader:
        flow = asked.text("flow")
        key = flow_asked(flows(reader), flow).flow_key if flow else None
        if form:
            return _as_file(reader, form, table, now, key, is_failed=is_failed)
        stands = standing(reader, now)
        done = passes(reader, PASSES, key, failed=is_failed)
        missing = list(islice(gaps(reader, every=False), MISSING + 1))
    starts = [span.start for one in stands for span in one.covered if span.start is not None]
    first = since or min(starts, default=now - timedelta(days=7))
    return page(
        room,
        request,
        "archive.html",
        asked=asked,
        stands=[(one, drawn(one, first, now)) for one in stands],
        kinds=WORDS,
        unwell=sum(not one.health.is_well for one in stands),
        passes=done,
        is_failed=is_failed,
        chosen=key,
        missing=missing[:MISSING],
        kinds_of_gaps=KINDS_OF_GAPS,
        is_more_missing=len(missing) > MISSING,
        first=first,
        axis=AXIS,
        periods=PERIODS,
        period=asked.text("since", EVER),
    )


def drawn(one: Standing, first: datetime, now: datetime) -> list[Drawn]:
    """What of a flow is covered between `first` and now, and the gaps over it."""
    covered = [_on_axis(span, first, now, "covered") for span in one.covered]
    missing = [_on_axis(span, first, now, "gap" if span.is_open else "accepted") for span in one.gaps]
    return [bar for bar in (*covered, *missing) if bar is not None]


def _on_axis(span: Span, first: datetime, now: datetime, kind: str) -> Drawn | None:
    start, end = max(span.start or first, first), min(span.end or now, now)
    if end < start:
        return None
    length = (now - first).total_seconds() or 1.0
    x = (start - first).total_seconds() / length * AXIS
    width = max((end - start).total_seconds() / length * AXIS, 2.0)
    words = f"{_day(span.start)} to {_day(span.end)}{f': {span.reason}' if span.reason else ''}"
    return Drawn(round(min(x, AXIS - 2.0), 1), round(width, 1), kind, words)


def _day(moment: datetime | None) -> str:
    return "…" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _as_file(reader: Reader, form: str, table: str, now: datetime, key: int | None, *, is_failed: bool) -> Response:
    if table == "passes":
        rows: Sequence[Row] = passes(reader, tables.MOST, key, failed=is_failed)
        return tables.answer(form, "passes", rows)
    if table == "missing":
        rows = list(islice(gaps(reader), tables.MOST))
        return tables.answer(form, "missing", rows)
    rows = [{**one.row, "condition": one.health.condition} for one in standing(reader, now)]
    return tables.answer(form, "archive", rows, [*health_columns(reader), "condition"])
