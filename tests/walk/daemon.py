"""Daemons that poll a make-believe list into a real Postgres, are killed around any commit, and are started again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from archiver.archive.poll import backfill, poll
from archiver.archive.turn import Counted, File, FlowReport, Turn
from archiver.config import Flow
from archiver.errors import LeaseLost, PageUnreadable, SourceUnavailable
from archiver.logs import LogType, Page, micros
from archiver.store import Checkpoint, Lease, Store, Writer
from archiver.window import Ask, covers
from tests.walk.model import EPOCH, SECOND, Row, Source
from tests.walk.reader import Case, Missed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """SIGKILL, as far as a process can see it."""


def moment(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def wire_row(row: Row) -> dict[str, Any]:
    """A main log as the Integrator writes it; one with a negative id comes without it."""
    return {
        **({"id": row.id} if row.id >= 0 else {}),
        "created": str(row.created // 1000),
        "finished": str(row.created // 1000 + 1),
        "original_filename_uuid": f"run-{row.id}",
        "filename_uuid": f"run-{row.id}",
        "state": 3,
        "status": 2,
        "log_type": 1,
        "sub_flows": [],
    }


class Wire(Counted):
    """The Integrator, in this process. `meanwhile` runs while an answer is on its way."""

    def __init__(self, source: Source, rng: random.Random, *, dated: bool, failing: float) -> None:
        self.source, self.rng, self.dated, self.failing = source, rng, dated, failing
        self.meanwhile: Callable[[], None] = lambda: None
        self.requests = 0
        self.shown: set[int] = set()

    @property
    def connections(self) -> int:
        return 1

    def list_logs(self, flow: Flow, log_type: LogType, *, limit: int, page: int, run_id: str | None = None) -> Page:
        assert (log_type, run_id) == (LogType.MAIN, None)
        if self.rng.random() < self.failing:
            raise self.rng.choice((SourceUnavailable("down", 503), SourceUnavailable("gone"), PageUnreadable("half")))
        self.requests += 1
        rows, count, size, asked_at = self.source.page(Ask(limit, page))
        self.shown |= {row.id for row in rows if row.id >= 0 and row.created >= micros(flow.since)}
        self.meanwhile()
        return Page([wire_row(row) for row in rows], count, size, moment(asked_at) if self.dated else None)

    def download(self, flow: Flow, log_id: int) -> File | None:
        raise NotImplementedError("polls do not download")


class MortalStore(Store):
    """A store whose process dies, by chance, right before or right after a commit."""

    def __init__(self, engine: Engine, owner: str) -> None:
        super().__init__(engine, owner)
        self.dies: Callable[[], bool] = lambda: False
        self.kills = 0

    @contextmanager
    def writing(self, lease: Lease) -> Iterator[Writer]:
        with super().writing(lease) as writer:
            yield writer
            self._perhaps_die()
        self._perhaps_die()

    def _perhaps_die(self) -> None:
        if self.dies():
            self.kills += 1
            raise Killed


@dataclass
class Life:
    """One flow, from its first poll on, under two daemons that take turns and take over from each other."""

    case: Case
    stores: tuple[MortalStore, MortalStore]
    project: str = ""
    rng: random.Random = field(init=False)
    source: Source = field(init=False)
    wire: Wire = field(init=False)
    flow: Flow = field(init=False)
    key: int = field(init=False)
    frontier: int = 0
    busy: bool = False

    def __post_init__(self) -> None:
        rng = self.rng = self.case.rng
        self.source = self.case.source(rng, lengths=(0, 3, 60, 100, 140, 230), lateness=(20, 60))
        self.wire = Wire(self.source, rng, dated=rng.random() < 0.9, failing=rng.choice((0.0, 0.03)))
        since = EPOCH if rng.random() < 0.7 else EPOCH + (self.source.now - EPOCH) // rng.randint(2, 6)
        self.flow = Flow(
            integrator="model",
            project_id=f"{self.case.order} {self.project}",
            project_slug="",
            flow_id=f"{self.case.world} {self.case.seed}",
            name="flow",
            since=moment(since),
            lateness=timedelta(microseconds=self.source.lateness),
        )
        (self.key,) = self.stores[0].register([self.flow]).values()
        for store in self.stores:
            store.dies = self._dies
        self.mortality = rng.choice((0.0, 0.03, 0.15))
        self.wire.meanwhile = self._meanwhile

    def reflow(self, **changes: Any) -> Flow:
        """The flow with other settings, under the same key."""
        return replace(self.flow, **changes)

    def _dies(self) -> bool:
        return self.rng.random() < self.mortality

    def _meanwhile(self) -> None:
        """The other daemon may take over while this one waits for an answer."""
        if not self.busy and self.rng.random() < 0.02:
            self.busy = True
            self.turn()
            self.busy = False

    def live(self, turns: int = 6) -> None:
        """Turns with pauses; then, with nobody killed and nothing failing, everything must be there."""
        for _ in range(turns):
            self.turn()
            self.source.pass_time(self.rng.choice((1.0, 60.0, 600.0)), self.rng.choice((0.0, 1.0, 20.0)))
        self.mortality = self.wire.failing = 0.0
        self.busy = True  # and nobody takes over
        self.wire.shown.clear()
        self.turn()
        unseen = self.wire.shown - self.stored(self.stores[0])
        if unseen:
            raise Missed(f"{len(unseen)} rows were shown and not stored")

    def begin(self, store: Store) -> Turn:
        """A new lease for a daemon, be the last one free or not."""
        lease = None
        while lease is None:  # whoever had the lease has been silent for long enough
            with store.engine.begin() as connection:
                free = text("UPDATE archive.checkpoint SET lease_until = NULL WHERE flow_key = :key")
                connection.execute(free, {"key": self.key})
            lease = store.leases.claim(self.key)
        return Turn(self.flow, lease, self.wire, store, FlowReport(self.flow.name))

    def turn(self) -> FlowReport:
        """One daemon's turn: poll, then history, until nothing is left, it is killed, or it has lost its lease."""
        turn = self.begin(self.rng.choice(self.stores))
        try:
            poll(turn)
            while backfill(turn):
                pass
        except (Killed, LeaseLost, SourceUnavailable, PageUnreadable):
            pass
        finally:
            turn.store.leases.forget(turn.lease)
        self.check(turn.store)
        return turn.report

    def check(self, store: Store) -> Checkpoint:
        """Invariants 1, 4 and 5 of the algorithm: see `Missed`."""
        checkpoint = store.checkpoint(self.key)
        stored = self.stored(store)
        assert (checkpoint.frontier or 0) >= self.frontier, "the frontier went down"
        self.frontier = checkpoint.frontier or 0
        missing = [row for row in self.source.rows if row.id not in stored and self._must(row, checkpoint)]
        if missing:
            raise Missed(f"{len(missing)} of {len(self.source.rows)} rows are missing: {missing[:5]}")
        return checkpoint

    def stored(self, store: Store) -> set[int]:
        with store.engine.begin() as connection:
            rows = connection.execute(text("SELECT log_id FROM archive.run WHERE flow_key = :key"), {"key": self.key})
            ids = [row[0] for row in rows]
        assert len(ids) == len(set(ids))
        return set(ids)

    def _must(self, row: Row, checkpoint: Checkpoint) -> bool:
        """Whether a row that is listed now has to be stored: certified, in time, wanted, and in no recorded gap."""
        created = row.created // 1000 * 1000
        if row.id < 0 or row.seen_from - created > self.source.lateness or created < micros(self.flow.since):
            return False
        in_gap = any(
            micros(gap["from"] or _EPOCH) <= created < (micros(gap["to"]) if gap["to"] else created + SECOND)
            for gap in checkpoint.gaps
        )
        return covers(checkpoint.intervals, created) and not in_gap
