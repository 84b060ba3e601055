"""The lines of finished runs: their pages are read ahead, over as many runs as it takes, and written many at a time.

While one transaction is written, the pages after it are fetched and read by other threads. A transaction holds the
lines of some runs, what they oblige to, and how far each of these runs has come: a killed pass goes on where the last
one ended. How far to read ahead is learnt in each turn: one page more with every answer, and one page alone again
after a failure, so that a source that is down is not asked more often than it was.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from archiver.archive.turn import AskPage, Turn
from archiver.errors import ArchiverError, PageUnreadable, RequestRefused, SourceUnavailable
from archiver.logs import LogType
from archiver.sheets import ReadPage, Sheet, read_page, recognise_page
from archiver.store import OfRun, Put, Visit, Writer
from archiver.window import Ask, Sweep

BATCH = 3000  # lines of a transaction, or a page more
SECONDS = 1.0  # after which less than that is written
AHEAD = 3  # pages for each connection, read and not yet written
SOME = 32  # pages that are read ahead also with few connections: while a transaction is written, the next one is read
RUNS = 200  # of one transaction
UNAVAILABLE = 3  # runs in a row without an answer: the Integrator is down, not the run
RunFault = PageUnreadable | RequestRefused | SourceUnavailable


@dataclass(frozen=True, slots=True)
class Then:
    """What becomes of a run once its lines are proven to be all there. `as_is`: once they were read at all, for the run
    has not finished, and nobody can say how many lines it will have."""

    state: str
    wait: float | None
    as_is: bool = False


def conclude(turn: Turn, writer: Writer, counts: Mapping[int, int | None], then: Then) -> None:
    """The lines of these runs are all there, as many as the source counts, if it does: want the files that they and
    the runs have, and let the runs settle, or seal them."""
    writer.want_details(counts.keys(), turn.flow.details)
    writer.conclude(counts, then.state, then.wait)
    turn.report.sealed += len(counts) if then.state == "sealed" else 0


def pause(visits: int, first: float = 20.0, longest: float = 3600.0) -> float:
    """Seconds until the next visit: growing, so that nothing is asked for in vain too often."""
    return min(longest, first * 1.6 ** min(visits, 30))


def put_off(turn: Turn, visit: Visit, exc: RunFault) -> None:
    """One run that cannot be read does not stop the others: it is tried again later, and the report says so. Raises
    `exc` itself where UNAVAILABLE runs in a row had no answer."""
    turn.report.errors.append(f"run {visit.run_id or visit.log_id}: {exc}")
    with turn.store.writing(turn.lease) as writer:
        writer.postpone(visit.log_id, pause(visit.visits), str(exc))
    turn.unavailable = turn.unavailable + 1 if isinstance(exc, SourceUnavailable) else 0
    if turn.unavailable >= UNAVAILABLE:
        raise exc


@dataclass(slots=True, eq=False)
class _Reading:
    """One run whose lines are being read. `fresh`: none of them was stored before; `known`: all may be."""

    visit: Visit
    sweep: Sweep
    fresh: bool
    known: bool
    asked: int = 0  # the last page asked for in this sweep
    sheet: Sheet = field(default_factory=Sheet)  # not written yet

    def next_ask(self) -> Ask | None:
        """The next page, if it may be asked for now."""
        asks = self.sweep.asks(self.asked - self.sweep.done + 1)
        return asks[-1] if asks and asks[-1].page > self.asked else None

    @property
    def run(self) -> tuple[int, str, str]:
        return self.visit.log_id, self.visit.run_id or "", self.visit.created

    @property
    def is_unsteady(self) -> bool:
        """Whether it was read to the end as often as it may be, for now."""
        return self.sweep.ended and self.sweep.again().exhausted

    def progress(self) -> dict[str, Any] | None:
        """From where another pass would go on, where all is not proven."""
        if self.is_unsteady:
            return None
        return (self.sweep.again() if self.sweep.ended else self.sweep).to_json()

    def again(self) -> None:
        """All was read, and that does not prove it: once more."""
        self.sweep, self.asked = self.sweep.again(), 0
        self.fresh, self.known = False, True


class _Asked(NamedTuple):
    """A page that is on its way, for the sweep of a run that was under way then."""

    reading: _Reading
    rounds: int
    answer: Callable[[], ReadPage]


def read_lines(turn: Turn, visits: Iterable[Visit], then: Then) -> None:
    """Read the lines of these runs until they are proven to be all there, each run from where it was left."""
    source, flow = turn.source, turn.flow
    helpers, memory = turn.helpers, turn.memory
    with helpers.used():

        def read(body: bytes, rules: tuple[str, ...]) -> ReadPage:
            page = helpers.call(read_page, body, rules)
            memory.keep(body, rules, page)
            return page

        def recognise(body: bytes, rules: tuple[str, ...]) -> ReadPage:
            page = memory.find(body, rules)
            if page is None:
                page = helpers.call(recognise_page, body, rules)
                memory.keep(body, rules, page)
            page.sheet.keep(body, rules)
            return page

        with (
            source.ahead(flow, LogType.LINE, read) as ask,
            source.ahead(flow, LogType.LINE, recognise) as ask_known,
        ):
            _Reader(turn, iter(visits), then, ask, ask_known).work()


class _Reader:
    def __init__(
        self,
        turn: Turn,
        visits: Iterator[Visit],
        then: Then,
        ask: AskPage[ReadPage],
        ask_known: AskPage[ReadPage],
    ) -> None:
        self._turn = turn
        self._visits = visits
        self._then = then
        self._ask, self._ask_known = ask, ask_known
        self._under_way: deque[_Asked] = deque()
        self._readings: list[_Reading] = []  # runs that are not concluded
        self._most = max(SOME, AHEAD * turn.source.connections)
        self._unsaved = 0  # lines
        self._saved_at = time.monotonic()

    def work(self) -> None:
        try:
            while self._ask_ahead() or self._save():
                self._turn.breathe()
                if self._under_way:
                    self._take(self._under_way.popleft())
                late = time.monotonic() - self._saved_at > SECONDS
                if self._unsaved >= BATCH or late or len(self._readings) >= RUNS:
                    self._save()
        except ArchiverError:
            self._save()  # what was read is no less true; where the database is the reason, this raises it again
            raise

    def _ask_ahead(self) -> bool:
        """Ask for as many pages as may be under way; answers whether any are."""
        while len(self._under_way) < self._turn.width and (found := self._next()) is not None:
            reading, ask = found
            reading.asked = ask.page
            answer = (self._ask_known if reading.known else self._ask)(ask, reading.visit.run_id)
            self._under_way.append(_Asked(reading, reading.sweep.rounds, answer))
        return bool(self._under_way)

    def _next(self) -> tuple[_Reading, Ask] | None:
        """The next page: of the run that was begun first, else of another one."""
        for reading in self._readings:
            if (ask := reading.next_ask()) is not None:
                return reading, ask
        visit = next(self._visits, None)
        if visit is None:
            return None
        sweep = Sweep.from_json(visit.sweep) if visit.sweep else Sweep()
        # The lines of a run that was left in the middle are half known: they are read, and looked up.
        fresh, known = not visit.line_count, visit.line_count > 0 and not visit.sweep
        reading = _Reading(visit, sweep.again() if sweep.ended else sweep, fresh, known)
        reading.asked = reading.sweep.done
        self._readings.append(reading)
        ask = reading.next_ask()
        assert ask is not None  # noqa: S101 - a sweep that has not ended always has a next page
        return reading, ask

    def _take(self, asked: _Asked) -> None:
        reading = asked.reading
        if reading not in self._readings or reading.sweep.ended or reading.sweep.rounds != asked.rounds:
            return  # the sweep ended before this page
        try:
            read = asked.answer()
        except (PageUnreadable, RequestRefused, SourceUnavailable) as exc:
            self._turn.width = 1
            self._save()
            self._readings.remove(reading)
            put_off(self._turn, reading.visit, exc)
            return
        if read.runs - {reading.visit.run_id} and _FOREIGN not in self._turn.report.errors:
            self._turn.report.errors.append(_FOREIGN)
        self._turn.width = min(self._turn.width + 1, self._most)
        reading.sweep = reading.sweep.take(read.listed)
        self._unsaved += len(read.sheet.ids)
        reading.sheet.add(read.sheet)

    def _save(self) -> bool:
        """All lines that were read, with how far their runs have come, or with their conclusion, in one transaction;
        answers whether there was anything."""
        some = [one for one in self._readings if one.sheet.ids or one.sweep.ended]
        for one in some:
            one.sheet.settle(one.run[1], one.run[2])
        if some:
            self._turn.store.partitions.ensure(set().union(*(one.sheet.months for one in some)))
            with self._turn.store.writing(self._turn.lease) as writer:
                puts, proven = self._write(writer, some)
            for reading, put in zip(some, puts, strict=True):
                self._saved(reading, put, proven=reading.visit.log_id in proven)
        self._unsaved, self._saved_at = 0, time.monotonic()
        return bool(some)

    def _write(self, writer: Writer, some: Sequence[_Reading]) -> tuple[list[Put], Collection[int]]:
        """What became of the lines of each run, and the log ids of the runs whose lines are proven to be all there."""
        puts = writer.put_sheets([OfRun(one.run, one.sheet, one.fresh) for one in some])
        ended = [one for one in some if one.sweep.ended]
        totals = writer.line_totals([one.visit.log_id for one in ended])
        counts = (
            dict.fromkeys((one.visit.log_id for one in ended), None)
            if self._then.as_is
            else {one.visit.log_id: one.sweep.last for one in ended if self._proven(one, totals)}
        )
        conclude(self._turn, writer, counts, self._then)
        others = [one for one in some if one.visit.log_id not in counts]
        writer.save_sweeps({one.visit.log_id: one.progress() for one in others})
        for one in others:
            if one.is_unsteady:
                writer.postpone(one.visit.log_id, pause(one.visit.visits), _UNSTEADY)
        return puts, counts.keys()

    @staticmethod
    def _proven(one: _Reading, totals: Mapping[int, int]) -> bool:
        return one.sweep.certified(totals.get(one.visit.log_id, -1))

    def _saved(self, reading: _Reading, put: Put, *, proven: bool) -> None:
        self._turn.report.count_lines(put)
        # Where the list shifts, the next lines may be among those of this transaction: better ask which are known.
        reading.fresh &= put.new == len(reading.sheet.hashes)
        reading.sheet = Sheet()
        if not reading.sweep.ended:
            return
        reading.again()
        if proven or reading.sweep.exhausted:
            self._readings.remove(reading)
            self._turn.unavailable = 0
        if not proven and reading.sweep.exhausted:
            self._turn.report.errors.append(f"run {reading.visit.run_id}: {_UNSTEADY}")


_FOREIGN = (
    "asked for the lines of one run, the Integrator lists those of others: they are archived, but how many of them"
    " belong to which run is not to be relied on"
)
_UNSTEADY = "its lines could not be read for certain: their list keeps changing"
