"""Reading the lines of a finished run: their list stands still, so its pages may be asked for several at a time.

The static certificate: as many distinct lines are stored as `count` said on the first page and on the last. Where
`count` is missing or does not agree, two sweeps have to see the same ids. Their pages have different sizes: where rows
of one time change places at every request, one of them may be on neither of two neighbouring pages, and two sweeps
whose pages end at the same rows would miss the same one now and then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from archiver.window.asks import FEWEST, LARGEST, Ask, Tally

ROUNDS = 4  # sweeps in a row before the run has to wait
SIZES = (LARGEST, 89)  # of the pages of one sweep and of the next: their borders meet every 8,900 rows


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of the list, as far as the sweep looks at it. `tally`: of its ids, each counted once. `limit`: how many
    rows a page has at most, as the source says."""

    ids: Sequence[int]
    count: int | None
    tally: Tally
    limit: int | None = None

    @classmethod
    def of(cls, ids: Sequence[int], count: int | None, limit: int | None = None) -> Listed:
        """A page by its ids, one for each row, doubles included."""
        return cls(ids, count, Tally().add(dict.fromkeys(ids)), limit)


@dataclass(frozen=True, slots=True)
class Sweep:
    """How far the reading of one run's lines has come. `done`: pages stored, counted from the first."""

    size: int = LARGEST
    done: int = 0
    ended: bool = False
    ignored: bool = False  # the page number changes nothing: nothing is proven
    first: int | None = None  # `count` on the first page
    last: int | None = None  # and on the one read last
    tail: tuple[int, ...] = ()  # ids of the page read last
    tally: Tally = field(default_factory=Tally)
    before: Tally | None = None
    rounds: int = 0

    def asks(self, width: int) -> list[Ask]:
        """The next pages, at most `width`. The first goes alone: it tells how many there are."""
        if self.ended:
            return []
        if not self.done:
            return [Ask(min(self.size, LARGEST), 1)]
        until = self.done + width
        if self.last is not None:
            until = min(until, max(-(-self.last // self.size), self.done + 1))
        elif len(self.tail) < self.size:  # most likely the last one: the next is only to show that nothing follows
            until = self.done + 1
        return [Ask(min(self.size, LARGEST), page) for page in range(self.done + 1, until + 1)]

    def take(self, page: Listed) -> Sweep:
        """Go on with the page after the last one taken."""
        ids, count = page.ids, page.count
        if self.ended:
            return self
        if not self.done:
            return self._take_first(page)
        if not ids:
            return replace(self, ended=True)
        known = set(self.tail)
        if known.issuperset(ids):
            return replace(self, ended=True, ignored=True)
        tally = self.tally + page.tally - Tally().add(known.intersection(ids))
        ended = self._ends(ids, count, tally)
        return replace(self, done=self.done + 1, tail=tuple(ids), tally=tally, last=count, ended=ended)

    def _ends(self, ids: Sequence[int], count: int | None, tally: Tally) -> bool:
        """Whether this page is the last one. `count` alone never ends a list, for a source may count up to a limit:
        the page has to be a short one, and no row that was counted may be missing. Else an empty page ends it."""
        return len(ids) < self.size and count == tally.number

    def _take_first(self, page: Listed) -> Sweep:
        ids, count = page.ids, page.count
        if not ids:
            return replace(self, ended=True, first=count, last=count)
        size = self.size
        is_capped = page.limit is not None and FEWEST <= len(ids) == page.limit
        if len(ids) > size or (len(ids) < size and (is_capped or (count is not None and count > len(ids)))):
            size = len(ids)  # the source gives pages of its own size
        tally = self.tally + page.tally
        sweep = replace(self, size=size, done=1, tail=tuple(ids), tally=tally, first=count, last=count)
        return replace(sweep, ended=sweep._ends(ids, count, tally))

    def certified(self, stored: int) -> bool:
        """Whether all lines are there, where `stored` distinct ones of the run are in the archive."""
        if not self.ended or self.ignored:
            return False
        return (self.first is not None and self.first == self.last == stored) or self.tally == self.before

    def again(self) -> Sweep:
        """Another sweep, to be compared with this one."""
        rounds = ROUNDS if self.ignored else self.rounds + 1
        return Sweep(size=SIZES[rounds % 2], before=self.tally, rounds=rounds)

    @property
    def exhausted(self) -> bool:
        """Whether there were enough sweeps for now."""
        return self.rounds >= ROUNDS

    def to_json(self) -> dict[str, Any]:
        """The sweep as JSON writes it down."""
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Sweep:
        """The sweep that `to_json` wrote down."""
        before = state["before"]
        read = {
            "tail": tuple(state["tail"]),
            "tally": Tally(**state["tally"]),
            "before": None if before is None else Tally(**before),
        }
        return cls(**{**state, **read})
