"""Any number of processes on one archive: what they may send adds up to no more than one may, whatever dies when."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from archiver.client.pace import Rate
from archiver.store import Store, connect, migrate, shares
from archiver.store.shares import Share
from tests.system.story import Story, small_flows, told
from tests.test_daemon import daemon

URL = "https://integrator.example.com"


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = connect(database, pool_size=20)
    migrate(engine)
    yield engine
    engine.dispose()


def test_one_process_has_all_of_it_and_two_have_half_each(engine: Engine) -> None:
    first, second = Share(engine, URL, "one:1"), Share(engine, URL, "two:1")
    assert first.fraction() == 1.0
    assert second.fraction() == 0.0  # until the first one knows of it
    first.keep()
    assert first.fraction() == 0.5
    second.keep()
    assert second.fraction() == 0.5
    third = Share(engine, "https://another.example.com", "two:2")
    assert third.fraction() == 1.0
    second.let_go()
    first.keep()
    assert first.fraction() == 1.0


def test_what_the_dead_held_is_free_when_its_time_is_up(engine: Engine) -> None:
    dead, alive = Share(engine, URL, "dead:1"), Share(engine, URL, "alive:1")
    assert dead.fraction() == 1.0
    assert alive.fraction() == 0.0
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE archive.rate_share SET held_until = now() WHERE owner = 'dead:1'")
    alive.keep()
    assert alive.fraction() == 1.0
    Share(engine, URL, "third:1").fraction()
    assert _rows(engine) == ["alive:1", "third:1"]  # the row of the dead is used again


def test_a_share_that_cannot_be_renewed_ends(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "SECONDS", shares.MARGIN + 0.3)
    share = Share(engine, URL, "one:1")
    assert share.fraction() == 1.0
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE archive.rate_share RENAME TO gone")
    share.keep()
    deadline = time.monotonic() + 30
    while share.fraction() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert share.fraction() == 0.0


def test_the_fractions_never_add_up_to_more_than_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processes come, go and die at random; each holds to what it was told."""
    monkeypatch.setattr(shares, "SECONDS", 1.5)
    monkeypatch.setattr(shares, "MARGIN", 0.5)
    monkeypatch.setattr(shares, "IDLE", 0.2)
    stop = threading.Event()
    alive: dict[int, Share] = {}
    most: list[float] = []

    def live(number: int) -> None:
        chance, lives = random.Random(number), 0
        while not stop.is_set():
            lives += 1
            share = alive[number] = Share(engine, URL, f"{number}:{lives}")
            for _ in range(chance.randrange(3, 15)):
                share.fraction()
                stop.wait(chance.random() * 0.05)
                share.keep()
            if chance.random() < 0.5:
                share.let_go()  # else it dies, and its row ends by itself

    def held(share: Share) -> float:
        return share._fraction if time.monotonic() < share._until else 0.0

    threads = [threading.Thread(target=live, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        # Read one after the other: a share that was handed on in between may be seen twice, which is told apart by
        # looking again.
        sums = [sum(held(share) for share in list(alive.values())) for _ in range(3)]
        most.append(min(sums))
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    assert max(most) <= 1.0 + 1e-9
    assert max(most) > 0.5


def test_less_of_the_rate_spaces_requests_further_apart() -> None:
    rate = Rate(10)
    assert [round(rate.reserve(0.0), 6) for _ in range(3)] == [0.0, 0.1, 0.2]
    assert [round(rate.reserve(0.2, 0.5), 6) for _ in range(3)] == [0.2, 0.4, 0.6]
    assert [round(rate.reserve(5.0, 1.0), 6) for _ in range(3)] == [0.0, 0.1, 0.2]


@pytest.mark.slow
def test_two_daemons_send_no_more_than_one_may_and_take_over(postgres: str, database: str, tmp_path: Path) -> None:
    """Real processes: the rate holds over both, flows are shared, and after a kill -9 the other goes on alone, as soon
    as the leases are up. `status` says who works on what."""
    rate = 12
    flows = small_flows("price", "stock", "order", runs=500, lines=10)
    with told(tmp_path, database, flows=flows) as story:
        story.settings = {"requests_per_second": rate}
        story.configure()
        assert story.run("migrate").returncode == 0
        with daemon(story) as one, daemon(story) as two:
            _wait(lambda: len({row[0] for row in story.query(HOLDERS)}) == 2)
            began, sent = time.monotonic(), sum(story.server.counts.values())
            _wait(lambda: time.monotonic() - began > 5)
            more = sum(story.server.counts.values()) - sent
            # A bucket of one request for each of the two, and the one under way.
            assert 0 < more <= rate * (time.monotonic() - began) + 3
            held: set[str] = set()

            def both_have_worked() -> bool:
                held.update(row[0].split(":")[1] for row in story.query(OWNERS))
                return held == {str(one.pid), str(two.pid)}

            _wait(both_have_worked)
            killed = _stopped_with_a_lease(story, one, two)
            other = two if killed is one else one
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            left = story.query(HELD.format(killed.pid))
            assert left
            _wait(lambda: all(story.query(FENCE.format(key))[0][0] > fence for key, fence, _ in left))
            ((late,),) = story.query(f"SELECT extract(epoch FROM clock_timestamp() - '{max(row[2] for row in left)}')")
            assert 0 <= late < 10  # not before the leases are up, and soon after
            _stopped_with_a_lease(story, other)
            assert {row[0].split(":")[1] for row in story.query(OWNERS)} == {str(other.pid)}
            assert f":{other.pid}" in story.run("status", COLUMNS="200").stdout
            other.send_signal(signal.SIGCONT)
            _wait(lambda: story.query(FRACTIONS) == [(1.0,)])
            story.settings = {"requests_per_second": 1000}  # the daemon takes it over, and catches up
            story.configure()
            _wait(lambda: not story.differences(), 240)


HOLDERS = "SELECT DISTINCT split_part(owner, ':', 2) FROM archive.rate_share WHERE held_until > now() AND fraction > 0"
OWNERS = "SELECT lease_owner FROM archive.checkpoint WHERE lease_until > now()"
HELD = (
    "SELECT flow_key, fence, lease_until FROM archive.checkpoint"
    " WHERE lease_until > clock_timestamp() AND split_part(lease_owner, ':', 2) = '{}'"
)
FENCE = "SELECT fence FROM archive.checkpoint WHERE flow_key = {}"
FRACTIONS = "SELECT fraction FROM archive.rate_share WHERE held_until > now() AND fraction > 0"


def _stopped_with_a_lease(story: Story, *daemons: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """The one of these that was stopped at a moment at which it holds a flow: it does for ten seconds more at least."""
    found: list[subprocess.Popen[str]] = []

    def stopped() -> bool:
        for some in daemons:
            some.send_signal(signal.SIGSTOP)
            time.sleep(0.3)  # what it had sent already is done: it may have let go
            if story.query(HELD.format(some.pid)):
                found.append(some)
                return True
            some.send_signal(signal.SIGCONT)
        return False

    _wait(stopped)
    return found[0]


def _wait(until: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


def _rows(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(row[0] for row in connection.exec_driver_sql("SELECT owner FROM archive.rate_share"))


def test_an_owner_that_outlives_its_lease_moves_nothing(postgres: str, database: str, tmp_path: Path) -> None:
    """SIGSTOP, another daemon takes over and goes further, SIGCONT: what the first still holds is not written."""
    flows = small_flows("price", runs=25, lines=25)
    with told(tmp_path, database, flows=flows) as story:
        story.settings = {"requests_per_second": 5}
        story.configure()
        assert story.run("migrate").returncode == 0
        late = story.start("run")
        try:
            _wait(lambda: bool(story.query("SELECT FROM archive.run LIMIT 1")))
            late.send_signal(signal.SIGSTOP)
            with psycopg.connect(database, autocommit=True) as connection:  # the lease's time is up
                connection.execute("UPDATE archive.checkpoint SET lease_until = now()")
                connection.execute("UPDATE archive.rate_share SET held_until = now()")
            story.settings = {"requests_per_second": 1000}
            story.configure()
            assert story.run("sync").returncode == 0
            assert story.differences() == []
            state = "SELECT frontier, intervals, walk, backfill, source FROM archive.checkpoint"
            rows = "SELECT log_id, src_hash, archive_state, line_count FROM archive.run ORDER BY 1"
            before, had = story.query(state), story.query(rows)
            ((fence,),) = story.query("SELECT fence FROM archive.checkpoint")
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("UPDATE archive.checkpoint SET next_due_at = now() + interval '1 hour'")
            late.send_signal(signal.SIGCONT)
            assert _says(late, "pass_id", 180), "the late owner did not end its pass"
            assert (story.query(state), story.query(rows)) == (before, had)
            assert story.query("SELECT fence FROM archive.checkpoint") == [(fence,)]
        finally:
            late.send_signal(signal.SIGCONT)
            late.terminate()
            late.communicate()
        assert story.differences() == []


def _says(process: subprocess.Popen[str], words: str, seconds: float = 60) -> bool:
    """Whether a process says these words on standard error in time."""
    watch = threading.Timer(seconds, process.kill)
    watch.start()
    try:
        return any(words in line for line in iter((process.stderr or io.StringIO()).readline, ""))
    finally:
        watch.cancel()


def test_the_store_lets_go_of_its_share(engine: Engine) -> None:
    store = Store(engine, "one")
    share = store.shares.of(URL)
    assert share.fraction() == 1.0
    store.release()
    assert Share(engine, URL, "two:1").fraction() == 1.0
