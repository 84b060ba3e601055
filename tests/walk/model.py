"""The list: rows that come, come late, come in groups and go, shown in one of several orders, page by page."""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from archiver.window import Answer, Ask, Mark

SECOND = 1_000_000
LONG = 500  # rows: a list as long as this hardly grows any more
EPOCH = 1_700_000_000 * SECOND


@dataclass(frozen=True, slots=True)
class Row:
    """A run as the source knows it. `seen_from`: when it became visible; `place`: how many came before it."""

    id: int
    created: int
    seen_from: int
    place: int


def _hash(row: Row) -> bytes:
    return blake2b(b"%d" % row.id, digest_size=8).digest()


Key = Callable[[Row], Any]
ORDERS: dict[str, Key] = {
    "newest": lambda row: (-row.created, -row.place),
    "unstable": lambda row: -row.created,  # ties are shuffled at every request
    "oldest": lambda row: (row.created, row.place),
    "oldest-unstable": lambda row: row.created,
    "insertion": lambda row: -row.place,
    "insertion-ascending": lambda row: row.place,
    "arbitrary": _hash,
}


@dataclass(frozen=True, slots=True)
class World:
    """What happens to the list, as means per request."""

    inserts: float = 0.0
    late: float = 0.0  # share of the new rows that come late, by up to the lateness
    too_late: float = 0.0  # and by more than that
    ties: int = 1  # the largest group of rows with one `created`
    drops: float = 0.0  # rows that retention takes from the old end
    collapse: float = 0.0  # how probably it takes a large part of the list at once
    deletes: float = 0.0  # rows that go from anywhere


WORLDS = {
    "quiet": World(),
    "inserts": World(inserts=0.6),
    "late": World(inserts=0.6, late=0.4, too_late=0.02),
    "ties": World(inserts=0.12, late=0.2, ties=12),
    "retention": World(inserts=0.8, drops=1.5, collapse=0.03),
    "deletes": World(inserts=0.3, deletes=2.0),
    "mixed": World(inserts=0.3, late=0.3, too_late=0.005, ties=5, drops=0.7, collapse=0.02, deletes=0.7),
}


@dataclass(frozen=True, slots=True)
class Manners:
    """How the source answers. `count`: true, none, wrong or capped; `cap`: its own largest page, if it has one."""

    count: str = "true"
    cap: int | None = None
    tells_limit: bool = False
    ignores_page: bool = False


class Source:
    """The list and its clock, in microseconds. Everything in it follows from `rng`."""

    def __init__(
        self,
        order: str,
        world: World,
        rng: random.Random,
        *,
        length: int = 200,
        lateness: int = 60 * SECOND,
        manners: Manners | None = None,
    ) -> None:
        self.key, self.world, self.rng, self.lateness = ORDERS[order], world, rng, lateness
        self.unstable = order.endswith("unstable")
        self.manners = manners or Manners()
        self.now = EPOCH
        self.requests = 0
        self.rows: list[Row] = []  # in the list's order
        self._places = 0
        self.grow(length)

    def grow(self, length: int) -> None:
        """A past: about a row every ten seconds, as late and as tied as this world has them."""
        while len(self.rows) < length:
            self.now += int(self.rng.expovariate(0.1) * SECOND)
            self._insert()
        self.now += self.rng.choice((0, 1, 90)) * self.lateness

    def _insert(self) -> None:
        rng, world = self.rng, self.world
        delay = rng.randrange(self.lateness) if rng.random() < world.late else 0
        if rng.random() < world.too_late:
            delay = rng.randrange(self.lateness, 4 * self.lateness)
        for _ in range(rng.randint(1, world.ties)):
            self.add(self.now - delay)

    def add(self, created: int) -> Row:
        """A row shows up now."""
        self._places += 1
        row = Row(self._places * 48_271 % (2**31 - 1), created, self.now, self._places)
        insort(self.rows, row, key=self.key)
        return row

    def remove(self, rows: Sequence[Row]) -> None:
        gone = {row.id for row in rows}
        self.rows = [row for row in self.rows if row.id not in gone]

    def _often(self, mean: float) -> int:
        """A small random number with this mean."""
        most = int(2 * mean + 0.999)
        return sum(self.rng.random() < mean / most for _ in range(most)) if most else 0

    def pass_time(self, seconds: float, requests: float = 1.0) -> None:
        """Let as much happen as between so many requests."""
        world, rng = self.world, self.rng
        inserts = self._often(world.inserts * requests * (0.1 if len(self.rows) > LONG else 1.0))
        for _ in range(inserts):
            self.now += int(rng.random() * 2 * seconds * SECOND / inserts)
            self._insert()
        self.now += int(rng.random() * seconds * SECOND)
        drops = self._often(world.drops * requests)
        if rng.random() < world.collapse * requests:
            drops += rng.randrange(len(self.rows) // 2 + 1)
        if drops:
            self.remove(sorted(self.rows, key=lambda row: row.created)[:drops])
        if self.rows and (deletes := self._often(world.deletes * requests)):
            self.remove(rng.sample(self.rows, min(deletes, len(self.rows))))

    def _shuffled(self) -> list[Row]:
        order = {row.id: self.rng.random() for row in self.rows}
        return sorted(self.rows, key=lambda row: (self.key(row), order[row.id]))

    def rows_of(self, ask: Ask) -> list[Row]:
        """The rows of a window as the list stands."""
        size = ask.limit if self.manners.cap is None else min(ask.limit, self.manners.cap)
        start = 0 if self.manners.ignores_page else size * (ask.page - 1)
        listing = self._shuffled() if self.unstable and self.world.ties > 1 else self.rows
        return listing[start : start + size]

    def page(self, ask: Ask) -> tuple[list[Row], int | None, int | None, int]:
        """The answer to one request: rows, `count`, `limit`, and when it was asked: the signpost, were it the first."""
        assert 1 <= ask.limit <= 100
        assert ask.page >= 1
        self.requests += 1
        asked_at = self.now // SECOND * SECOND  # HTTP knows whole seconds
        self.pass_time(0.5)
        rows = self.rows_of(ask)
        limit = min(ask.limit, self.manners.cap or ask.limit) if self.manners.tells_limit else None
        count = self.count()
        self.pass_time(0.5)
        return rows, count, limit, asked_at

    def answer(self, ask: Ask) -> tuple[Answer, int]:
        """The same, as a walk looks at it."""
        rows, count, limit, asked_at = self.page(ask)
        return Answer([Mark(row.id, row.created) for row in rows], count, limit), asked_at

    def count(self) -> int | None:
        """What the source says of the list's length."""
        length = len(self.rows)
        kinds = {"none": None, "wrong": self.rng.randrange(2 * length + 2), "capped": min(length, 60)}
        return kinds.get(self.manners.count, length)
