"""Rows 1 to 22 of the catalogue: the walk through a list that moves, and what the checkpoint says of it.

Each test shows that the naive way fails in the same world: by a mutant of the archiver, or by doing it the naive way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from archiver.archive import archive_flow
from archiver.archive.lines import pause
from archiver.archive.poll import _Pass
from archiver.demo.faults import ABSENT, Body, Call, DepthLimit, Field, LimitIgnored, PageIgnored, Status
from archiver.errors import LeaseLost, PageUnreadable
from archiver.logs import LogType, parse_run
from archiver.postgres import DatabaseInterrupted
from archiver.store import Store, Writer, connect, ledger
from archiver.window import Answer, Mark, Outcome, Walk
from tests.faults.crashes import POINTS, killed_at_each_point
from tests.faults.mortal import SIDES, Mortals
from tests.faults.proxy import CommitCut, Proxy
from tests.faults.scene import NOTHING, OTHER, Scene
from tests.test_archive import FLOW, line_log, main_log
from tests.test_window_mutants import MUTANTS, READERS
from tests.walk.model import EPOCH, ORDERS, SECOND, Row, Source, World
from tests.walk.reader import Archive, Case, Missed, Reader

NOW = datetime.now(UTC)


def listed(scene: Scene, count: int, *, every: float = 60.0, first: int = 1, age: float = 3600) -> None:
    """Runs of the past, the newest first."""
    scene.world.insert(FLOW, 1, *(main_log(first + n, age=age + n * every) for n in range(count)))


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The walk without one of its rules, see test_window_mutants."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*MUTANTS[name])
        yield


def missed(cases: Iterable[Case], reader: type[Reader] = Reader) -> Case | None:
    """The first life in which rows are missed that the archive says it has."""
    for case in cases:
        try:
            case.play(reader)
        except Missed:
            return case
        except AssertionError:
            continue  # a mutant need not come to an end
    return None


def lives(orders: Iterable[str], worlds: Iterable[str], seeds: int = 12) -> Iterator[Case]:
    return (Case(order, world, seed) for seed in range(seeds) for order in orders for world in worlds)


def at_page(scene: Scene, number: int, act: Callable[[], object]) -> None:
    """Let something happen before the nth page of main logs is made."""

    def call(_: object) -> None:
        act()

    scene.faults.add(Call(call), path="/logs", log_type=1, nth=[number])


@pytest.mark.parametrize("come", [1, 30, 99])
def test_01_head_insert_while_paging(scene: Scene, come: int) -> None:
    """Rows move to the next page and are read twice, also twice in one page.

    Naive: a multi-row upsert with an id twice is refused (21000), and the page is stuck.
    """
    listed(scene, 250)
    at_page(scene, 2, lambda: listed(scene, come, first=1000, age=60))
    copy = dict(scene.world.rows(FLOW, 1)[3]) | {"state": 2, "status": 1, "finished": None}
    scene.world.insert(FLOW, 1, copy, at=5)  # a shard lags behind
    scene.poll()
    assert scene.poll().errors == []  # what came to the head meanwhile is the next poll's
    assert scene.stored() == scene.shown()
    assert scene.one("SELECT count(*) = count(DISTINCT log_id) FROM archive.run")
    assert scene.one(f"SELECT state FROM archive.run WHERE log_id = {copy['id']}") == 3
    with psycopg.connect(scene.database) as naive:
        naive.execute("CREATE TEMP TABLE naive (id int PRIMARY KEY)")
        with pytest.raises(psycopg.errors.CardinalityViolation):
            naive.execute("INSERT INTO naive VALUES (1), (1) ON CONFLICT (id) DO UPDATE SET id = excluded.id")


class Purge(Source):
    """A quiet list from which `gone` of the newest rows vanish before its request number `at`."""

    def __init__(self, at: int, gone: int) -> None:
        super().__init__("newest", World(), Case("newest", "quiet", 0).rng, length=0)
        for n in range(400):
            self.add(EPOCH + n * 30 * SECOND)
        self.now = EPOCH + 400 * 30 * SECOND
        self.at, self.gone = at, gone

    def pass_time(self, seconds: float, requests: float = 1.0) -> None:
        if self.requests == self.at and self.gone:
            self.remove(sorted(self.rows, key=lambda row: -row.created)[: self.gone])
            self.gone = 0


def test_02_delete_before_the_position() -> None:
    """Every row that goes pulls one over the border between two pages.

    Naive: windows that need not overlap skip as many rows as went, and the checkpoint covers them.
    """

    def skipped(at: int, gone: int) -> bool:
        try:
            Reader(Purge(at, gone), Archive(), Case("newest", "quiet", 1).rng).poll()
        except Missed:
            return True
        return False

    sweep = [(at, gone) for at in (1, 2, 3, 4) for gone in (1, 2, 9, 10, 11, 40, 41, 99, 100, 150)]
    assert not [place for place in sweep if skipped(*place)]
    with mutated("windows need not overlap"):
        assert sum(skipped(*place) for place in sweep) > 10


def test_03_unstable_ties() -> None:
    """Rows of one time change places, so that one of them is on neither of two neighbouring pages.

    Naive: a shared row of that same time is believed to link the pages.
    """
    cases = list(lives(["unstable", "oldest-unstable"], ["ties"], 40))
    with mutated("ties link"):
        case = missed(cases)
    assert case is not None
    case.play()


def test_04_equal_created_at_the_frontier(scene: Scene) -> None:
    """A run comes late, with just the frontier's time.

    Naive: `created > frontier` drops it, and the frontier moves on over it.
    """
    listed(scene, 30)
    scene.poll()
    frontier = scene.frontier()
    assert frontier is not None
    age = (datetime.now(UTC) - frontier).total_seconds()
    row = main_log(777, age=age) | {"created": str(int(frontier.timestamp() * 1000))}
    scene.world.insert(FLOW, 1, row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Pass, "window", _naive_only_newer(_Pass.window))
        scene.poll()
        assert 777 not in scene.stored()
        assert scene.falsely_complete() == {777}
    scene.poll()
    assert scene.stored() == scene.shown()


def _naive_only_newer(window: Any) -> Any:
    put_runs = Writer.put_runs

    def mutant(self: Any, walk: Walk) -> Walk:
        frontier = self.checkpoint.frontier

        def newer(writer: Writer, runs: Any) -> Any:
            moments = {run.log_id: datetime.fromisoformat(str(run.created)).timestamp() * 1e6 for run in runs}
            return put_runs(writer, [run for run in runs if moments[run.log_id] > frontier])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Writer, "put_runs", newer)
            return window(self, walk)  # type: ignore[no-any-return]

    return mutant


@pytest.mark.parametrize("late", [100.0, 500.0, 1000.0])
def test_05_late_rows(scene: Scene, late: float) -> None:
    """A run shows up late: within the lateness (600 s) it is awaited; later than that it is found, and said.

    Naive: the frontier is the pass's own moment, so that a row below it is never looked for again.
    """
    listed(scene, 1200, every=1.0, age=1.0)
    naive = timedelta(0)
    scene.poll(lateness=naive)
    scene.world.insert(FLOW, 1, main_log(9000, age=late), at=int(late))
    scene.poll(lateness=naive)
    assert scene.falsely_complete() == {9000}
    scene.restore(NOTHING)
    scene.world.delete(FLOW, 1, 9000)
    scene.poll()
    scene.world.insert(FLOW, 1, main_log(9000, age=late), at=int(late))
    report = scene.poll()
    assert scene.falsely_complete() == set()
    assert 9000 in scene.stored()
    assert report.late == (late > 600)


@pytest.mark.parametrize("naive", ["frontier from the greatest created", "frontier from the local clock"])
def test_06_where_the_frontier_comes_from(naive: str) -> None:
    """The signpost is the `Date` of the pass's first answer, less the lateness.

    Naive: the greatest `created` that was seen, or a clock at the end of the pass: rows that come late are below it.
    """
    cases = list(lives(ORDERS, ["late", "inserts", "mixed"]))
    if naive in READERS:
        case = missed(cases, READERS[naive])
    else:
        with mutated(naive):
            case = missed(cases)
    assert case is not None
    case.play()


def test_07_a_page_of_known_rows_is_not_the_last(scene: Scene) -> None:
    """The first page was stored and the process killed: what lies behind it is still to be read.

    Naive: the walk ends at a page without a new row, and is believed.
    """
    listed(scene, 250)
    rule = scene.faults.add(Status(500), path="/logs", log_type=1, nth=range(2, 12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.client._wire, "_wait", lambda _: None)
        assert scene.poll().errors
    scene.faults.remove(rule)
    assert len(scene.stored()) == 100
    scene.restore(NOTHING)  # what was under way is forgotten
    with mutated("a page of known rows ends the walk"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Walk, "ordered", property(lambda _: True))
        patch.setattr(Walk, "_seam", property(lambda _: 0))
        scene.poll()
        assert len(scene.falsely_complete()) == 150
    scene.restore(NOTHING)
    scene.poll()
    assert scene.stored() == scene.shown()


@pytest.mark.parametrize("order", ORDERS)
def test_08_any_order(order: str) -> None:
    """The order is found out, and revoked where it does not hold.

    Naive: newest first is taken for granted, and a walk that has reached the frontier ends (`oldest`, `arbitrary`).
    """
    assert missed(lives([order], ["inserts", "late"], 4)) is None
    if order in ("oldest", "arbitrary"):
        with mutated("every list is newest first"):
            assert missed(lives([order], ["inserts", "late", "deletes", "mixed"], 20)) is not None


def test_08_the_order_changes_after_it_was_learnt(scene: Scene) -> None:
    """The first page shows what came together long ago, all of it known: not the newer end of the list any more.

    Naive: nothing old is missing on the page, so that nothing new is listed.
    """
    listed(scene, 130, every=0.01, age=90_000)
    listed(scene, 200, first=201, every=300)
    scene.poll()
    assert (
        scene.one(f"SELECT source ->> 'order' FROM archive.checkpoint WHERE flow_key = {scene.key}") == "newest first"
    )
    scene.poll()
    scene.world.rows(FLOW, 1).reverse()
    scene.world.insert(FLOW, 1, *(main_log(500 + n, age=700 - n) for n in range(10)), at=330)
    before = scene.save()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Walk, "_sees_head", property(lambda _: True))
        assert scene.poll().errors == []
        assert len(scene.falsely_complete()) == 10
    scene.restore(before)
    scene.poll()
    assert scene.stored() == scene.shown()


def test_where_the_newest_row_has_gone_more_than_a_page_is_read_once(scene: Scene) -> None:
    listed(scene, 330)
    for _ in range(2):
        scene.poll()
    scene.world.delete(FLOW, 1, *range(1, 31))
    requests = []
    for _ in range(3):
        asked = scene.client.requests
        scene.poll()
        requests.append(scene.client.requests - asked)
    assert 1 < requests[0] < 10  # until the order has shown itself anew
    assert requests[1:] == [1, 1]


def test_09_source_purged_past_our_frontier(scene: Scene) -> None:
    """While nobody read, the source dropped rows that nobody had seen: a gap, by name, and an alarm.

    Naive: it goes on behind the hole and is green.
    """
    listed(scene, 5, age=60)
    scene.poll()
    with scene.store.engine.begin() as connection:  # the last good poll was two days ago
        connection.exec_driver_sql("UPDATE archive.checkpoint SET frontier = frontier - interval '2 days'")
        connection.exec_driver_sql("UPDATE archive.run SET created = created - interval '2 days'")
    before = scene.save()
    scene.world.delete(FLOW, 1, 1, 2, 3, 4, 5)
    scene.world.insert(FLOW, 1, main_log(9, age=30))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Pass, "_note_purged", lambda *_: None)
        assert scene.poll().errors == []
        assert scene.gaps() == []
    scene.restore(before, without=9)
    assert "dropped" in scene.poll().errors[0]
    (gap,) = scene.gaps()
    assert gap["from"] < gap["to"]


def test_09_retention_became_shorter_while_nobody_read(scene: Scene) -> None:
    """What was listed before at an age says nothing of today, where a row that should be listed is not."""
    scene.world.insert(FLOW, 1, main_log(1, age=60), main_log(2, age=60.5 * 86_400))
    scene.poll()
    days = f"SELECT (source ->> 'retention')::bigint / 86400000000 FROM archive.checkpoint WHERE flow_key = {scene.key}"
    assert scene.one(days) == 60
    with scene.store.engine.begin() as connection:  # the last good poll was ten days ago
        connection.exec_driver_sql("UPDATE archive.checkpoint SET frontier = frontier - interval '10 days'")
        connection.exec_driver_sql("UPDATE archive.run SET created = created - interval '10 days'")
    scene.world.delete(FLOW, 1, 1, 2)
    scene.world.insert(FLOW, 1, main_log(9, age=60), main_log(8, age=3.5 * 86_400))
    assert "dropped" in scene.poll().errors[0]
    (gap,) = scene.gaps()
    assert gap["from"] < gap["to"]
    assert scene.one(days) == 3


def test_10_404_where_rows_existed(scene: Scene) -> None:
    """An empty list of a flow that had rows is suspicious: the frontier stays, the turn fails. A flow that never had
    any is told of, and nothing is certified.

    Naive: 404 is an empty list, and all is well, for ever.
    """
    assert "is the flow's id right" in scene.poll().notes[0]
    assert scene.frontier() is None
    scene.world.insert(FLOW, 1, main_log(1, age=60), main_log(2, age=86400 * 3))
    scene.turn()
    before = scene.frontier()
    scene.faults.add(Status(404), path="/logs", log_type=1, page=1)
    assert "suddenly empty" in scene.turn().errors[0]
    assert scene.frontier() == before
    state = f"SELECT failures_in_a_row, last_error IS NOT NULL FROM archive.checkpoint WHERE flow_key = {scene.key}"
    assert scene.all(state) == [(1, True)]
    scene.world.insert(FLOW, 1, main_log(3, age=700))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Pass, "_empty", lambda one, writer, walk: one._cover(writer, walk.floor, walk.settled, walk))
        assert scene.poll().errors == []
        assert scene.falsely_complete() == {3}


def test_11_page_or_limit_ignored(scene: Scene) -> None:
    """A page number that changes nothing ends the pass, uncertified; pages whose borders nothing moves are read twice.

    Naive: pages until one is short: it never is.
    """
    listed(scene, 250)
    rule = scene.faults.add(PageIgnored(), path="/logs")
    naive = (scene.client.list_logs(scene.flow, LogType.MAIN, limit=100, page=n) for n in range(1, 200))
    assert all(len(page.rows) == 100 for page in naive)  # so it would be for ever
    report = scene.poll()
    assert report.requests < 30
    assert any("could not be read for certain" in error for error in report.errors)
    assert len(scene.stored()) == 100
    assert scene.falsely_complete() == set()
    scene.faults.remove(rule)
    scene.restore(NOTHING)
    scene.faults.add(LimitIgnored(25), path="/logs")
    assert scene.poll().requests < 30
    assert scene.stored() == scene.shown()
    assert scene.falsely_complete() == set()


def test_10_an_outage_of_a_flow_with_one_run_is_not_taken_for_age(scene: Scene) -> None:
    """What was listed a minute ago has hardly aged out of the list since: only a day later that is believed."""
    scene.world.insert(FLOW, 1, main_log(1, age=60))
    scene.poll()
    scene.faults.add(Status(404), path="/logs", log_type=1)
    gone = "UPDATE archive.run SET created = created - interval '{}'"
    for span, errors in (("5 minutes", 1), ("23 hours", 1), ("1 hour", 0)):
        with scene.store.engine.begin() as connection:
            connection.exec_driver_sql(gone.format(span))
        assert len(scene.poll().errors) == errors, span
    scene.faults.clear()  # the next week: by now it is known that this source drops what is old
    scene.world.insert(FLOW, 1, main_log(2, age=30))  # younger than what was seen, however long a poll takes
    scene.world.delete(FLOW, 1, 1)
    assert scene.poll().errors == []
    scene.faults.add(Status(404), path="/logs", log_type=1)
    assert "suddenly empty" in scene.poll().errors[0]
    with scene.store.engine.begin() as connection:
        connection.exec_driver_sql(gone.format("2 days"))
    assert scene.poll().errors == []


@pytest.mark.parametrize("place", [0, 1])
def test_43_a_time_that_cannot_be_makes_no_run_late_and_no_order(scene: Scene, place: int) -> None:
    listed(scene, 40, every=3600)
    scene.poll()
    odd = main_log(99, age=700) | {"created": str(1_700_000_000)}
    scene.world.insert(FLOW, 1, odd, at=place * 40)
    for _ in range(2):
        report = scene.poll()
        assert (report.errors, report.late) == ([], 0)
    learnt = scene.one(f"SELECT source FROM archive.checkpoint WHERE flow_key = {scene.key}")
    assert (learnt["lateness"], learnt["order"] != "arbitrary") == (0, True)
    assert learnt["retention"] < 3 * 86_400 * SECOND
    assert scene.stored() == scene.shown()


@pytest.mark.parametrize("age", [0, 1_700_000_000])
def test_43_a_time_that_cannot_be_is_no_place_in_the_list(scene: Scene, age: int) -> None:
    """Seconds in place of milliseconds are a day of 1970: the run is kept, and the walk goes on behind it.

    Naive: the list is in order and has come to 1970, so that it ends here.
    """
    listed(scene, 150)
    scene.poll()
    listed(scene, 120, first=201, age=700)
    scene.world.update(FLOW, 1, 300, created=str(age))
    assert scene.poll().errors == []
    assert scene.stored() == scene.shown()
    assert scene.falsely_complete() == set()


@pytest.mark.parametrize("count", [None, ABSENT, 0, 3, 99, 10**12, -1, "many", 2.5])
def test_12_count_null_or_wrong(scene: Scene, count: object) -> None:
    """`count` is evidence, and never the reason to stop.

    Naive: as many pages as `count` says.
    """
    listed(scene, 230)
    scene.faults.add(Field("count", count), path="/logs", log_type=1)
    page = scene.client.list_logs(scene.flow, LogType.MAIN, limit=100, page=1)
    naive = (page.count or 0) // 100 + 1
    assert scene.poll().requests < 40
    assert scene.stored() == scene.shown()
    assert scene.frontier() is not None
    assert naive != 3


@pytest.mark.parametrize("status", [400, 500])
def test_13_depth_limit(scene: Scene, status: int) -> None:
    """The source lists no deeper than 200 rows: a gap, said once and kept on record.

    Naive: the error is taken for the end of the list, and all is certified.
    """
    listed(scene, 320, every=600)
    scene.faults.add(DepthLimit(rows=200, status=status), path="/logs", log_type=1)

    def believes(one: _Pass, walk: Walk, *_: object) -> Walk:
        ended = replace(walk, outcome=Outcome.ENDED)
        with one.turn.store.writing(one.turn.lease) as writer:
            one._write(writer, ended)
        return ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.client._wire, "_wait", lambda _: None)
        # One 500 may pass: the limit is believed when it shows several times.
        errors = [error for _ in range(3) for error in scene.poll().errors]
        assert sum("no further" in error for error in errors) == 1
        (gap,) = scene.gaps()
        assert "depth_limited" in gap["reason"]
        assert len(scene.stored()) >= 150
        assert scene.falsely_complete() == set()
        assert scene.poll().errors == []
        scene.restore(NOTHING)
        patch.setattr(_Pass, "_too_deep", believes)
        scene.poll()
        assert len(scene.falsely_complete()) > 50


@pytest.mark.parametrize("times", [1, 2])
def test_13_one_refusal_of_a_deep_page_is_no_limit(scene: Scene, times: int) -> None:
    """A gateway that refuses once: history goes on where it was."""
    listed(scene, 420, every=600)
    refusal = scene.faults.add(Status(400), path="/logs", log_type=1, page=4)
    for _ in range(times):
        assert scene.poll().errors
    scene.faults.remove(refusal)
    assert scene.poll().errors == []
    assert scene.gaps() == []
    assert scene.stored() == scene.shown()


def test_13_a_limit_that_has_gone_is_forgotten_by_a_repair(scene: Scene) -> None:
    listed(scene, 320, every=600)
    limit = scene.faults.add(DepthLimit(rows=200, status=400), path="/logs", log_type=1)
    for _ in range(4):
        scene.poll()
    assert len(scene.gaps()) == 1
    scene.faults.remove(limit)
    scene.poll()
    assert len(scene.stored()) < 320
    lease = scene.store.leases.claim(scene.key)
    assert lease is not None
    with scene.store.mending(lease) as mending:
        assert mending.remember() > 0
    scene.store.leases.release(lease)
    scene.poll()
    assert scene.gaps() == []
    assert scene.stored() == scene.shown()


def test_14_a_run_changes_after_it_was_archived(scene: Scene) -> None:
    """A run that had not finished is asked for by its name until it has.

    Naive: polls look at what is newer only, and the run stays as it was first seen.
    """
    listed(scene, 120, first=100, age=86_400)
    listed(scene, 3)
    scene.world.update(FLOW, 1, 150, state=2, status=1, finished=None)
    scene.poll()
    scene.world.update(FLOW, 1, 150, state=3, status=3, fail_count=7, finished="1700000000000")
    scene.poll()
    assert scene.one("SELECT state FROM archive.run WHERE log_id = 150") == 2
    with scene.store.engine.begin() as connection:  # the others are no matter here
        connection.exec_driver_sql("UPDATE archive.run SET visit_at = NULL WHERE log_id <> 150")
    scene.turn()
    assert scene.all("SELECT state, status, fail_count FROM archive.run WHERE log_id = 150") == [(3, 3, 7)]


def test_15_a_run_never_finishes_or_vanishes(scene: Scene) -> None:
    """It holds nothing back, is listed by name, and is asked for ever more rarely: stuck after a week, lost when it is
    shown no more, twice in a row; and it may come back.

    Naive: it is asked for at every poll of twenty seconds, 30,240 times a week.
    """
    scene.world.insert(FLOW, 1, main_log(1, state=2, status=1), main_log(2, age=4000, state=1, status=1))
    scene.turn()
    frontier = scene.frontier()
    assert frontier is not None
    assert scene.one(f"SELECT open_runs FROM reporting.archive_health WHERE flow_key = {scene.key}") == 2
    scene.world.delete(FLOW, 1, 2)
    scene.turn()
    assert scene.states()[2] == "open"  # one 404 proves little
    scene.turn()
    assert scene.states() == {1: "open", 2: "lost"}
    scene.sooner(8 * 86_400)
    scene.turn()
    assert scene.states() == {1: "stuck", 2: "lost"}
    assert (
        scene.one("SELECT round(extract(epoch FROM visit_at - now()) / 3600)::int FROM archive.run WHERE log_id = 1")
        == 24
    )
    scene.world.insert(FLOW, 1, main_log(2, age=4000))
    scene.turn()
    assert scene.states()[2] == "sealed"
    week, asked = 0.0, 0
    while week < 7 * 86_400:
        week, asked = week + pause(asked), asked + 1
    assert asked < 200 < 7 * 86_400 / pause(0) == 30_240


def test_16_a_slow_reader_writes_an_older_copy(scene: Scene) -> None:
    """Daemon A has read a run in progress and is slow; daemon B takes over and stores it finished; A comes back.

    Naive: without the guard the last writer wins, and the run is in progress again.
    """
    old = main_log(1, state=2, status=1)
    slow = scene.store.leases.claim(scene.key)
    assert slow is not None
    other = Store(connect(scene.database), "other")
    with scene.store.engine.begin() as connection:  # A was silent for longer than a lease lasts
        connection.exec_driver_sql("UPDATE archive.checkpoint SET lease_until = now() - interval '1 s'")
    lease = other.leases.claim(scene.key)
    assert lease is not None
    new = main_log(1)
    with other.writing(lease) as writer:
        writer.put_runs([parse_run(new)])
    with pytest.raises(LeaseLost), scene.store.writing(slow) as writer:
        writer.put_runs([parse_run(old)])
    with other.writing(lease) as writer:  # and where the lease is one's own: an older answer that was long under way
        writer.put_runs([parse_run(old)])
    assert scene.all("SELECT state, status FROM archive.run") == [(3, 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "rank", lambda _: 0)
        naive = ledger._TARGETS[LogType.MAIN]._replace(guard="true")
        patch.setitem(ledger._TARGETS, LogType.MAIN, naive)
        with other.writing(lease) as writer:
            writer.put_runs([parse_run(old)])
    assert scene.all("SELECT state, status FROM archive.run") == [(2, 1)]
    other.close()


@pytest.mark.parametrize("side", SIDES)
def test_17_killed_around_each_commit(scene: Scene, side: str) -> None:
    """SIGKILL before, during and after each of the first sixteen commits of a turn, one life after the other.

    Naive: the state of the pass is committed apart from its rows; killed in between, the rows are believed stored.
    """
    points = [point for point in POINTS if point[0] == side]
    with Mortals(scene.folder / "scene.yaml", scene.database) as mortals:
        killed_at_each_point(scene, mortals, points, f"17 {side}")
        if side == "after":
            scene.world.insert(FLOW, 1, main_log(9999, age=900), at=10**6)
            assert mortals.live(side, 1, "state-first")
            assert scene.falsely_complete()


@pytest.mark.parametrize("nth", range(1, 9))
@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "commit lost"])
def test_18_the_answer_to_a_commit_is_lost(scene: Scene, nth: int, arrives: bool) -> None:
    """Nobody knows whether it was committed: doing it again changes nothing.

    Naive: an INSERT that is tried again after an error is there twice.
    """
    listed(scene, 3)
    scene.world.insert(FLOW, 1, main_log(500, status=3, age=60))
    scene.world.insert(FLOW, 3, *(line_log(n, 500) for n in range(150)))
    where = urlsplit(scene.database)
    toxic = CommitCut(nth, arrives)
    with Proxy((str(where.hostname), where.port or 5432), toxic) as proxy:
        dsn = where._replace(netloc=where.netloc.rpartition(":")[0] + f":{proxy.port}").geturl()
        cut = Store(connect(dsn), "cut")
        with suppress(DatabaseInterrupted):
            lease = cut.leases.claim(scene.key)
            assert lease is not None
            assert archive_flow(scene.flow, scene.client, cut, lease, eager=True).errors
        cut.close()
        assert toxic.cut
        if nth == 1 and arrives:
            naive = f"{dsn}?application_name=naive"
            toxic.nth = toxic.seen + 1
            with psycopg.connect(scene.database, autocommit=True) as direct:
                direct.execute("CREATE TABLE public.naive (id int)")
                for _ in range(2):
                    try:
                        with psycopg.connect(naive) as connection:
                            connection.execute("INSERT INTO public.naive VALUES (1)")
                        break
                    except psycopg.OperationalError:
                        continue
                assert direct.execute("SELECT count(*) FROM public.naive").fetchone() == (2,)
    with scene.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE archive.checkpoint SET lease_until = NULL")
    assert scene.turn().errors == []
    assert scene.stored() == scene.shown()
    assert scene.one("SELECT count(*) FROM archive.line") == 150
    assert scene.one("SELECT line_count FROM archive.run WHERE log_id = 500") == 150
    assert set(scene.states().values()) == {"sealed"}


def test_19_very_many_rows_of_one_time() -> None:
    """The state of a pass over 100,000 rows of one time stays small; the tie is not chained, but walked twice.

    Naive: the ids that were seen at the boundary are kept in the state: a megabyte.
    """
    source = Source("newest", World(), Case("newest", "quiet", 3).rng, length=0)
    source.now = EPOCH + 10**9 * SECOND
    source.rows = [Row(n, EPOCH, EPOCH, n) for n in range(100_000)]
    walk, largest, seen = Walk.begin(lateness=SECOND, floor=0), 0, set[int]()
    while walk.outcome is Outcome.GOING:
        ask = walk.ask()
        rows = source.rows_of(ask)
        seen |= {row.id for row in rows}
        answer = Answer([Mark(row.id, row.created) for row in rows], 100_000, None)
        walk = walk.take(ask, answer, frozenset(), source.now)
        largest = max(largest, len(json.dumps(walk.to_json())))
    assert walk.certified
    assert len(seen) == 100_000
    assert largest < 20_000
    assert len(json.dumps(sorted(seen))) > 500_000


def test_20_a_crash_between_a_run_and_its_lines(scene: Scene) -> None:
    """What a run owes is written with the run: killed after that commit, the next life reads the lines.

    Naive: the process alone knows what is still to be read, and takes it with it.
    """
    ours, naive = 1, 2
    with Mortals(scene.folder / "scene.yaml", scene.database) as mortals:
        for run, way in ((ours, "-"), (naive, "no-obligation")):
            scene.world.insert(FLOW, 1, main_log(run, age=700 - run))
            scene.world.insert(FLOW, 3, *(line_log(1000 * run + n, run) for n in range(5)))
            assert mortals.live("after", 1, way)
            assert scene.states()[run] == ("pending" if run == ours else "sealed")
            mortals.live()
        count = "SELECT count(*) FROM archive.line WHERE original_filename_uuid = 'run-{}'"
        assert scene.one(count.format(ours)) == 5
        assert scene.one(count.format(naive)) == 0


def test_21_lines_that_come_after_the_end(scene: Scene) -> None:
    """A run is sealed when it has settled and its lines are as many as the source counts then.

    Naive: the first complete answer after the run's end is taken for all of it: 1 line of 231.
    """
    scene.world.insert(FLOW, 1, main_log(1))
    scene.world.insert(FLOW, 3, line_log(10, 1))
    scene.turn(settle=timedelta(hours=1))
    assert scene.states() == {1: "settling"}
    assert scene.one("SELECT count(*) FROM archive.line") == 1  # where the naive way ends
    scene.world.insert(FLOW, 3, *(line_log(number, 1) for number in range(20, 250)))
    scene.sooner()
    scene.turn(settle=timedelta(hours=1))
    assert scene.states() == {1: "sealed"}
    assert scene.one("SELECT count(*) FROM archive.line") == 231
    scene.world.insert(FLOW, 3, line_log(999, 1))  # and a day later once more
    scene.sooner()
    scene.turn()
    assert scene.one("SELECT count(*) FROM archive.line") == 232


def test_22_one_flow_is_poisoned(scene: Scene) -> None:
    """A flow whose list cannot be read, and rows that cannot be stored, stop nothing else.

    Naive: a loop over the flows ends with the first that raises.
    """
    poisoned, healthy = scene.config.flows
    scene.faults.add(Body(b"<html>busy</html>"), path="/logs", flow_id=poisoned.flow_id)
    scene.world.insert(OTHER, 1, main_log(1), main_log(2, age=3700, id="no number"))
    archived: list[str] = []
    with suppress(PageUnreadable):
        for flow in scene.config.flows:
            scene.client.list_logs(flow, LogType.MAIN, limit=10, page=1)
            archived.append(flow.name)
    assert archived == []
    keys = scene.store.register(scene.config.flows)
    reports = {}
    for flow in scene.config.flows:
        lease = scene.store.leases.claim(keys[flow])
        assert lease is not None
        reports[flow.name] = archive_flow(flow, scene.client, scene.store, lease, eager=True)
    assert "is not JSON" in reports[poisoned.name].errors[0]
    assert scene.all("SELECT flow_key, log_id FROM archive.run") == [(keys[healthy], 1)]
    ((row, reason),) = scene.all("SELECT source::jsonb ->> 'id', reason FROM archive.quarantine")
    assert (row, reason) == ("no number", "it has no usable id and created")
