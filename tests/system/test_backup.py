"""Own data is safe: a backup that is taken while a daemon works goes on elsewhere without a gap; the schema changes
under those who read."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from archiver import embedded
from archiver.demo.world import World
from archiver.schema import newest
from archiver.store import connect, migrate
from archiver.store.schema import current
from tests.conftest import QUICK
from tests.system.story import small_flows, told

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


class Clock:
    """Stands still, until it is set forward."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def program(name: str) -> str:
    found = embedded.psql()
    beside = None if found is None else found.with_name(name)
    if beside is None or not beside.exists():
        pytest.skip(f"there is no {name} beside psql")
    return str(beside)


@pytest.fixture
def elsewhere(home: Path) -> Iterator[str]:
    """The DSN of another server, with nothing on it."""
    with embedded.running(home, settings=QUICK) as dsn:
        yield dsn


def test_a_backup_goes_on_elsewhere_without_a_gap(database: str, elsewhere: str, tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC) - timedelta(hours=12))
    flows = [replace(flow, runs=None, every=timedelta(hours=1), lines=12) for flow in small_flows("price", "stock")]
    world = World(clock, start=clock.now - timedelta(hours=24), flows=flows)
    with told(tmp_path, database, flows=flows, world=world) as story:
        story.settings = {"requests_per_second": 40}
        story.configure()
        working = story.start("sync")  # the backup is one state of an archive that is being written
        while not story.query("SELECT to_regclass('archive.line')")[0][0] or not story.query(
            "SELECT FROM archive.line LIMIT 1"
        ):
            assert working.poll() is None
        dump = tmp_path / "archive.dump"
        dumped = story.run("db", "dump", str(dump))
        assert dumped.returncode == 0, dumped.stderr
        assert not dump.with_name("archive.dump.part").exists()
        working.communicate(timeout=120)
        assert working.returncode == 0

        clock.now += timedelta(hours=12)  # what came after the backup is had from the Integrator
        restored = [program("pg_restore"), "-d", elsewhere, "--no-owner", "--no-privileges", "-1", str(dump)]
        subprocess.run(restored, check=True, env={**os.environ, "PGOPTIONS": ""}, capture_output=True)
        with psycopg.connect(elsewhere) as connection:
            assert connection.execute("SELECT count(*) > 0 FROM archive.line").fetchone() == (True,)
        story.database = elsewhere
        story.settings = {"requests_per_second": 1000}
        story.configure()
        assert story.run("verify", "--self").returncode == 0
        assert story.run("sync").returncode == 0
        assert story.differences() == []
        verified = story.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert story.run("gaps").stdout == "nothing is known to be missing\n"


def test_the_schema_changes_under_a_running_reader(database: str) -> None:
    """A query that runs for long is not broken, those that come while the change waits are answered, and it is done
    when the long one has ended."""
    engine = connect(database)
    migrate(engine, "0004")
    done: list[tuple[str | None, str | None]] = []
    change = threading.Thread(target=lambda: done.append(migrate(engine)))
    with psycopg.connect(database) as long, psycopg.connect(database, autocommit=True) as other:
        assert long.execute("SELECT count(*) FROM reporting.run").fetchone() == (0,)
        other.execute("SET statement_timeout = '30s'")
        change.start()
        tries = 0
        while tries < 2:  # the change has tried twice, and let others pass in between
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            while other.execute(waits).fetchone() == (0,):
                assert change.is_alive()
            assert other.execute("SELECT count(*) FROM reporting.run").fetchone() == (0,)
            tries += 1
        assert not done
        assert long.execute("SELECT count(*) FROM reporting.run").fetchone() == (0,)
        long.commit()
        change.join(60)
        assert done == [("0004", newest())]
        assert other.execute("SELECT count(*) FROM reporting.run").fetchone() == (0,)
    assert current(engine) == newest()
    engine.dispose()
