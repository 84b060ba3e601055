"""One flow: its runs as a picture over time, what they come to, the list of them, and its kinds of errors."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from archiver.queries import ErrorFilter, FlowRow, Reader, Row, error_groups, flows, view_columns
from archiver.queries.flow_runs import (
    DRAWN,
    LOOKED_AT,
    TRIGGERS,
    Drawn,
    FlowRuns,
    days_of,
    drawn_runs,
    figures,
    page_of_runs,
    with_days,
)
from archiver.queries.names import STATUSES
from archiver.queries.reader import Place
from archiver.web.errors import NotThere
from archiver.web.pages import tables
from archiver.web.pages.answers import page
from archiver.web.pages.asked import Asked, attempt, place_word
from archiver.web.pages.words import KINDS
from archiver.web.room import Room

PAGE = 50  # runs of the list
ERRORS = 8  # kinds of errors
PERIOD = "7d"
PERIODS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days", "1y": "a year", "all": "all time"}
SHOWN = ("since", "until", "shortest", "longest")  # fields of the form that can be filled in wrongly
TABLES = ("runs", "errors", "days")


def flow(room: Room, request: Request) -> Response:
    """The page of a flow, or one of its tables."""
    asked = Asked(request, room.clock())
    form, table = tables.format_of(asked), asked.word("table", TABLES, "runs")
    with room.reading() as reader:
        one = flow_of(reader, request)
        key = one.flow_key
        which, wrong = attempt(lambda: _asked_for(asked, key), FlowRuns(key), () if form else SHOWN)
        if form:
            return _as_file(reader, asked, which, form, table)
        values = {} if wrong else _found(reader, asked, request, which)
    return page(
        room,
        request,
        "flow.html",
        400 if wrong else 200,
        asked=asked,
        wrong=wrong,
        flow=one,
        chosen=None if wrong else (which.since, which.until),
        period=asked.text("since", PERIOD),
        periods=PERIODS,
        statuses=tuple(STATUSES),
        **values,
    )


def _found(reader: Reader, asked: Asked, request: Request, which: FlowRuns) -> dict[str, Any]:
    """The runs of the period as a picture, in figures and as a list, and its kinds of errors."""
    runs = page_of_runs(reader, which, PAGE)
    drawn, is_cut = drawn_runs(reader, which)
    days = days_of(reader, which.flow_key, which.since, which.until) if is_cut and not which.is_filtered else []
    some = figures(reader, which)
    is_counted_by_day = bool(days) and some.runs == LOOKED_AT
    return {
        "runs": runs,
        "following": asked.url(behind=place_word(runs.more)) if runs.more else None,
        "picture": _days_picture(days) if days else _runs_picture(drawn, request, which.flow_key),
        "figures": with_days(some, days) if is_counted_by_day else some,
        "errors": error_groups(reader, _errors(which), ERRORS),
        "is_cut": is_cut and not days,
        "is_counted_by_day": is_counted_by_day,
        "looked_at": LOOKED_AT,
        "drawn": DRAWN,
    }


def flow_of(reader: Reader, request: Request) -> FlowRow:
    """The flow that a path names; raises NotThere."""
    key = request.path_params["flow_key"]
    found = next((one for one in flows(reader) if one.flow_key == key), None)
    if found is None:
        raise NotThere(f"The archive knows no flow with the number {key}. The board lists all flows.")
    return found


def _asked_for(asked: Asked, flow_key: int) -> FlowRuns:
    since, until = asked.period(PERIOD)
    place = asked.place()
    return FlowRuns(
        flow_key,
        status=asked.word("status", tuple(STATUSES)),
        since=since,
        until=until,
        shortest=asked.seconds("shortest"),
        longest=asked.seconds("longest"),
        trigger=asked.word("trigger", TRIGGERS),
        by=asked.text("by"),
        behind=Place(*place) if place else None,
    )


def _errors(which: FlowRuns) -> ErrorFilter:
    """The kinds of errors of the same period."""
    return ErrorFilter([which.flow_key], (), which.since, which.until)


def _as_file(reader: Reader, asked: Asked, which: FlowRuns, form: str, table: str) -> Response:
    name = f"flow-{which.flow_key}-{table}"
    if table == "errors":
        rows = error_groups(reader, _errors(which), tables.MOST)
        return tables.answer(form, name, rows, view_columns(reader, "error_group"))
    if table == "days":
        rows = days_of(reader, which.flow_key, which.since, which.until)
        return tables.answer(form, name, rows, view_columns(reader, "run_daily"))

    def fetch(behind: Place | None, limit: int) -> tuple[list[Row], Place | None]:
        return page_of_runs(reader, replace(which, behind=behind), limit)[:2]

    runs = tables.Parts(fetch, which.behind)
    return tables.answer(form, name, runs, view_columns(reader, "run"), lambda: _rest(asked, form, runs.more))


def _rest(asked: Asked, form: str, more: Place | None) -> str | None:
    return asked.url(behind=place_word(more), format=form) if more else None


def _runs_picture(drawn: list[Drawn], request: Request, flow_key: int) -> str:
    """Each run a bar at the time when it began, as high as it took long; a series for each status."""
    root = request.scope.get("root_path", "")
    return _picture(
        kind="runs",
        x=[round(run.epoch, 1) for run in drawn],
        y=[None if run.seconds is None else round(run.seconds, 2) for run in drawn],
        status=[KINDS.get(run.status or 0, "other") for run in drawn],
        failed=[run.failed_lines for run in drawn],
        ids=[str(run.log_id) for run in drawn],
        base=f"{root}/flows/{flow_key}/runs/",
    )


def _days_picture(days: list[dict[str, Any]]) -> str:
    """Each day a bar of its runs by result, and how long they took."""
    return _picture(
        kind="days",
        x=[datetime.fromisoformat(f"{day['day']}T00:00+00:00").timestamp() for day in days],
        good=[day["succeeded"] for day in days],
        bad=[day["failed"] for day in days],
        empty=[day["empty"] for day in days],
        p50=[day["duration_p50_seconds"] for day in days],
        p95=[day["duration_p95_seconds"] for day in days],
    )


def _picture(**values: Any) -> str:
    return json.dumps(values, separators=(",", ":"))
