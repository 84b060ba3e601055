"""Polls and backfill into a real Postgres: what the checkpoint says is there, is there, whoever is killed when.

`ARCHIVER_SEEDS=40 pytest tests/test_poll.py` lives more lives; the case that a failure names follows from its seed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from archiver.archive.poll import Learnt, _Pass, backfill, poll
from archiver.logs import micros
from archiver.store import Checkpoint, Put, Writer, connect, migrate
from archiver.window import Interval, Order, Walk
from tests.walk.daemon import Life, MortalStore, moment
from tests.walk.model import EPOCH, ORDERS, WORLDS, Manners
from tests.walk.reader import Case, Missed

Stores = tuple[MortalStore, MortalStore]

SEEDS = int(os.environ.get("ARCHIVER_SEEDS", "6"))


@pytest.fixture(scope="module")
def stores(postgres: str) -> Iterator[Stores]:
    """Two daemons' stores on one database, which all lives share: each has a flow of its own."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE lives")
    dsn = urlsplit(postgres)._replace(path="/lives").geturl()
    engine = connect(dsn)
    migrate(engine)
    pair = MortalStore(engine, "one"), MortalStore(connect(dsn), "two")
    yield pair
    for store in pair:
        store.close()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE lives WITH (FORCE)")


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("order", ORDERS)
def test_what_is_certified_is_stored(stores: Stores, order: str, world: str) -> None:
    for seed in range(SEEDS):
        case = Case(order, world, seed)
        try:
            Life(case, stores).live()
        except BaseException as exc:
            exc.add_note(f"Life({case}, stores).live() lives it again")
            raise


# --- one behaviour at a time ---


def _calm(stores: Stores, order: str, world: str = "quiet", seed: int = 1000, length: int = 600) -> Life:
    """A life without deaths and failures."""
    life = Life(Case(order, world, seed), stores)
    life.mortality = life.wire.failing = 0.0
    life.busy = life.wire.dated = True  # nobody takes over
    life.source.manners = Manners()
    life.source.lateness = 60_000_000
    life.flow = life.reflow(since=moment(EPOCH), lateness=timedelta(minutes=1))
    life.source.rows.clear()
    life.source.grow(length)
    return life


def _checkpoint(life: Life) -> Checkpoint:
    return life.stores[0].checkpoint(life.key)


@pytest.mark.parametrize("order", ORDERS)
def test_everything_is_certified_in_one_turn(stores: Stores, order: str) -> None:
    life = _calm(stores, order)
    life.turn()
    checkpoint = _checkpoint(life)
    assert checkpoint.frontier is not None
    assert checkpoint.intervals == (Interval(EPOCH, checkpoint.frontier),)
    assert (checkpoint.walk, checkpoint.backfill) == (None, None)
    assert life.stored(stores[0]) == {row.id for row in life.source.rows}


@pytest.mark.parametrize("order", ["newest", "unstable", "insertion"])
def test_an_idle_poll_is_one_request(stores: Stores, order: str) -> None:
    life = _calm(stores, order, seed=1001)
    life.turn()
    life.source.pass_time(600.0)
    before = life.wire.requests
    life.turn()
    assert life.wire.requests == before + 1


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_the_first_poll_of_a_long_list_leaves_history_to_the_backfill(stores: Stores, order: str) -> None:
    life = _calm(stores, order, seed=1002, length=900)
    turn = life.begin(stores[0])
    poll(turn)
    checkpoint = life.check(stores[0])
    assert checkpoint.backfill
    assert checkpoint.intervals[0].start > EPOCH
    poll(turn)
    assert life.check(stores[0]).backfill  # a poll leaves it alone
    while backfill(turn):
        life.check(stores[0])
    assert _checkpoint(life).intervals == (Interval(EPOCH, _checkpoint(life).frontier or 0),)


def test_an_order_that_was_revoked_stays_revoked(stores: Stores) -> None:
    life = _calm(stores, "newest", seed=1003, length=900)
    turn = life.begin(stores[0])
    poll(turn)
    learnt = replace(Learnt.from_json(_checkpoint(life).source), order=Order.ARBITRARY)
    with stores[0].writing(turn.lease) as writer:
        writer.save_source(learnt.to_json())
    assert not backfill(turn)  # it had believed in the order
    poll(turn)
    checkpoint = life.check(stores[0])
    assert checkpoint.source["order"] == Order.ARBITRARY
    assert checkpoint.intervals[0].start == EPOCH


def test_history_of_a_list_that_is_suddenly_empty_ends_the_turn(stores: Stores) -> None:
    life = _calm(stores, "newest", seed=1004, length=900)
    turn = life.begin(stores[0])
    poll(turn)
    life.source.rows.clear()
    assert not backfill(turn)
    assert not backfill(turn)
    assert "suddenly empty" in turn.report.errors[0]


def test_a_row_in_quarantine_is_no_late_one_and_keeps_no_poll_going(stores: Stores) -> None:
    life = _calm(stores, "newest", seed=1005)
    rows = life.source.rows
    rows.insert(20, replace(rows[20], id=-1))
    life.turn()
    before = life.wire.requests
    assert life.turn().late == 0
    assert life.wire.requests == before + 1


def test_a_late_row_raises_the_lateness(stores: Stores) -> None:
    life = _calm(stores, "newest", seed=1006)
    life.turn()
    late = life.source.add(life.source.now - 150_000_000)
    assert life.turn().late == 1
    assert late.id in life.stored(stores[0])
    assert _checkpoint(life).source["lateness"] > 60_000_000


# --- without these, rows are missed ---


def _state_first(window: Any) -> Any:
    def mutant(self: Any, walk: Walk) -> Walk:
        later: list[Any] = []
        self.turn.source.meanwhile = lambda: None  # the other daemon is none of this mutant

        def defer(_: Writer, runs: Any) -> Put:
            later.extend(runs)
            return Put()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Writer, "put_runs", defer)
            walk = window(self, walk)
        with self.turn.store.writing(self.turn.lease) as writer:
            writer.put_runs(later)
        return walk

    return mutant


def _only_newer(window: Any) -> Any:
    def mutant(self: Any, walk: Walk) -> Walk:
        put_runs, frontier = Writer.put_runs, self.checkpoint.frontier or 0
        self.turn.source.meanwhile = lambda: None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                Writer,
                "put_runs",
                lambda writer, runs: put_runs(writer, [r for r in runs if micros(r.created) > frontier]),
            )
            return window(self, walk)  # type: ignore[no-any-return]

    return mutant


def _local_clock(_: Any) -> Any:
    return lambda self, page, marks: micros(page.signpost) + 10**9 if page.signpost else 10**18


def _new_signpost(resumed: Any) -> Any:
    def mutant(state: Any, learnt: Learnt) -> Walk | None:
        return resumed(state and {**state, "signpost": None}, learnt)  # type: ignore[no-any-return]

    return mutant


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "rows apart from the state": (_Pass, "window", _state_first),
    "greater than, at the boundary": (_Pass, "window", _only_newer),
    "frontier from the local clock": (_Pass, "_signpost", _local_clock),
    "a new signpost on resume": (sys.modules[poll.__module__], "_resumed", _new_signpost),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(stores: Stores, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, mutate = MUTANTS[name]
    cases = [Case(order, world, seed) for seed in range(2000, 2008) for order in ORDERS for world in ("late", "mixed")]
    with monkeypatch.context() as patch:
        patch.setattr(owner, attribute, mutate(getattr(owner, attribute)))
        caught = next((case for case in cases if _misses(case, stores, f"mutated: {name}")), None)
    assert caught is not None
    sound = Case(caught.order, caught.world, caught.seed)
    assert not _misses(sound, stores, f"sound: {name}")


def _misses(case: Case, stores: Stores, project: str) -> bool:
    """Whether a life of its own, told apart by `project`, misses rows."""
    life = Life(case, stores, project)
    try:
        life.live()
    except Missed:
        return True
    return False
