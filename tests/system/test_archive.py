"""Whole stories: an Integrator, the archiver as a process, Postgres, and the truth at the end."""

from __future__ import annotations

import json
import random
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.demo.faults import Cut, Faults, Reset, Status
from archiver.demo.flows import flow_named
from archiver.demo.listing import Order
from tests.system.story import small_flows, told


@pytest.fixture
def now() -> datetime:
    """Where the world's clock stands: so near to the database's that nobody speaks of skew."""
    return datetime.now(UTC)


def test_one_sync_archives_everything(tmp_path: Path, database: str, now: datetime) -> None:
    with told(tmp_path, database, now=now) as story:
        done = story.run("sync")
        assert (done.returncode, done.stderr) == (0, "")
        assert story.differences() == []
        files = story.query("SELECT count(*) FROM archive.detail WHERE outcome = 'stored'")[0][0]
        assert files == story.wanted_files() > 5
        states = dict(story.query("SELECT archive_state, count(*) FROM archive.run GROUP BY 1"))
        assert set(states) <= {"sealed", "open"}
        assert not (tmp_path / "archiver-data").exists()  # a database of one's own: the embedded one never starts


def test_alerts_that_cannot_be_sent_do_not_hide_what_sync_did(tmp_path: Path, database: str, now: datetime) -> None:
    with told(tmp_path, database, flows=small_flows("price"), now=now) as story:
        path = story.configure()
        path.write_text(json.dumps(json.loads(path.read_text()) | {"alerts": {"to": ["nonsense://host/path"]}}))
        done = story.run("sync")
        assert done.returncode == 0, done.stderr
        assert "price" in done.stdout
        assert "alerts could not be delivered: alerts.to[0]" in done.stderr


def test_a_second_sync_finds_nothing_new(tmp_path: Path, database: str, now: datetime) -> None:
    with told(tmp_path, database, now=now) as story:
        assert story.run("sync").returncode == 0
        before = story.query("SELECT xmin::text, log_id FROM archive.line ORDER BY log_id")
        story.server.requests.clear()
        assert story.run("sync").returncode == 0
        assert story.query("SELECT xmin::text, log_id FROM archive.line ORDER BY log_id") == before
        asked = [one for one in story.server.requests if one.path == "/logs" and one.params["log_type"] == "1"]
        unnamed = [one for one in asked if "filename_uuid" not in one.params]
        assert len(unnamed) == len(story.flows)  # a poll that finds nothing new is one request


@pytest.mark.parametrize("order", list(Order))
def test_any_order_of_the_list(tmp_path: Path, database: str, now: datetime, order: Order) -> None:
    flows = [replace(flow, order=order, runs=230, lines=2) for flow in small_flows("price")]
    with told(tmp_path, database, flows=flows, now=now) as story:
        assert story.run("sync").returncode == 0
        assert story.differences() == []
        covered = story.query("SELECT covered_from, covered_to FROM reporting.archive_health")
        assert covered[0][0].year == 2000
        assert abs(covered[0][1] + timedelta(minutes=10) - now) < timedelta(
            seconds=10
        )  # D − Λ: a Date has no fractions


def test_killed_again_and_again(tmp_path: Path, database: str, now: datetime) -> None:
    """kill -9 at random moments; the process that comes after it goes on, and in the end nothing is missing."""
    chance = random.Random(20260301)
    with told(tmp_path, database, flows=small_flows("price", "stock", lines=150), now=now) as story:
        assert story.run("migrate").returncode == 0
        for _ in range(8):
            process = story.start("sync")
            time.sleep(chance.uniform(0.9, 2.5))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert story.run("sync").returncode == 0
        assert story.differences() == []


def test_a_misbehaving_integrator(tmp_path: Path, database: str, now: datetime) -> None:
    """Faults in one of ten answers, tokens that live two seconds: slower, but nothing is missing."""
    faults = Faults(seed=7)
    for fault in (Status(500), Status(429, retry_after="1"), Reset(), Cut(0.5)):
        faults.add(fault, path="/logs", rate=0.025)
        faults.add(fault, path="/logs/download", rate=0.025)
    with told(tmp_path, database, now=now, faults=faults, token_seconds=2.0) as story:
        for _ in range(4):
            done = story.run("sync", timeout=200)
            assert "Traceback" not in done.stderr
            if done.returncode == 0:
                break
        assert len(story.server.faults.log) > 10
        assert story.differences() == []


def test_two_at_once_share_the_work(tmp_path: Path, database: str, now: datetime) -> None:
    with told(tmp_path, database, now=now, flows=small_flows("price", "stock", "order")) as story:
        both = [story.start("sync"), story.start("sync")]
        assert [one.communicate(timeout=120)[1] for one in both] == ["", ""]
        assert [one.returncode for one in both] == [0, 0]
        assert story.differences() == []


def test_the_daemon_follows_new_runs_and_ends_cleanly(tmp_path: Path, database: str) -> None:
    began = datetime.now(UTC)
    moments = {"offset": timedelta(0)}
    flow = replace(flow_named("price", "price"), every=timedelta(minutes=2), lines=5, runs=None)
    from archiver.demo.world import World

    # The world's clock runs ahead when told to: hours pass in a moment.
    world = World(
        lambda: datetime.now(UTC) - timedelta(hours=6) + moments["offset"],
        start=began - timedelta(hours=9),
        flows=[flow],
    )
    with told(tmp_path, database, flows=[flow], world=world) as story:
        process = story.start("run")
        try:
            wait_for(lambda: story.query("SELECT to_regclass('archive.run')")[0][0] is not None)
            wait_for(lambda: story.query("SELECT count(*) FROM archive.run")[0][0] > 50)
            before = story.query("SELECT count(*) FROM archive.run")[0][0]
            moments["offset"] = timedelta(hours=2)
            wait_for(lambda: story.query("SELECT count(*) FROM archive.run")[0][0] > before + 40)
            stopped = time.monotonic()
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
        assert time.monotonic() - stopped < 10
        assert process.returncode == 0, err
        assert out == ""
        assert '"pass"' in err
        assert "Traceback" not in err


def wait_for(condition: object, seconds: float = 120) -> None:
    """Until a condition holds; the daemon works by its own clock, and the machine may have much else to do."""
    until = time.monotonic() + seconds
    while True:
        try:
            if condition():  # type: ignore[operator]
                return
        except Exception:
            if time.monotonic() > until:
                raise
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.2)
