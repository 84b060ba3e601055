"""The daemon: when flows are due, what signals do, what systemd hears, and what ends it when nothing moves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from archiver.config import Flow
from archiver.daemon.notify import notify, watchdog_seconds
from archiver.daemon.schedule import Schedule, first_served
from archiver.demo.faults import Faults, Hang, Latency
from archiver.store import Store, connect, migrate
from archiver.store.leases import Leases
from tests.system.story import Story, small_flows, told
from tests.system.test_archive import wait_for as wait_within

NOW = datetime(2026, 5, 4, 10, 3, 20, tzinfo=UTC)
FLOW = Flow("prod", "p-1", "brand", "f-1", "price")


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    """Long, for a machine that has much else to do; it goes on as soon as the condition holds."""
    wait_within(condition, seconds)


# --- schedule ---


def every(**span: float) -> Schedule:
    return Schedule(replace(FLOW, every=timedelta(**span)))


def cron(expression: str) -> Schedule:
    return Schedule(replace(FLOW, every=None, cron=expression))


@pytest.mark.parametrize(("seconds", "longest"), [(10.0, 11.0), (300.0, 330.0), (86_400.0, 86_430.0)])
def test_every_waits_a_little_longer_each_time(seconds: float, longest: float) -> None:
    schedule = every(seconds=seconds)
    waits = [schedule.wait(NOW) for _ in range(200)]
    assert min(waits) >= seconds
    assert max(waits) <= longest
    assert len(set(waits)) > 100


def test_cron_waits_for_its_minute() -> None:
    waits = [cron("*/10 * * * *").wait(NOW) for _ in range(20)]
    assert all(400 <= wait <= 430 for wait in waits)
    assert 3 * 3600 - 200 <= cron("0 13 * * *").wait(NOW) <= 3 * 3600 - 170


def test_flows_of_one_schedule_spread() -> None:
    waits = {Schedule(FLOW, seed=number).wait(NOW) for number in range(20)}
    assert len(waits) == 20


@pytest.mark.parametrize("schedule", [every(minutes=5), cron("*/5 * * * *")])
def test_due_is_what_lies_behind(schedule: Schedule) -> None:
    assert schedule.is_due(0.0, NOW)
    assert schedule.is_due(-3600.0, NOW)
    assert not schedule.is_due(0.5, NOW)
    assert not schedule.is_due(299.0, NOW) or schedule.wait(NOW) < 200


@pytest.mark.parametrize("schedule", [every(minutes=5), cron("*/5 * * * *"), every(seconds=1), cron("0 3 * * 1")])
def test_no_poll_is_lost_to_a_clock_that_steps(schedule: Schedule) -> None:
    """The database's clock went back: what it says is far off. It went forward: what it says lies behind."""
    for _ in range(50):
        assert not schedule.is_due(schedule.wait(NOW), NOW)
    far = schedule.wait(NOW) + 100.0
    for step in (far, 10 * 365 * 86_400.0):
        assert schedule.is_due(step, NOW)
    assert schedule.is_due(schedule.wait(NOW) - 8 * 86_400.0, NOW)


def test_the_longest_overdue_go_first() -> None:
    assert first_served([3, 1, 2], {1: "a", 2: "a", 3: "a"}, Counter(), 2) == [3, 1]
    assert first_served([3, 1, 2], {1: "a", 2: "a", 3: "a"}, Counter(a=2), 2) == []
    assert first_served([], {1: "a"}, Counter(), 4) == []


def test_no_integrator_takes_the_workers_of_the_others() -> None:
    integrators = dict.fromkeys(range(10), "hangs") | {10: "works"}
    assert first_served(list(range(11)), integrators, Counter(), 4) == [0, 1, 2, 10]
    assert first_served([8, 9, 10], integrators, Counter(hangs=3), 4) == [10]
    assert first_served([8, 9], integrators, Counter(hangs=3), 4) == []  # the last worker is for others
    assert first_served([8, 9], integrators, Counter(), 1) == [8]


def test_a_flow_that_another_process_works_on_is_not_due(database: str) -> None:
    engine = connect(database)
    migrate(engine)
    with Leases(engine, "another") as leases:
        store = Store(engine, owner="this one")
        key = store.register((FLOW,))[FLOW]
        assert store.due([key])[key] <= 0
        lease = leases.claim(key)
        assert lease is not None
        assert 0 < store.due([key])[key] <= 15
        assert store.due([key], within=0.0) == {}
        leases.release(lease)
        assert store.due([key], within=0.0)[key] <= 0
    engine.dispose()


# --- sd_notify ---


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Systemd's end of the socket. Its path has to be short."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"{folder}/notify")
        end.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
        yield end


def test_notify_says_it_to_the_socket(manager: socket.socket) -> None:
    notify("READY=1")
    assert manager.recv(100) == b"READY=1"


def test_notify_to_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0archiver-test-{os.getpid()}")
        end.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@archiver-test-{os.getpid()}")
        notify("STOPPING=1")
        assert end.recv(100) == b"STOPPING=1"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")


def test_watchdog_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    for usec, seconds in (("30000000", 15.0), ("", None), ("0", None), ("soon", None)):
        monkeypatch.setenv("WATCHDOG_USEC", usec)
        assert watchdog_seconds() == seconds
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_seconds() == 15.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() is None


def test_systemd_hears_of_start_life_and_end(tmp_path: Path, database: str, manager: socket.socket) -> None:
    with told(tmp_path, database) as story, daemon(story, WATCHDOG_USEC="1000000") as process:
        assert manager.recv(100) == b"READY=1"
        beats = [(manager.recv(100), time.monotonic()) for _ in range(6)]
        assert {said for said, _ in beats} == {b"WATCHDOG=1"}
        assert beats[-1][1] - beats[0][1] < 5 * 1.0  # each within the watchdog's second
        process.send_signal(signal.SIGTERM)
        while (said := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"
        assert process.wait(10) == 0


# --- signals ---


@contextmanager
def daemon(story: Story, *, inject: str = "", **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`archiver run` as a process of its own; `inject` is Python that it runs first."""
    log = (story.folder / "daemon.log").open("w")
    arguments = ["--config", str(story.folder / "config.yaml"), "run"]
    program = (
        "import importlib, sys\nrun = importlib.import_module('archiver.daemon.run')\n"
        f"{textwrap.dedent(inject)}\nfrom archiver.__main__ import main\n"
        f"sys.argv[1:] = {arguments}\nsys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=story.folder,
        env={**os.environ, "HOME": str(story.folder), **environment},
        stdout=subprocess.DEVNULL,
        stderr=log,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        log.close()


def said(story: Story) -> str:
    return (story.folder / "daemon.log").read_text()


def is_polling(story: Story) -> Callable[[], bool]:
    return lambda: story.server.counts["/logs"] > 0


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> float:
    """Seconds from the signal to the end, which has to be one with status 0."""
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(20) == 0
    return time.monotonic() - began


def story_waits(database: str) -> bool:
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).fetchone()
    return row is not None and row[0] > 0


# --- what ends it when nothing moves ---


# --- flows beside each other ---


def polled(story: Story) -> Counter[str]:
    """Polls of the list by flow name."""
    names = {flow.flow_id: flow.name for flow in story.flows}
    return Counter(names[one.params["flowId"]] for one in list(story.server.requests) if one.path == "/logs")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_flow_that_hangs_does_not_starve_the_others(tmp_path: Path, database: str, workers: int) -> None:
    flows = small_flows("price", "stock", "order", runs=3, lines=3)
    faults = Faults()
    faults.add(Hang(), flow_id=flows[0].flow_id)
    with told(tmp_path, database, flows=flows, faults=faults) as story:
        story.settings["timeout"] = "1s"
        path = story.configure()
        path.write_text(json.dumps({**json.loads(path.read_text()), "workers": workers}))
        with daemon(story) as process:
            wait_for(lambda: min(polled(story)[name] for name in ("stock", "order")) > 8)
            wait_for(lambda: status(story)["price"]["failures_in_a_row"] > 1)
            assert stop(process) < 10
        states = status(story)
    assert "no complete answer within 1 s" in states["price"]["last_error"]
    assert states["price"]["condition"] == "failing"
    assert states["stock"]["is_well"]
    assert states["order"]["is_well"]


def status(story: Story) -> dict[str, Any]:
    found = json.loads(story.run("status", "--json").stdout)
    return {one["flow_name"]: one for one in found}


def test_fifty_flows_with_four_workers(tmp_path: Path, database: str) -> None:
    """Workers take the next flow when they are through with one, not at the next tick."""
    flows = [
        replace(flow, flow_id=f"flow-{number}", name=f"flow {number}")
        for number, flow in enumerate(small_flows("price", runs=1, lines=1) * 50)
    ]
    faults = Faults()
    faults.add(Latency(0.02))
    with (
        told(tmp_path, database, flows=flows, faults=faults) as story,
        daemon(story, inject="run.TICK, run.DEAD = 20.0, 100.0") as process,
    ):
        wait_for(lambda: len(polled(story)) == 50, 180)  # with the ticks alone it would be 12 × 20 s
        assert stop(process) < 25


def test_two_daemons_share_the_flows(tmp_path: Path, database: str) -> None:
    with (
        told(tmp_path, database, now=datetime.now(UTC)) as story,
        daemon(story) as one,
        daemon(story, ARCHIVER_TEST="second") as other,
    ):
        wait_for(lambda: story.query("SELECT to_regclass('archive.run')") != [(None,)])
        wait_for(lambda: not story.differences(), 120)
        assert stop(one) < 10
        polls = story.server.counts["/logs"]
        wait_for(lambda: story.server.counts["/logs"] > polls + 4)
        assert stop(other) < 10
        assert story.differences() == []


def test_refused_credentials_are_held_across_processes(tmp_path: Path, database: str) -> None:
    with told(tmp_path, database) as story:
        story.settings["password"] = "wrong-canary"
        story.configure()
        for _ in range(2):
            with daemon(story) as process:
                wait_for(lambda: said(story).count('"event": "pass"') > 2)  # of this process: its log is new
                assert stop(process) < 10
            assert "wrong-canary" not in said(story)
        assert story.server.logins == 1  # of both daemons, both flows, and all their polls
        said_so = "SELECT bool_and(login_refused), bool_and(last_error LIKE '%refused%are not valid%') FROM"
        assert story.query(f"{said_so} archive.checkpoint") == [(True, True)]
        story.settings["password"] = "make-believe"
        story.configure()
        with daemon(story) as process:  # changed credentials are free at once
            wait_for(lambda: all(row["is_well"] for row in status(story).values()))
            assert story.query("SELECT bool_or(login_refused) FROM archive.checkpoint") == [(False,)]
            assert stop(process) < 10


# --- the database comes and goes ---


def postmaster(folder: Path) -> int:
    (path,) = [*folder.glob("archiver-data/**/postmaster.pid"), *elsewhere(folder)]
    return int(path.read_text().splitlines()[0])


def elsewhere(folder: Path) -> list[Path]:
    link = folder / "archiver-data" / "elsewhere"
    return list(link.resolve().glob("**/postmaster.pid")) if link.is_symlink() else []


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes through /proc")
def test_the_embedded_postgres_is_revived(home: Path) -> None:
    """kill -9 of the postmaster under the daemon: it comes back, the daemon goes on, and both end in good order."""
    folder = home.parent
    with told(folder, None, flows=small_flows("price", lines=5), now=datetime.now(UTC)) as story:
        with daemon(story) as process:
            wait_for(is_polling(story))
            first = postmaster(folder)
            os.kill(first, signal.SIGKILL)
            wait_for(lambda: postmaster(folder) != first)
            polls = story.server.counts["/logs"]
            wait_for(lambda: story.server.counts["/logs"] > polls + 3)
            second = postmaster(folder)
            assert stop(process) < 10
        wait_for(lambda: not Path(f"/proc/{second}").exists(), 5)
        assert "the database answers again" in said(story)
        assert "Traceback" not in said(story)
