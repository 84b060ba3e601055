"""Finding the tail: the last window of a list that is oldest first, with proof that nothing lies behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from archiver.window.asks import FEWEST, LARGEST, Answer, Ask, sizes
from archiver.window.order import Mark

FEW = 25  # rows: a tail as short as this makes a poor first link
TRIES = 40


@dataclass(frozen=True, slots=True)
class Tail:
    """A search for the end of a list, by what `count` says or else by doubling and halving the page number.

    The tail is proven by a page that is shorter than one that came before. `guess`: the list's length, as far as is
    known. `rows`: the tail, once it is proven.
    """

    guess: int | None = None
    largest: int = LARGEST  # page to ask for
    given: int = FEWEST  # the largest page that came
    size: int = LARGEST
    low: int = 0  # a page of `size` that had rows
    high: int | None = None  # one that had none
    page: int = 0
    rows: tuple[Mark, ...] = ()
    retried: bool = False
    tries: int = 0
    empty: bool = False

    def ask(self) -> Ask:
        """The next page to look at."""
        if self.guess:
            # The page size that leaves most rows for the last page, and never none or all.
            size = max(sizes(self.largest), key=lambda size: (self.guess or 0) % size)
            return Ask(size, self.guess // size + 1)
        if self.high is None:
            return Ask(self.size, max(1, 2 * self.low))
        return Ask(self.size, max(1, (self.low + self.high) // 2))

    def take(self, ask: Ask, answer: Answer) -> Tail:
        """Go on with the answer to `ask`."""
        length = len(answer.rows)
        tail = replace(self, guess=None, tries=self.tries + 1, given=max(self.given, length))
        if ask.limit != self.size:
            tail = replace(tail, size=ask.limit, low=0, high=None)
        if not length:
            if ask.page == 1:
                return replace(tail, empty=True)
            return replace(tail, high=ask.page, low=tail.low if tail.low < ask.page else 0)
        if length < min(ask.limit, FEW) and ask.page > 1 and not self.retried:
            return replace(tail, guess=ask.start + length, retried=True)
        if length < min(ask.limit, self.given):
            return replace(tail, rows=tuple(answer.rows), page=ask.page)
        if length < ask.limit:  # the end, or the source's own size of pages: it gives such ones for certain
            size, guess = min(length, LARGEST), answer.count or ask.start + length
            return replace(tail, largest=size, size=size, low=0, high=None, guess=guess)
        if answer.count is not None and answer.count >= ask.end and self.tries < TRIES // 2:
            return replace(tail, guess=answer.count + (answer.count == ask.end == self.guess))
        if tail.high is not None and tail.high <= ask.page + 1:  # the last page is full: other pages end elsewhere
            return replace(tail, guess=ask.end)
        return replace(tail, low=ask.page)

    @property
    def hopeless(self) -> bool:
        """Whether TRIES pages did not find the end."""
        return self.tries >= TRIES
