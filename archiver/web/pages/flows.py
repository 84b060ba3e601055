"""The board of all flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from archiver.queries.board import RECENT, Bar
from archiver.queries.board import board as all_flows
from archiver.queries.vitals import daemons
from archiver.web.pages import tables
from archiver.web.pages.answers import page
from archiver.web.pages.asked import Asked
from archiver.web.pages.words import KINDS
from archiver.web.room import Room

WORDS = {
    "failed": "Failed",
    "stale": "Silent too long",
    "unreachable": "Not archived now",
    "running": "Running",
    "ok": "Fine",
    "idle": "No runs yet",
}

HEIGHT = 28
STEP = 5
FAILED = 8.0  # what failed at once is seen, too


class Drawn(NamedTuple):
    """A bar of the picture: where it stands, how high it is, and what it says."""

    x: int
    y: float
    height: float
    kind: str
    seconds: float | None
    log_id: int


def board(room: Room, request: Request) -> Response:
    """Every flow with its state in words and colour, problems first."""
    now = room.clock()
    asked = Asked(request, now)
    form = tables.format_of(asked)
    with room.reading() as reader:
        flows = all_flows(reader, now)
        is_at_work = room.flow_keys is not None or bool(daemons(reader))
    if form:
        return tables.answer(form, "flows", [{**flow.row, "state": flow.state} for flow in flows])
    troubled = sum(flow.state in ("failed", "stale", "unreachable") for flow in flows)
    several = len({flow.row["project_slug"] for flow in flows}) > 1
    rows = [(flow, drawn(flow.bars)) for flow in flows]
    return page(
        room,
        request,
        "flows.html",
        asked=asked,
        rows=rows,
        words=WORDS,
        troubled=troubled,
        several=several,
        is_at_work=is_at_work,
        width=RECENT * STEP,
        height=HEIGHT,
    )


def drawn(bars: Sequence[Bar]) -> list[Drawn]:
    """The latest runs as bars, the newest at the right; the longest fills the height, and what failed some of it."""
    longest = max((bar.seconds or 0.0 for bar in bars), default=0.0) or 1.0
    shift = (RECENT - len(bars)) * STEP
    picture = []
    for place, bar in enumerate(bars):
        kind = KINDS.get(bar.status, "going")
        least = FAILED if kind == "bad" else 2.0
        height = max(least, round(HEIGHT * min((bar.seconds or 0.0) / longest, 1.0), 1))
        picture.append(Drawn(shift + place * STEP, HEIGHT - height, height, kind, bar.seconds, bar.log_id))
    return picture
