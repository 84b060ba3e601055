"""A reader that drives `Walk` against a source through polls, crashes and pauses; what it must never have missed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from archiver.window import Answer, Order, Outcome, Walk
from tests.walk.model import EPOCH, ORDERS, SECOND, WORLDS, Manners, Row, Source

PATIENCE = 1500  # requests for one pass


class Missed(AssertionError):
    """Rows are missing below the frontier, though the source showed them all the time."""


@dataclass(slots=True)
class Archive:
    """What outlives a crash. `floor`: rows created before it are not wanted."""

    floor: int = EPOCH
    stored: set[int] = field(default_factory=set)
    frontier: int | None = None
    order: Order = Order.UNKNOWN
    count_holds: bool = False
    total: int | None = None
    walk: str | None = None  # a pass under way, as JSON
    outcomes: list[Outcome] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


class Reader:
    """Polls a source, and crashes where `rng` says so."""

    def __init__(self, source: Source, archive: Archive, rng: random.Random, crashes: float = 0.0) -> None:
        self.source, self.archive, self.rng, self.crashes = source, archive, rng, crashes
        self.shown: set[int] = set()  # ids of all answers whose rows were committed

    def poll(self) -> Outcome:
        """One pass, from where the last one was killed or from anew."""
        walk, requests = self._resume(), 0
        while walk.outcome is Outcome.GOING:
            requests += 1
            assert requests <= PATIENCE, f"no end after {requests} requests: {walk.phase}, edge {walk.edge}"
            ask = walk.ask()
            answer, asked_at = self.source.answer(ask)
            if self._crashes():  # before the commit: nothing happened
                walk = self._resume()
                continue
            known = self.archive.stored & {mark.id for mark in answer.rows}
            walk = walk.take(ask, answer, known, self.signpost(asked_at))
            self._commit(walk, answer)
            if walk.outcome is Outcome.GOING and self._crashes():
                walk = self._resume()
        self.archive.outcomes.append(walk.outcome)
        self.archive.reasons.append(walk.reason)
        return walk.outcome

    def _crashes(self) -> bool:
        if self.rng.random() >= self.crashes:
            return False
        if self.rng.random() < 0.1:  # and nobody starts it again for a while
            self.source.pass_time(self.rng.choice((10.0, 600.0)), self.rng.choice((5.0, 60.0)))
        return True

    def _resume(self) -> Walk:
        archive = self.archive
        if archive.walk is not None:
            return Walk.from_json(json.loads(archive.walk))
        limit = 100
        if archive.frontier is not None and self.rng.random() < 0.8:
            seam = archive.frontier - self.source.lateness
            limit = min(100, sum(row.created >= seam for row in self.source.rows) + 5)
        return Walk.begin(
            lateness=self.source.lateness,
            floor=archive.floor,
            frontier=archive.frontier,
            order=archive.order,
            count_holds=archive.count_holds,
            limit=limit,
            total=archive.total,
        )

    def _commit(self, walk: Walk, answer: Answer) -> None:
        """Rows and the state of the pass, at once."""
        self._save_state(walk)
        self._save_rows(walk, answer)
        if walk.certified:
            self.check()

    def _save_state(self, walk: Walk) -> None:
        archive = self.archive
        archive.walk = json.dumps(walk.to_json()) if walk.outcome is Outcome.GOING else None
        if walk.outcome is not Outcome.GOING:
            archive.order, archive.count_holds, archive.total = walk.order, walk.count_holds, walk.count
        if walk.certified:
            archive.frontier = max(archive.frontier or walk.settled, walk.settled)

    def _save_rows(self, walk: Walk, answer: Answer) -> None:
        self.shown |= {mark.id for mark in answer.rows if mark.created >= self.archive.floor}
        self.archive.stored |= {mark.id for mark in answer.rows if self.wants(walk, mark.created)}

    def signpost(self, asked_at: int) -> int:
        return asked_at

    def wants(self, walk: Walk, created: int) -> bool:
        return created >= walk.floor

    def check(self) -> None:
        """Rows that came in time and are shown now were there when this pass began: all below the frontier are stored,
        and so is whatever an answer showed."""
        archive, frontier = self.archive, self.archive.frontier
        assert frontier is not None
        missing = [row for row in self.source.rows if row.id not in archive.stored and self._must(row, frontier)]
        if missing or self.shown - archive.stored:
            raise Missed(f"{len(missing)} rows below the frontier, {len(self.shown - archive.stored)} shown: {missing}")

    def _must(self, row: Row, frontier: int) -> bool:
        in_time = row.seen_from - row.created <= self.source.lateness
        return in_time and self.archive.floor <= row.created < frontier


@dataclass(frozen=True, slots=True)
class Case:
    """One life of a list and its reader; everything else follows from the seed."""

    order: str
    world: str
    seed: int

    @property
    def rng(self) -> random.Random:
        return random.Random(f"{self.order} {self.world} {self.seed}")

    def source(
        self,
        rng: random.Random,
        lengths: Sequence[int] = (0, 1, 3, 20, 60, 99, 100, 101, 150, 250, 400),
        lateness: Sequence[int] = (20, 60, 300, 1200),
    ) -> Source:
        """The list of this life; lateness in seconds."""
        manners = Manners(
            count=rng.choice(("true", "true", "none", "wrong", "capped")),
            cap=rng.choice((None, None, None, 50, 20)),
            tells_limit=rng.random() < 0.5,
            ignores_page=rng.random() < 0.02,
        )
        length, late = rng.choice(lengths), rng.choice(lateness) * SECOND
        return Source(self.order, WORLDS[self.world], rng, length=length, lateness=late, manners=manners)

    def play(self, reader: type[Reader] = Reader) -> Reader:
        """Five polls with pauses; raises Missed where the archive believes what is not so."""
        rng = self.rng
        source = self.source(rng)
        floor = EPOCH if rng.random() < 0.7 else EPOCH + (source.now - EPOCH) // rng.randint(2, 6)
        one = reader(source, Archive(floor=floor), rng, crashes=rng.choice((0.0, 0.05, 0.3)))
        for _ in range(5):
            one.poll()
            source.pass_time(rng.choice((1.0, 60.0, 600.0)), rng.choice((0.0, 1.0, 20.0, 60.0)))
        return one


def cases(seeds: range) -> Iterator[Case]:
    for order in ORDERS:
        for world in WORLDS:
            for seed in seeds:
                yield Case(order, world, seed)


def violations(some: Iterator[Case], reader: type[Reader] = Reader) -> Iterator[tuple[Case, Any]]:
    """Those lives in which rows are missed."""
    for case in some:
        try:
            case.play(reader)
        except Missed as exc:
            yield case, exc
