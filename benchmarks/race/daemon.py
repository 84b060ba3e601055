"""The archiver as a daemon: it reads all there is, and later once more what it has read.

What its passes took counts, by the database's clock; its start does not.
"""

from __future__ import annotations

import signal
import subprocess
import time

import psycopg

from benchmarks.race import meter
from benchmarks.race.meter import HERE, Measured
from benchmarks.race.ours import OWED
from benchmarks.race.place import Integrator

NAME = "archiver, a daemon"
LIMIT = 600.0  # seconds for one load

_IS_DONE = """
    SELECT (SELECT count(*) FROM archive.pass WHERE ended_at IS NOT NULL) >= (SELECT count(*) FROM archive.flow)
        AND NOT EXISTS (SELECT FROM archive.pass WHERE ended_at IS NULL)
        AND NOT EXISTS (SELECT FROM archive.run WHERE archive_state = 'pending')
        AND (SELECT count(*) FROM archive.line) = %s
"""
_TOOK = "SELECT extract(epoch FROM max(ended_at) - min(started_at))::float8 FROM archive.pass"


def loads(dsn: str, source: Integrator, command: list[str]) -> tuple[Measured, Measured]:
    """The first load of an empty archive, and reading it again, by one process."""
    process = subprocess.Popen(
        command, cwd=HERE, env=meter.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            first = _load(connection, dsn, source, process)
            connection.execute("DELETE FROM archive.pass")
            again = _load(connection, dsn, source, process)
        return first, again
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _load(connection: psycopg.Connection, dsn: str, source: Integrator, process: subprocess.Popen[bytes]) -> Measured:
    """What is owed from now on, until nothing is."""
    source.requests()
    before = _used(connection, dsn, source, process)
    connection.execute(OWED)
    connection.execute("UPDATE archive.checkpoint SET next_due_at = now()")
    limit = time.monotonic() + LIMIT
    while not _value(connection, _IS_DONE, source.lines):
        if process.poll() is not None or time.monotonic() > limit:
            raise SystemExit(f"the daemon has not read everything; it ended with {process.poll()}")
        time.sleep(0.1)
    used = [now - then for now, then in zip(_used(connection, dsn, source, process), before, strict=True)]
    client, postgres, server, wal, disk = used
    requests, peak = source.requests(), meter.peak(process.pid)
    return Measured(_value(connection, _TOOK), client, postgres, server, peak, requests, wal, disk, source.lines)


def _used(
    connection: psycopg.Connection, dsn: str, source: Integrator, process: subprocess.Popen[bytes]
) -> tuple[float, ...]:
    """Seconds of CPU of the daemon with its helpers, of Postgres, of the Integrator; MB of WAL and of the database."""
    wal = _value(connection, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 / 1e6")
    disk = _value(connection, "SELECT pg_database_size(current_database()) / 1e6::float8")
    client = meter.process_seconds(process.pid, with_children=True)
    return client, meter.postgres_seconds(dsn), source.seconds, wal, disk


def _value(connection: psycopg.Connection, statement: str, *bind: object) -> float:
    row = connection.execute(statement.encode(), bind or None).fetchone()
    assert row is not None
    return float(row[0])
