"""Windows: what is asked of a list, and what comes back."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from archiver.window.order import Mark

LARGEST = 100  # rows of a page, the vendor's limit
FEWEST = 10  # rows: no source caps its pages below this


class Ask(NamedTuple):
    """One request: the rows from index `start` to `end` of the list, if it has that many."""

    limit: int
    page: int

    @property
    def start(self) -> int:
        """Index of the first row, from 0."""
        return self.limit * (self.page - 1)

    @property
    def end(self) -> int:
        """Index behind the last row."""
        return self.limit * self.page


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: rows in the order of the list; the list's length and the page size, as the source has them."""

    rows: Sequence[Mark]
    count: int | None = None
    limit: int | None = None


def sizes(largest: int) -> range:
    """The page sizes to choose from, so that windows overlap a little and still reach far."""
    return range(largest, max(1, largest * 6 // 10) - 1, -1)


def away_from_head(start: int, largest: int) -> Ask:
    """The window that starts at or before index `start` and reaches furthest."""
    start = max(0, start)
    return max((Ask(size, start // size + 1) for size in sizes(largest)), key=lambda ask: ask.end)


def towards_head(end: int, largest: int) -> Ask:
    """The window that ends at or behind index `end` and begins nearest to the head."""
    end = max(1, end)
    return min((Ask(size, -(-end // size)) for size in sizes(largest)), key=lambda ask: ask.start)


@dataclass(frozen=True, slots=True)
class Tally:
    """Which ids a walk saw, as their number and the sum of their hashes: equal tallies, equal sets."""

    number: int = 0
    sum: int = 0

    def add(self, ids: Iterable[int]) -> Tally:
        """With these ids; one that is in it already counts once more."""
        hashes = [blake2b(b"%d" % one, digest_size=8).digest() for one in ids]
        total = self.sum + sum(struct.unpack(f">{len(hashes)}Q", b"".join(hashes)))
        return Tally(self.number + len(hashes), total % 2**64)

    def __add__(self, other: Tally) -> Tally:
        """Of the ids of both; one that is in both counts twice."""
        return Tally(self.number + other.number, (self.sum + other.sum) % 2**64)

    def __sub__(self, other: Tally) -> Tally:
        """Without `other`'s ids, all of which have to be in it."""
        return Tally(self.number - other.number, (self.sum - other.sum) % 2**64)
