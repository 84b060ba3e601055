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

from archiver.window.asks import FEWEST, LARGEST, Answer, Ask, Tally, away_from_head, towards_head
from archiver.window.order import Mark, Order, Probe
from archiver.window.tail import Tail

TRIES = 16  # for a window that links
STALLED = 3  # windows in a row that lead no further: the page number is ignored
ROUNDS = 6  # walks, until two agree
RESTARTS = 4  # walks that lost their link


class Outcome(StrEnum):
    """What a walk has come to; all but GOING end it."""

    GOING = "going"
    STOPPED = "stopped"  # certified by early stop: all that lies beyond was covered before
    ENDED = "ended"  # certified: the whole list was walked
    EMPTY = "empty"  # the list has no rows
    UNCERTIFIED = "uncertified"


class Phase(StrEnum):
    """What the next window of a walk is for."""

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
    head: `created` of the newest row that the last pass saw.
    """

    lateness: int
    floor: int
    frontier: int | None = None
    order: Order = Order.UNKNOWN
    count_holds: bool = False
    signpost: int | None = None
    head: int | None = None
    outcome: Outcome = Outcome.GOING
    reason: str = ""
    phase: Phase = Phase.CHAIN
    backward: bool = False
    tail: Tail = field(default_factory=Tail)
    probe: Probe = field(default_factory=Probe)
    size: int = LARGEST  # the largest page to ask for
    given: int = FEWEST  # the largest page that came
    limit: int = LARGEST  # of the last window accepted; before the first one: of the first
    page: int = 1
    border: tuple[Mark, ...] = ()  # the rows of the last window accepted
    count: int | None = None  # the list's length at that window
    edge: int = 0  # the index up to which the list is covered
    margin: int = 0  # rows to overlap beyond what a list that stands still needs
    offset: int = 0  # how far from the edge the next try looks for it
    stride: int = 0
    tries: int = 0
    stalled: int = 0
    windows: int = 0
    rounds: int = 0
    restarts: int = 0
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
        head: int | None = None,
    ) -> Walk:
        """A new pass. `limit` rows should just reach behind F−Λ; `total` is the list's length as last known."""
        walk = cls(lateness=lateness, floor=floor, frontier=frontier, order=order, count_holds=count_holds, head=head)
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
        overlap = len(self.border) - len(self.links) + 1 + self.margin
        if self.backward:
            return towards_head(self.edge - self.offset + overlap, self.size)
        return away_from_head(self.edge + self.offset - overlap, self.size)

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
            return walk._take_loose(answer, stored)
        if walk.border:
            return walk._take_next(ask, answer, stored)
        if not answer.rows:
            return replace(walk, outcome=Outcome.EMPTY)
        if len(answer.rows) > ask.limit:
            return walk._unsized(answer)
        return walk._accept(ask, answer, stored, answer.rows)

    # --- the chain ---

    def _walking(self, rows: Sequence[Mark]) -> Sequence[Mark]:
        """Rows in walking direction."""
        return rows[::-1] if self.backward else rows

    @property
    def outermost(self) -> Mark:
        """The row of the border that the walk came to last."""
        return self.border[0] if self.backward else self.border[-1]

    @property
    def links(self) -> frozenset[int]:
        """The ids by which the next window may link. Rows as old as the outermost may change places with rows that
        were not seen (the tie rule)."""
        outermost = self.outermost.created
        return frozenset(mark.id for mark in self.border if mark.created != outermost)

    def _take_next(self, ask: Ask, answer: Answer, stored: Container[int]) -> Walk:
        links, outermost = self.links, self.outermost.created
        shared = [mark for mark in answer.rows if mark.id in links]
        if not shared:
            # In a list that is in order, a row that the walk certainly came past before the border links as well.
            passed = max(mark.created for mark in self.border) + 2 * self.lateness
            if self.ordered and any(mark.created > passed for mark in answer.rows):
                older = [mark for mark in self._walking(answer.rows) if mark.created < outermost]
                return self._accept(ask, answer, stored, older)
            return self._unsized(answer) if len(answer.rows) > ask.limit else self._retry(ask, answer)
        if self._swapped(shared):
            return replace(self, order=Order.ARBITRARY)._loosen("rows of the list change places")
        known = {mark.id for mark in self.border}
        rows = self._walking(answer.rows)
        last = max(place for place, mark in enumerate(rows) if mark.id in known)
        if last + 1 == len(rows) and (ask.start > 0 if self.backward else len(rows) >= ask.limit):
            return self._find_edge(ask, rows)
        return replace(self, stalled=0)._accept(ask, answer, stored, rows[last + 1 :])

    def _find_edge(self, ask: Ask, rows: Sequence[Mark]) -> Walk:
        """A window that links and leads no further; `rows`, in walking direction, show where the border lies now."""
        if self.stalled + 1 >= STALLED:
            return self._fail("windows lead no further: the page number is ignored, or the list grows too fast")
        behind = next(place for place, mark in enumerate(self._walking(self.border)[::-1]) if mark.id == rows[-1].id)
        edge = ask.start - behind if self.backward else ask.start + len(rows) + behind
        return replace(self, edge=edge, offset=0, stride=0, stalled=self.stalled + 1)

    def _swapped(self, shared: Sequence[Mark]) -> bool:
        """Whether shared rows stand in another order than before, ties excepted: the list's order is not stable."""
        place = {mark.id: number for number, mark in enumerate(self.border)}
        return any(place[one.id] > place[two.id] and one.created != two.created for one, two in pairwise(shared))

    def _accept(self, ask: Ask, answer: Answer, stored: Container[int], beyond: Sequence[Mark]) -> Walk:
        """A linked window; `beyond`: its rows past the last shared one, in walking direction."""
        rows, size, start, given = answer.rows, self.size, ask.start, self.given
        if answer.limit is not None and len(rows) == answer.limit < ask.limit:  # the source caps its pages
            size, start = answer.limit, (ask.page - 1) * answer.limit
        elif given <= len(rows) < min(ask.limit, size):  # perhaps it does; pages of this size it gives for certain
            size = len(rows)
        walk = replace(
            self,
            border=tuple(rows),
            size=size,
            given=max(given, len(rows)),
            limit=min(ask.limit, size),
            count=answer.count,
            edge=start if self.backward else start + len(rows),
            margin=min(max(0, -self.offset), size // 2) if self.tries else self.margin // 2,
            offset=0,
            stride=0,
            tries=0,
            windows=self.windows + 1,
            probe=self.probe.look(beyond, self.lateness),
        )
        walk = walk._judge_order()
        if walk.outcome is not Outcome.GOING or not walk.border:
            return walk
        if walk.ordered and walk._sees_head and walk._reached(stored):
            return replace(walk, outcome=Outcome.STOPPED)
        if walk.backward:
            return walk._end() if walk.edge == 0 else walk._unless_stuck()
        return walk._end_or_go_on(ask, shortest=given)

    def _end_or_go_on(self, ask: Ask, *, shortest: int) -> Walk:
        """Does this window end the list? `shortest`: the largest page that came before it.

        A page that is only shorter than asked for may be capped: then `count` decides, if it was right before. No cap
        explains a page shorter than one that came before: there `count` or an empty page behind it will do.
        """
        short, agrees = len(self.border) < min(ask.limit, shortest), self.count == self.edge
        if agrees and (short or (len(self.border) < ask.limit and self.count_holds)):
            # Of one page alone, `count` may as well be the number of its rows.
            return replace(self, count_holds=self.count_holds or self.edge > len(self.border))._end()
        if short:
            return replace(self, phase=Phase.END, limit=ask.limit, page=ask.page)
        return self._unless_stuck()

    def _take_end(self, answer: Answer) -> Walk:
        walk = replace(self, phase=Phase.CHAIN, count_holds=False)
        return walk._unless_stuck() if answer.rows else walk._end()

    def _judge_order(self) -> Walk:
        verdict = self.probe.verdict(backward=self.backward)
        believed = self.order
        if believed is Order.ARBITRARY or verdict in (Order.UNKNOWN, believed):
            return self
        if believed is Order.UNKNOWN and verdict is not Order.ARBITRARY:
            if not self.probe.enough:
                return self
            walk = replace(self, order=verdict)
            return walk._turn_round(self.count) if verdict is Order.OLDEST_FIRST else walk
        walk = replace(self, order=Order.ARBITRARY)  # one inversion revokes an order for ever
        return walk._restart() if self.backward else walk

    def _reached(self, stored: Container[int]) -> bool:
        """Early stop: the window reaches behind what was certified, and holds nothing old that is not stored."""
        oldest = self.outermost.created
        if oldest < self.floor - self.lateness:
            return True
        seam = self._seam
        if seam is None or oldest >= seam:
            return False
        return all(mark.id in stored for mark in self.border if self.floor <= mark.created < seam)

    @property
    def _sees_head(self) -> bool:
        """Whether the walk came past rows as new as the last one did, as it does at the newer end of a list. Else that
        end may be elsewhere by now, or such rows have gone: enough rows have to show the order anew.
        """
        return self.head is None or (self.probe.newest or 0) >= self.head - self.lateness or self.probe.enough

    def _unless_stuck(self) -> Walk:
        """More rows of one moment than a window can overlap cannot be walked in a chain."""
        for walk in (self, replace(self, margin=0)):
            ask = walk.ask()
            if (ask.start < walk.edge) if walk.backward else (ask.end > walk.edge):
                return walk
        return self._loosen("too many rows of one moment for windows to overlap")

    def _end(self) -> Walk:
        """The end of the list. In no order, rows may have moved past the walk: a second one has to bring no news."""
        if self.order is not Order.ARBITRARY or (self.rounds and not self.news):
            return replace(self, outcome=Outcome.ENDED)
        if self.rounds + 1 >= ROUNDS:
            return self._fail("the list is in no order, and every walk brings new rows")
        return replace(self._restart(), rounds=self.rounds + 1, news=False)

    def _retry(self, ask: Ask, answer: Answer) -> Walk:
        """Ask again nearer to the head; or further out, where the list has grown by more than a window."""
        if not answer.rows and ask.page == 1:
            return replace(self, outcome=Outcome.EMPTY)
        out_of_sight = not answer.rows if self.backward else ask.page == 1
        if out_of_sight or self.tries >= TRIES:
            return self._begin_again()
        grown = (answer.count or 0) - (self.count or 0) if self.count is not None and answer.rows else 0
        if not self.tries and grown > 0 and not self.backward:
            return replace(self, offset=grown, tries=1)
        # Strides longer than a window would step over the border where only its own rows link.
        longest = (64 if self.ordered else 1) * max(1, self.size - 1)
        stride = min(2 * self.stride or max(1, self.size // 4), longest)
        return replace(self, offset=self.offset - stride, stride=stride, tries=self.tries + 1)

    # --- from the beginning, and from the other end ---

    def _begin_again(self) -> Walk:
        """The border is gone from the list, or out of sight."""
        if self.restarts >= RESTARTS:
            return self._fail("the list changes faster than it can be read")
        walk = self._turn_round(self.count) if self.backward else self._restart()
        return replace(walk, restarts=self.restarts + 1, news=self.news)

    def _restart(self) -> Walk:
        """From the beginning, with the first signpost."""
        fresh = Walk(self.lateness, self.floor, self.frontier, self.order, self.count_holds, self.signpost, self.head)
        size = min(self.size, LARGEST)
        return replace(fresh, size=self.size, limit=size, given=self.given, windows=self.windows, rounds=self.rounds)

    def _turn_round(self, total: int | None) -> Walk:
        """Start again from the tail of a list that is oldest first."""
        tail = Tail(total, largest=self.size, size=self.size, given=self.given)
        return replace(self._restart(), phase=Phase.TAIL, backward=True, tail=tail)

    def _take_tail(self, ask: Ask, answer: Answer, stored: Container[int]) -> Walk:
        tail = self.tail.take(ask, answer)
        if tail.empty:
            return replace(self, outcome=Outcome.EMPTY)
        if tail.rows:
            ask, found = Ask(tail.size, tail.page), tail.rows
            walk = replace(self, tail=Tail(), phase=Phase.CHAIN, size=tail.largest, given=tail.given)
            return walk._accept(ask, Answer(found, ask.start + len(found)), stored, found[::-1])
        if tail.hopeless:
            return self._fail("the end of the list was not found")
        return replace(self, tail=tail)

    # --- without links ---

    def _unsized(self, answer: Answer) -> Walk:
        """The limit is ignored: pages cannot overlap."""
        return replace(self, size=len(answer.rows))._loosen("the page size cannot be chosen")

    def _loosen(self, reason: str) -> Walk:
        """Go through the pages one after the other, again and again, until two walks agree."""
        return replace(self._restart(), phase=Phase.LOOSE, reason=reason, rounds=0)

    def _take_loose(self, answer: Answer, stored: Container[int]) -> Walk:
        """Compared are only rows that have to be there both times: newer ones may still come and go."""
        if not answer.rows:
            return replace(self, outcome=Outcome.EMPTY) if self.page == 1 else self._compare(Outcome.ENDED)
        known = {mark.id for mark in self.border}
        fresh = [mark for mark in answer.rows if mark.id not in known]
        stalled = 0 if 2 * len(fresh) > len(answer.rows) else self.stalled + 1
        if stalled >= STALLED:
            return self._fail("pages bring no new rows: their number is ignored, or the list grows too fast")
        seam = self._seam if self.ordered else None
        walk = replace(
            self,
            border=tuple(answer.rows),
            page=self.page + 1,
            count=answer.count,
            tally=self.tally.add(one for one, created in fresh if (seam or 0) <= created < self.settled),
            stalled=stalled,
            windows=self.windows + 1,
            probe=self.probe.look(fresh, self.lateness),
        )
        return walk._compare(Outcome.STOPPED) if walk.ordered and walk._reached(stored) else walk

    def _compare(self, outcome: Outcome) -> Walk:
        """After a walk without links: has the one before it seen the same?"""
        if self.tally == self.before:
            return replace(self, outcome=outcome)
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
    def _seam(self) -> int | None:
        """F−Λ: a row visible when a row older than this was, had been visible when F was certified."""
        return None if self.frontier is None else self.frontier - self.lateness

    @property
    def ordered(self) -> bool:
        """Whether beyond a window lie only rows that are older, but for late ones."""
        return self.order is (Order.OLDEST_FIRST if self.backward else Order.NEWEST_FIRST)

    @property
    def certified(self) -> bool:
        """Whether every row created from F (without one, from the floor) up to `settled` was seen."""
        return self.outcome in (Outcome.STOPPED, Outcome.ENDED)

    @property
    def reach(self) -> int | None:
        """All rows newer than this have been seen, though the walk is still going; None where that is not known."""
        if not self.ordered or self.phase is not Phase.CHAIN or not self.border or not self.probe.enough:
            return None
        return self.outermost.created + self.lateness + 1

    # --- through JSON ---

    def to_json(self) -> dict[str, Any]:
        """The walk as JSON writes it down; flat where it can be, for `asdict` copies every mark of the border."""
        state = {one: getattr(self, one) for one in self.__slots__}
        before = None if self.before is None else asdict(self.before)
        parts = {"tail": asdict(self.tail), "probe": asdict(self.probe), "tally": asdict(self.tally), "before": before}
        return state | parts

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Walk:
        """The walk that `to_json` wrote down."""
        tail, before = state["tail"], state["before"]
        read = {
            "order": Order(state["order"]),
            "outcome": Outcome(state["outcome"]),
            "phase": Phase(state["phase"]),
            "probe": Probe(**state["probe"]),
            "tail": Tail(**{**tail, "rows": tuple(Mark(*mark) for mark in tail["rows"])}),
            "border": tuple(Mark(*mark) for mark in state["border"]),
            "tally": Tally(**state["tally"]),
            "before": None if before is None else Tally(**before),
        }
        return cls(**{**state, **read})
