"""Finding the tail: the last window of a list that is oldest first, with proof that nothing lies behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from archiver.window.asks import LARGEST, Answer, Ask, sizes
from archiver.window.order import Mark

TRIES = 60
FEW = 10  # rows: a tail as short as this makes a poor first link


@dataclass(frozen=True, slots=True)
class Tail:
    """A search for the end of a list, by what `count` says or else by doubling and halving the page number.

    The tail is proven when a page that is shorter than it could be is followed by an empty one.
    `guess`: the list's length, as far as is known. `short`: the rows of a short page, while the one behind it is asked.
    """

    guess: int | None = None
    largest: int = LARGEST
    size: int = LARGEST
    low: int = 0  # a page of `size` that had rows
    high: int | None = None  # one that had none
    page: int = 0
    short: tuple[Mark, ...] = ()
    retried: bool = False
    tries: int = 0
    proven: bool = False
    empty: bool = False

    def ask(self) -> Ask:
        if self.short:
            return Ask(self.size, self.page + 1)
        if self.guess:
            # The page size that leaves most rows for the last page, and never none or all.
            size = max(sizes(self.largest), key=lambda size: (self.guess or 0) % size)
            return Ask(size, self.guess // size + 1)
        if self.high is None:
            return Ask(self.size, max(1, 2 * self.low))
        return Ask(self.size, max(1, (self.low + self.high) // 2))

    def take(self, ask: Ask, answer: Answer) -> Tail:
        tail = replace(self, tries=self.tries + 1)
        if self.short:
            return tail._take_behind(ask, answer)
        if ask.limit != self.size:
            tail = replace(tail, size=ask.limit, low=0, high=None)
        tail = replace(tail, guess=None)
        if not answer.rows:
            if ask.page == 1:
                return replace(tail, empty=True)
            return replace(tail, high=ask.page, low=tail.low if tail.low < ask.page else 0)
        if len(answer.rows) < ask.limit:
            return replace(tail, short=tuple(answer.rows), page=ask.page)
        if answer.count is not None and answer.count >= ask.end and self.tries < TRIES // 2:
            return replace(tail, guess=answer.count + (answer.count == ask.end == self.guess))
        if tail.high is not None and tail.high <= ask.page + 1:  # the last page is full: other pages end elsewhere
            return replace(tail, guess=ask.end)
        return replace(tail, low=ask.page)

    def _take_behind(self, ask: Ask, answer: Answer) -> Tail:
        if answer.rows:  # the list has grown, or the source caps its pages
            capped = len(answer.rows) <= len(self.short)
            size = len(self.short) if capped else self.size
            return replace(self, short=(), largest=min(size, self.largest), size=size, low=ask.page, high=None)
        length = self.page * self.size - self.size + len(self.short)
        if len(self.short) < FEW and self.page > 1 and not self.retried:
            return replace(self, short=(), guess=length, retried=True)
        return replace(self, proven=True)

    @property
    def hopeless(self) -> bool:
        return self.tries >= TRIES
