"""Lines by the values of their fields over all flows, and the story of one thing."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from archiver.queries import (
    FlowRow,
    Row,
    Search,
    field_names,
    flows,
    history,
    meant,
    nearest,
    search,
    view_columns,
)
from archiver.queries.error_story import with_runs
from archiver.queries.history import MORE
from archiver.web.pages import tables
from archiver.web.pages.answers import page
from archiver.web.pages.asked import Asked, attempt, criteria_of, flow_asked
from archiver.web.pages.run import named
from archiver.web.pages.words import kind
from archiver.web.room import Room

STATUSES = ("success", "failed", "in_progress", "empty", "unknown")
SHOWN = ("q", "since", "until")  # fields of the forms that can be filled in wrongly
LIMITS = ("50", "200", "500")
FIELDS = 200  # names that are offered
STRIP = 1000  # units of a story's time axis


def search_page(room: Room, request: Request) -> Response:
    """Lines, newest first; and runs that have what was looked for as their id."""
    asked = Asked(request, room.clock())
    form, limit = tables.format_of(asked), int(asked.word("limit", LIMITS, LIMITS[0]))
    with room.reading() as reader:
        known = flows(reader)
        which, wrong = attempt(lambda: _which(asked, known, by_status=True), Search(), () if form else SHOWN)
        is_asked = bool(which.criteria or which.statuses)
        if form:
            rows = islice(search(reader, which, tables.MOST) if is_asked else (), tables.MOST)
            return tables.answer(form, "lines", rows, view_columns(reader, "line"))
        found = list(search(reader, which, limit + 1)) if is_asked else []
        names = field_names(reader)
        sought = asked.text("q")
        runs = named(reader, sought) if is_asked and "=" not in sought and " " not in sought else []
        lines = with_runs(reader, found[:limit])
    return page(
        room,
        request,
        "search.html",
        400 if wrong else 200,
        asked=asked,
        wrong=wrong,
        sought=sought,
        flows=known,
        statuses=STATUSES,
        lines=lines,
        runs=runs,
        is_asked=is_asked,
        following=_more(asked, limit) if len(found) > limit else None,
        limit=limit,
        names=names[:FIELDS],
        **_advice(asked, which, names),
        is_one_thing=len(which.criteria) == 1,
    )


class Standing(NamedTuple):
    """How a thing stands in a flow: its last decided line; `since` is when that began, as far as is shown.

    `marks`: where its lines are on the story's time axis, and their kinds.
    """

    flow_name: str
    last: Row
    since: datetime | None
    marks: list[tuple[float, str]]


def history_page(room: Room, request: Request) -> Response:
    """One thing's story over all flows, newest first: with what result it was sent, and what was answered."""
    asked = Asked(request, room.clock())
    form, limit = tables.format_of(asked), int(asked.word("limit", LIMITS, LIMITS[1]))
    with room.reading() as reader:
        known = flows(reader)
        which, wrong = attempt(lambda: _which(asked, known, by_status=False), Search(), () if form else SHOWN)
        if form:
            rows = history(reader, which, tables.MOST) if which.criteria else iter(())
            return tables.answer(form, "history", rows, [*view_columns(reader, "line"), *MORE])
        told = list(history(reader, which, limit + 1)) if which.criteria else []
        names = field_names(reader)
        lines = with_runs(reader, told[-limit:])
    return page(
        room,
        request,
        "history.html",
        400 if wrong else 200,
        asked=asked,
        wrong=wrong,
        sought=asked.text("q"),
        flows=known,
        lines=lines[::-1],
        is_asked=bool(which.criteria),
        is_cut=len(told) > limit,
        is_later=which.since is not None,
        following=_more(asked, limit) if len(told) > limit else None,
        limit=limit,
        names=names[:FIELDS],
        **_advice(asked, which, names),
        standings=_standings(lines),
        counts=Counter(line["status"] or "unknown" for line in lines).most_common(),
        axis=STRIP,
    )


def _which(asked: Asked, known: list[FlowRow], *, by_status: bool) -> Search:
    status = asked.word("status", STATUSES) if by_status else ""
    since, until = asked.period()
    flow = asked.text("flow")
    keys = [flow_asked(known, flow).flow_key] if flow else None
    return Search(criteria_of(asked.text("q")), keys, None, [status] if status else [], since, until)


def _more(asked: Asked, limit: int) -> str | None:
    """The same with more lines; None where that is all that a page shows."""
    larger = next((one for one in LIMITS if int(one) > limit), None)
    return asked.url(limit=larger) if larger else None


def _advice(asked: Asked, which: Search, names: list[str]) -> dict[str, Any]:
    """What may help where nothing is found."""
    return {
        "hints": _hints(which, names),
        "meant": meant(asked.text("q"), names),
        "is_words": any(one.field in (None, "message") for one in which.criteria),
        "is_narrowed": bool(which.flow_keys or which.statuses or which.since or which.until),
    }


def _hints(which: Search, names: list[str]) -> list[tuple[str, str]]:
    """Names that no line has, and the nearest that some have."""
    fields = [one.field for one in which.criteria if one.field is not None and not one.has_column]
    return [(name, nearest(name, names)) for name in fields if name not in names]


def _standings(lines: list[Row]) -> list[Standing]:
    """By flow, failing ones first. `lines` are the oldest first."""
    if not lines:
        return []
    first, last = lines[0]["created_at"], lines[-1]["created_at"]
    length = (last - first).total_seconds() or 1.0
    found = []
    for flow_key in dict.fromkeys(line["flow_key"] for line in lines):
        own = [line for line in lines if line["flow_key"] == flow_key]
        decided = [line for line in own if line["status"] in ("success", "failed")] or own
        turns = [line["created_at"] for line in own if line["turn"]]
        marks = [
            (round((line["created_at"] - first).total_seconds() / length * (STRIP - 6), 1), kind(line["status"]))
            for line in own
        ]
        found.append(Standing(own[0]["flow_name"], decided[-1], turns[-1] if turns else None, marks))
    return sorted(found, key=lambda one: one.last["status"] != "failed")
