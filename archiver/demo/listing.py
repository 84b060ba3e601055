"""What the wire asks of a world, and what a world answers; the orders in which a list may come."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from threading import Lock
from typing import Any, NamedTuple, Protocol

import orjson

Clock = Callable[[], datetime]
Row = dict[str, Any]


class Order(StrEnum):
    """How a flow lists its rows. The vendor documents none, so the archiver has to stand all of them."""

    NEWEST_FIRST = "newest_first"
    NEWEST_FIRST_UNSTABLE_TIES = "newest_first_unstable_ties"  # rows of equal `created` swap places at every request
    OLDEST_FIRST = "oldest_first"
    INSERTION = "insertion"  # the row that became visible last comes first
    ARBITRARY = "arbitrary"  # without sense, but stable


class Ask(NamedTuple):
    """One request for a page of logs; `search` holds the pairs of search field and value."""

    project_id: str
    flow_id: str
    log_type: int
    limit: int = 25
    page: int = 1
    filename_uuid: str | None = None
    original_filename_uuid: str | None = None
    search: tuple[tuple[str, str], ...] = ()


class Listing(NamedTuple):
    """A page as it goes on the wire: `rows` are `size` JSON objects joined by commas, `total` counts all pages."""

    total: int
    size: int
    rows: bytes


class Source(Protocol):
    """What the server needs of a world."""

    @property
    def clock(self) -> Clock:
        """The world's time; the `Date` header tells it."""

    def listing(self, ask: Ask) -> Listing:
        """The page that was asked for, as of the world's time."""

    def file(self, project_id: str, project_slug: str, flow_id: str, log_id: int) -> bytes | None:
        """The base64 text of a log's file, or None where there is none."""


class Place(NamedTuple):
    """What decides where a row stands in a list; times are epoch microseconds. `key` finds the row again."""

    created: int
    visible: int
    log_id: int
    key: Any


_MIX = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def scatter(number: int, salt: int = 0) -> int:
    """A 64-bit number that has nothing to do with the order of `number`; the same for the same salt."""
    mixed = ((number ^ salt) * _MIX) & _MASK
    return ((mixed ^ (mixed >> 29)) * _MIX) & _MASK


def arrange(places: Iterable[Place], order: Order, salt: int = 0) -> list[Place]:
    """The rows in their flow's order; `salt` only moves unstable ties."""
    keys: dict[Order, Callable[[Place], Any]] = {
        Order.NEWEST_FIRST: lambda p: (-p.created, -p.log_id),
        Order.NEWEST_FIRST_UNSTABLE_TIES: lambda p: (-p.created, scatter(p.log_id, salt)),
        Order.OLDEST_FIRST: lambda p: (p.created, p.log_id),
        Order.INSERTION: lambda p: (-p.visible, -p.log_id),
        Order.ARBITRARY: lambda p: scatter(p.log_id),
    }
    return sorted(places, key=keys[order])


def matches(row: Row, ask: Ask) -> bool:
    """Whether the request's filters let the row pass. Search fields exist for line logs alone."""
    if ask.filename_uuid is not None and row.get("filename_uuid") != ask.filename_uuid:
        return False
    if ask.original_filename_uuid is not None and row.get("original_filename_uuid") != ask.original_filename_uuid:
        return False
    return ask.log_type != 3 or all(field in row and as_text(row[field]) == value for field, value in ask.search)


def as_text(value: object) -> str:
    """A field's value as a search value spells it: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else render(value).decode()


def render(value: object) -> bytes:
    """Compact JSON. What strict JSON cannot hold (NaN, huge integers, lone surrogates) comes as Python writes it."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def cut(rows: list[Row], ask: Ask) -> Listing:
    """The page of a list that is at hand as a whole."""
    first = (ask.page - 1) * ask.limit
    page = rows[first : first + ask.limit]
    return Listing(len(rows), len(page), b",".join(map(render, page)))


class Recent:
    """Keeps what was used last, up to a total weight; safe between threads."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._lock = Lock()
        self._weight = 0
        self._kept: OrderedDict[object, tuple[int, Any]] = OrderedDict()

    def get(self, key: object) -> Any:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[1]

    def put(self, key: object, value: object, weight: int) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = (weight, value)
            self._weight += weight
            while self._weight > self.room and self._kept:
                self._weight -= self._kept.popitem(last=False)[1][0]
