"""The chain of overlapping windows: how a list that grows and shrinks under its reader is read without losing a row.

A *window* is one request for `limit` rows at `page`. Window i+1 is accepted only if it shares a row with window i, one
whose `created` differs from that of window i's outermost row (the tie rule). A row that is present throughout the walk
is then in one of its windows, whatever is inserted or deleted meanwhile, and however long the walk pauses.

`Walk` decides, others do: `ask()` says which window to ask for, `take()` what the answer makes of the walk. A walk is a
value; it goes through JSON and back, so that a killed walk goes on where it was.

Walking direction is from the newest row to the oldest: forward through a list that is newest first (or in no order),
backward through one that is oldest first. Times are microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from archiver.window.asks import LARGEST, Answer, Ask, Tally, away_from_head, towards_head
from archiver.window.order import ENOUGH, Mark, Order, Probe
from archiver.window.tail import Tail

TRIES = 16  # for a window that links
STALLED = 3  # windows without a new row: the page number is ignored
ROUNDS = 6  # walks, until two agree


class Outcome(StrEnum):
    GOING = "going"
    STOPPED = "stopped"  # certified by early stop: all that lies beyond was covered before
    ENDED = "ended"  # certified: the whole list was walked
    EMPTY = "empty"  # the list has no rows
    UNCERTIFIED = "uncertified"


class Phase(StrEnum):
    TAIL = "tail"  # looking for the end of a list that is oldest first
    CHAIN = "chain"
    END = "end"  # is the page after a short window empty?
    LOOSE = "loose"  # without links: two walks have to see the same rows


@dataclass(frozen=True, slots=True)
class Walk:
    """One pass over a flow's list of runs.

    lateness: how long after its `created` a row may become visible. floor: rows older than this are not wanted.
    signpost: the time D of the first answer. frontier: F when the pass began, None where nothing is certified yet.
    order: what earlier walks have shown. count_holds: `count` was right when the end of the list was last proven.
    """

    lateness: int
    floor: int
    frontier: int | None = None
    order: Order = Order.UNKNOWN
    count_holds: bool = False
    signpost: int | None = None
    outcome: Outcome = Outcome.GOING
    reason: str = ""
    phase: Phase = Phase.CHAIN
    backward: bool = False
    tail: Tail = field(default_factory=Tail)
    probe: Probe = field(default_factory=Probe)
    size: int = LARGEST  # the largest page that the source gives
    limit: int = LARGEST  # of the last window accepted; before the first one: of the first
    page: int = 1
    border: tuple[Mark, ...] = ()  # the rows of the last window accepted
    count: int | None = None  # the list's length at that window
    edge: int = 0  # the index up to which the list is covered
    overlap: int = 0
    offset: int = 0  # how far from the edge the next try looks for it
    stride: int = 0
    tries: int = 0
    stalled: int = 0
    windows: int = 0
    rounds: int = 0
    news: bool = False  # this round saw a settled row that was not stored
    tally: Tally = field(default_factory=Tally)
    before: Tally | None = None

    @classmethod
    def begin(
        cls,
        *,
        lateness: int,
        floor: int,
        frontier: int | None = None,
        order: Order = Order.UNKNOWN,
        count_holds: bool = False,
        limit: int = LARGEST,
        total: int | None = None,
    ) -> Walk:
        """A new pass. `limit` rows should just reach behind F−Λ; `total` is the list's length as last known."""
        walk = cls(lateness=lateness, floor=floor, frontier=frontier, order=order, count_holds=count_holds)
        if order is Order.OLDEST_FIRST:
            return walk._turn_round(total)
        return replace(walk, limit=max(25, min(limit, LARGEST)) if order is Order.NEWEST_FIRST else LARGEST)

    def ask(self) -> Ask:
        """The next window."""
        if self.phase is Phase.TAIL:
            return self.tail.ask()
        if self.phase is Phase.END:
            return Ask(self.limit, self.page + 1)
        if self.phase is Phase.LOOSE:
            return Ask(min(self.size, LARGEST), self.page)
        if not self.border:
            return Ask(self.limit, 1)
        if self.backward:
            return towards_head(self.edge - self.offset + self.overlap, self.size)
        return away_from_head(self.edge + self.offset - self.overlap, self.size)

    def take(self, ask: Ask, answer: Answer, stored: Container[int] = (), now: int | None = None) -> Walk:
        """Go on with the answer to `ask`. `stored`: which ids of its rows the archive held before. `now`: the signpost
        of this answer, which the first one needs."""
        walk = self if self.signpost is not None else replace(self, signpost=now)
        settled = walk.settled
        news = any(mark.id not in stored and self.floor <= mark.created < settled for mark in answer.rows)
        walk = replace(walk, news=walk.news or news)
        if walk.phase is Phase.TAIL:
            return walk._take_tail(ask, answer, stored)
        if walk.phase is Phase.END:
            return walk._take_end(answer)
        if walk.phase is Phase.LOOSE:
            return walk._take_loose(answer)
        if walk.border:
            return walk._take_next(ask, answer, stored)
        if not answer.rows:
            return replace(walk, outcome=Outcome.EMPTY)
        if len(answer.rows) > ask.limit:  # the limit is ignored: pages cannot overlap
            return replace(walk, size=len(answer.rows))._loosen("the page size cannot be chosen")
        return walk._accept(ask, answer, stored, answer.rows)

    # --- the chain ---

    def _walking(self, rows: Sequence[Mark]) -> Sequence[Mark]:
        """Rows in walking direction."""
        return rows[::-1] if self.backward else rows

    @property
    def outermost(self) -> Mark:
        """The row of the border that the walk came to last."""
        return self.border[0] if self.backward else self.border[-1]

    def _take_next(self, ask: Ask, answer: Answer, stored: Container[int]) -> Walk:
        outermost = self.outermost.created
        links = {mark.id for mark in self.border if mark.created != outermost}
        shared = [mark for mark in answer.rows if mark.id in links]
        if not shared:
            # In a list that is in order, a row that is certainly nearer to the head than the border links as well.
            if self.ordered and any(mark.created > outermost + 2 * self.lateness for mark in answer.rows):
                older = [mark for mark in self._walking(answer.rows) if mark.created < outermost]
                return self._accept(ask, answer, stored, older)
            return self._retry(ask, answer)
        if self._swapped(shared):
            return self._loosen("rows of the list change places")
        known = {mark.id for mark in self.border}
        rows = self._walking(answer.rows)
        fresh = any(mark.id not in known for mark in rows)
        walk = replace(self, stalled=0 if fresh else self.stalled + 1)
        if walk.stalled >= STALLED:
            return walk._fail("no window brings new rows: the Integrator seems to ignore the page number")
        last = max(place for place, mark in enumerate(rows) if mark.id in known)
        return walk._accept(ask, answer, stored, rows[last + 1 :])

    def _swapped(self, shared: Sequence[Mark]) -> bool:
        """Whether shared rows stand in another order than before, ties excepted: the list's order is not stable."""
        place = {mark.id: number for number, mark in enumerate(self.border)}
        return any(place[one.id] > place[two.id] and one.created != two.created for one, two in pairwise(shared))

    def _accept(self, ask: Ask, answer: Answer, stored: Container[int], beyond: Sequence[Mark]) -> Walk:
        """A linked window; `beyond`: its rows past the last shared one, in walking direction."""
        rows, size, start = answer.rows, self.size, ask.start
        if answer.limit is not None and len(rows) == answer.limit < ask.limit:  # the source caps its pages
            size, start = answer.limit, (ask.page - 1) * answer.limit
        outermost = self._walking(rows)[-1].created
        walk = replace(
            self,
            border=tuple(rows),
            size=size,
            limit=min(ask.limit, size),
            page=ask.page,
            count=answer.count,
            edge=start if self.backward else start + len(rows),
            overlap=1 + sum(mark.created == outermost for mark in rows),
            offset=0,
            stride=0,
            tries=0,
            windows=self.windows + 1,
            probe=self.probe.look(beyond, self.lateness),
        )
        walk = walk._judge_order()
        if walk.outcome is not Outcome.GOING or not walk.border:
            return walk
        return walk._consider(stored)

    def _judge_order(self) -> Walk:
        verdict = self.probe.verdict(backward=self.backward)
        believed = self.order
        if believed is Order.ARBITRARY or verdict in (Order.UNKNOWN, believed):
            return self
        if believed is Order.UNKNOWN and verdict is not Order.ARBITRARY:
            if self.probe.rows < ENOUGH:
                return self
            walk = replace(self, order=verdict)
            return walk._turn_round(self.count) if verdict is Order.OLDEST_FIRST else walk
        walk = replace(self, order=Order.ARBITRARY)  # one inversion revokes an order for ever
        return walk._restart() if self.backward else walk

    def _consider(self, stored: Container[int]) -> Walk:
        """After an accepted window: stop, end, or go on."""
        if self.ordered and self._reached(stored):
            return replace(self, outcome=Outcome.STOPPED)
        if self.backward:
            return self._end() if self.edge == 0 else self._unless_stuck()
        if len(self.border) >= self.limit:
            return self._unless_stuck()
        if self.count_holds and self.count == self.edge:
            return self._end()
        return replace(self, phase=Phase.END)

    def _reached(self, stored: Container[int]) -> bool:
        """Early stop: the window reaches behind what was certified, and holds nothing old that is not stored."""
        oldest = self.outermost.created
        if oldest < self.floor - self.lateness:
            return True
        if self.frontier is None:
            return False
        seam = self.frontier - self.lateness
        return oldest < seam and all(mark.id in stored for mark in self.border if self.floor <= mark.created < seam)

    def _unless_stuck(self) -> Walk:
        """More rows of one moment than a window can overlap cannot be walked in a chain."""
        ask = self.ask()
        if (ask.start < self.edge) if self.backward else (ask.end > self.edge):
            return self
        return self._loosen("more rows of one moment than fit a page")

    def _take_end(self, answer: Answer) -> Walk:
        walk = replace(self, phase=Phase.CHAIN)
        if not answer.rows:
            return replace(walk, count_holds=self.count == self.edge)._end()
        # The window was short, and yet there is more: the source caps its pages, or the list has just grown.
        walk = replace(walk, count_holds=False)
        if self.page == 1 and len(answer.rows) <= len(self.border):
            walk = replace(walk, size=len(self.border))
        return walk._unless_stuck()

    def _end(self) -> Walk:
        """The end of the list. In no order, rows may have moved past the walk: a second one has to bring no news."""
        order = self.order
        if order is Order.UNKNOWN and self.probe.rows >= ENOUGH:
            order = self.probe.verdict(backward=self.backward)
        if order is not Order.ARBITRARY or (self.rounds and not self.news):
            return replace(self, outcome=Outcome.ENDED, order=order)
        if self.rounds + 1 >= ROUNDS:
            return self._fail("the list is in no order, and every walk brings new rows")
        return replace(self._restart(), order=order, rounds=self.rounds + 1, news=False)

    def _retry(self, ask: Ask, answer: Answer) -> Walk:
        """Ask again nearer to the head; or further out, where the list has grown by more than a window."""
        if not answer.rows and ask.page == 1:
            return replace(self, outcome=Outcome.EMPTY)
        if self.tries >= TRIES:
            return self._fail("the list changes faster than it can be read")
        step = max(1, self.size - 1)
        grown = (answer.count or 0) - (self.count or 0) if self.count is not None and answer.rows else 0
        if not self.tries and grown > 0 and not self.backward:
            return replace(self, offset=grown, tries=1)
        stride = min(2 * self.stride, 64 * step) if self.stride and self.ordered else step
        return replace(self, offset=self.offset - stride, stride=stride, tries=self.tries + 1)

    # --- from the other end ---

    def _restart(self) -> Walk:
        """From the beginning, with the first signpost."""
        fresh = Walk(self.lateness, self.floor, self.frontier, self.order, self.count_holds, self.signpost)
        return replace(fresh, size=self.size, limit=self.size, windows=self.windows, rounds=self.rounds)

    def _turn_round(self, total: int | None) -> Walk:
        """Start again from the tail of a list that is oldest first."""
        return replace(
            self._restart(), phase=Phase.TAIL, backward=True, tail=Tail(total, largest=self.size, size=self.size)
        )

    def _take_tail(self, ask: Ask, answer: Answer, stored: Container[int]) -> Walk:
        tail = self.tail.take(ask, answer)
        if tail.empty:
            return replace(self, outcome=Outcome.EMPTY)
        if tail.hopeless:
            return self._fail("the end of the list was not found")
        if not tail.proven:
            return replace(self, tail=tail)
        ask = Ask(tail.size, tail.page)
        walk = replace(self, tail=Tail(), phase=Phase.CHAIN, size=tail.largest)
        length = ask.start + len(tail.short)
        return walk._accept(ask, Answer(tail.short, length), stored, tail.short[::-1])

    # --- without links ---

    def _loosen(self, reason: str) -> Walk:
        """Go through the pages one after the other, again and again, until two walks agree."""
        return replace(self._restart(), phase=Phase.LOOSE, reason=reason, rounds=0)

    def _take_loose(self, answer: Answer) -> Walk:
        """Only rows that had settled when the pass began are compared: newer ones may still come and go."""
        if answer.rows:
            known = {mark.id for mark in self.border}
            fresh = [mark for mark in answer.rows if mark.id not in known]
            stalled = 0 if fresh else self.stalled + 1
            if stalled >= STALLED:
                return self._fail("no page brings new rows: the Integrator seems to ignore the page number")
            return replace(
                self,
                border=tuple(answer.rows),
                page=self.page + 1,
                count=answer.count,
                tally=self.tally.add(mark.id for mark in fresh if mark.created < self.settled),
                stalled=stalled,
                windows=self.windows + 1,
            )
        if self.page == 1:
            return replace(self, outcome=Outcome.EMPTY)
        if self.tally == self.before:
            return replace(self, outcome=Outcome.ENDED)
        if self.rounds + 1 >= ROUNDS:
            return self._fail(f"{self.reason}, and no two walks agreed")
        return replace(self._loosen(self.reason), before=self.tally, rounds=self.rounds + 1)

    def _fail(self, reason: str) -> Walk:
        return replace(self, outcome=Outcome.UNCERTIFIED, reason=reason)

    # --- what a walk has shown ---

    @property
    def settled(self) -> int:
        """D−Λ: rows created before this had become visible when the pass began. A certified pass makes it F."""
        return (self.signpost if self.signpost is not None else 0) - self.lateness

    @property
    def ordered(self) -> bool:
        """Whether beyond a window lie only rows that are older, but for late ones."""
        return self.phase is not Phase.LOOSE and self.order is (
            Order.OLDEST_FIRST if self.backward else Order.NEWEST_FIRST
        )

    @property
    def certified(self) -> bool:
        return self.outcome in (Outcome.STOPPED, Outcome.ENDED)

    @property
    def reach(self) -> int | None:
        """All rows newer than this have been seen, though the walk is still going; None where that is not known."""
        if not self.ordered or not self.border or self.probe.rows < ENOUGH:
            return None
        return self.outermost.created + self.lateness

    # --- through JSON ---

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Walk:
        """The walk that `to_json` wrote down."""
        tail, before = state["tail"], state["before"]
        read = {
            "order": Order(state["order"]),
            "outcome": Outcome(state["outcome"]),
            "phase": Phase(state["phase"]),
            "probe": Probe(**state["probe"]),
            "tail": Tail(**{**tail, "short": tuple(Mark(*mark) for mark in tail["short"])}),
            "border": tuple(Mark(*mark) for mark in state["border"]),
            "tally": Tally(**state["tally"]),
            "before": None if before is None else Tally(**before),
        }
        return cls(**{**state, **read})
