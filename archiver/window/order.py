"""The order probe: in which order does the Integrator list its runs?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

ENOUGH = 100  # rows that have to agree before an order is believed
STEPS = 3  # latenesses that they have to span: what came together tells little of an order


class Mark(NamedTuple):
    """What the walk knows of a row: its id, and its `created` in microseconds since 1970."""

    id: int
    created: int


class Order(StrEnum):
    """How a list is ordered by `created`, from its first page on. ARBITRARY: in none, or in one that was seen
    broken; that is believed for ever."""

    UNKNOWN = "unknown"
    NEWEST_FIRST = "newest first"
    OLDEST_FIRST = "oldest first"
    ARBITRARY = "arbitrary"


@dataclass(frozen=True, slots=True)
class Probe:
    """Evidence gathered along a walk: did `created` ever rise or fall by more than the lateness?

    Smaller inversions are late rows in a list that is kept in the order of insertion. `rows` counts what was looked at,
    `steps` how often `created` had gone on by more than the lateness, since `level`.
    """

    rows: int = 0
    newest: int | None = None
    oldest: int | None = None
    rises: bool = False
    falls: bool = False
    steps: int = 0
    level: int | None = None

    def look(self, rows: Sequence[Mark], lateness: int) -> Probe:
        """Go on with rows that follow those seen before, in walking direction."""
        newest, oldest, rises, falls = self.newest, self.oldest, self.rises, self.falls
        steps, level = self.steps, self.level
        for _, created in rows:
            if newest is None or oldest is None or level is None:
                newest = oldest = level = created
            if abs(created - level) > lateness:
                steps, level = steps + 1, created
            rises |= created > oldest + lateness
            falls |= created < newest - lateness
            newest, oldest = max(newest, created), min(oldest, created)
        return Probe(self.rows + len(rows), newest, oldest, rises, falls, steps, level)

    @property
    def enough(self) -> bool:
        """Whether the evidence is enough to believe in an order."""
        return self.rows >= ENOUGH and self.steps >= STEPS

    def verdict(self, *, backward: bool) -> Order:
        """What the evidence says of the list itself, however little of it was seen."""
        if self.rises and self.falls:
            return Order.ARBITRARY
        if self.rises == self.falls:
            return Order.UNKNOWN
        return Order.NEWEST_FIRST if self.falls != backward else Order.OLDEST_FIRST
