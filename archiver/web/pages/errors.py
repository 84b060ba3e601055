"""Kinds of errors: which there are, how they go by day, what they affect, and the newest logs of each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from archiver.messages import CLASSES
from archiver.queries import (
    Affected,
    Criterion,
    ErrorFilter,
    FlowRow,
    Reader,
    Row,
    affected,
    error_groups,
    field_names,
    flows,
    key_of,
    view_columns,
)
from archiver.queries.error_story import failures_by_day, kind_named, lines_of_kind, runs_of_kind, with_runs
from archiver.queries.spreadsheet import plain
from archiver.web.errors import NotThere
from archiver.web.pages import tables
from archiver.web.pages.answers import page
from archiver.web.pages.asked import Asked, Period, attempt, flow_asked, word_of
from archiver.web.pages.flow import PERIOD, PERIODS, flow_of
from archiver.web.room import Room

PAGE = 50  # kinds
DAYS = 14  # of the small pictures
LONG = 90  # days of the large one
LINES = 50
FIELDS = 12  # whose values are counted, where none are declared
WIDTH, HEIGHT = 8, 22  # of a day in a small picture
TABLES = ("lines", "days", "values")


class Day(NamedTuple):
    """A bar of a small picture."""

    x: int
    y: float
    height: float
    words: str


def errors(room: Room, request: Request) -> Response:
    """All kinds of a period, the most frequent first."""
    now = room.clock()
    asked = Asked(request, now)
    form = tables.format_of(asked)
    ever: Period = (None, None)
    (since, until), wrong = attempt(lambda: asked.period(PERIOD), ever, () if form else ("since", "until"))
    kind = asked.word("class", CLASSES)
    with room.reading() as reader:
        known = flows(reader)
        flow = asked.text("flow")
        key = flow_asked(known, flow).flow_key if flow else None
        which = ErrorFilter(None if key is None else [key], [kind] if kind else [], since, until)
        if form:
            columns = view_columns(reader, "error_group")
            return tables.answer(form, "errors", error_groups(reader, which, tables.MOST), columns)
        groups = [] if wrong else error_groups(reader, which, PAGE + 1)
        some = [(group["flow_key"], group["fingerprint"]) for group in groups[:PAGE]]
        trends = failures_by_day(reader, some, _first(now, DAYS))
    return page(
        room,
        request,
        "errors.html",
        400 if wrong else 200,
        asked=asked,
        wrong=wrong,
        flows=known,
        classes=CLASSES,
        kind=kind,
        key=key,
        groups=[(group, bars(trends[group["flow_key"], group["fingerprint"]], now)) for group in groups[:PAGE]],
        is_more=len(groups) > PAGE,
        most=tables.MOST,
        period=asked.text("since", PERIOD),
        periods=PERIODS,
        width=DAYS * WIDTH,
        height=HEIGHT,
        days=DAYS,
    )


def error(room: Room, request: Request) -> Response:
    """One kind of error in one flow."""
    now = room.clock()
    asked = Asked(request, now)
    form, table = tables.format_of(asked), asked.word("table", TABLES, "lines")
    fingerprint = request.path_params["fingerprint"]
    with room.reading() as reader:
        flow = flow_of(reader, request)
        group = kind_named(reader, flow.flow_key, fingerprint) if re.fullmatch(r"[0-9a-f]{16}", fingerprint) else None
        if group is None:
            raise NotThere(f"The flow {flow.flow_name} has no such kind of error; the page Errors lists all kinds.")
        name = (flow.flow_key, fingerprint)
        trend = failures_by_day(reader, [name], _first(now, LONG))[name]
        values = _values(room, reader, flow, group)
        if form:
            return _as_file(reader, (form, table), group, trend, values)
        lines = with_runs(reader, lines_of_kind(reader, flow.flow_key, fingerprint, LINES))
        runs = [] if lines else runs_of_kind(reader, flow.flow_key, fingerprint, LINES)
    return page(
        room,
        request,
        "error.html",
        asked=asked,
        flow=flow,
        group=group,
        picture=_picture(trend, now),
        values=[(one, [(_shown(value), _word(one.field, value)) for value in one.values]) for one in values],
        lines=lines,
        runs=runs,
        days=LONG,
        most=LINES,
    )


def bars(trend: Mapping[date, int], now: datetime) -> list[Day]:
    """The last DAYS days, the newest at the right; the worst fills the height."""
    most = max(trend.values(), default=0) or 1
    picture = []
    for place, day in enumerate(_days(now, DAYS)):
        count = trend.get(day, 0)
        height = max(2.0, round(HEIGHT * count / most, 1)) if count else 0.0
        picture.append(Day(place * WIDTH, HEIGHT - height, height, f"{day}: {count:,}"))
    return picture


def _picture(trend: Mapping[date, int], now: datetime) -> str:
    days = _days(now, LONG)
    x = [datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() for day in days]
    return json.dumps({"kind": "counts", "x": x, "n": [trend.get(day, 0) for day in days]})


def _days(now: datetime, count: int) -> list[date]:
    today = now.astimezone(UTC).date()
    return [today - timedelta(days=back) for back in range(count - 1, -1, -1)]


def _first(now: datetime, count: int) -> datetime:
    day = _days(now, count)[0]
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _values(room: Room, reader: Reader, flow: FlowRow, group: Row) -> list[Affected]:
    """Of the fields that are declared for the flow; else of those that its lines have, the most telling first."""
    known = flows(reader)
    for one in room.config.flows:
        if one.search_fields and key_of(known, one.integrator, one.project_id, one.flow_id) == flow.flow_key:
            return affected(reader, group, one.search_fields)
    names = [name for name in field_names(reader, [flow.flow_key]) if name != "message"]
    return sorted(affected(reader, group, names[:FIELDS]), key=lambda one: -one.distinct_values)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else tables.json_bytes(value).decode()


def _word(field: str, value: object) -> str:
    """What finds the lines that have a value; nothing for what is not searched."""
    is_sought = field.isidentifier() and not isinstance(value, list | dict) and '"' not in plain(value)
    return word_of(Criterion(field, plain(value))) if is_sought and value is not None else ""


def _as_file(
    reader: Reader, asked: tuple[str, str], group: Row, trend: Mapping[date, int], values: Sequence[Affected]
) -> Response:
    form, table = asked
    name = f"error-{group['fingerprint']}-{table}"
    if table == "days":
        rows = [{"day": str(day), "failures": count} for day, count in sorted(trend.items())]
        return tables.answer(form, name, rows, ("day", "failures"))
    if table == "values":
        columns = ("field", "distinct_values", "is_complete", "values")
        rows = [
            {"field": one.field, "distinct_values": one.distinct_values, "is_complete": one.is_complete,
             "values": list(one.values)}
            for one in values
        ]  # fmt: skip
        return tables.answer(form, name, rows, columns)
    rows = lines_of_kind(reader, group["flow_key"], group["fingerprint"], tables.MOST)
    return tables.answer(form, name, rows, view_columns(reader, "line"))
