"""Makes the archive that is read: by SQL alone, indexes and summaries at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from archiver.store import Store, migrate
from archiver.store.backlog import Backlog, owed
from archiver.store.partitions import after

HERE = Path(__file__).parent
Connection = psycopg.Connection[tuple[Any, ...]]


def generate(engine: Engine, dsn: str, runs: int, lines: int, end: datetime) -> None:
    """A year of `runs` runs with about `lines` lines until `end`, in an empty database; says how far it is.

    The rows go into the tables of the first migration; the others make of them what they make of any archive.
    """
    migrate(engine, "0001")
    per_run = max(1, round(lines / runs / 0.96))
    numbers = {"runs": runs, "per_run": per_run, "stride": 2 * per_run + 20}
    months = _months(end)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for setting in ("maintenance_work_mem = '1GB'", "synchronous_commit = off"):
            connection.execute(cast("Any", f"SET {setting}"))
        with _unindexed(connection):
            _run(connection, "archive", end=end.isoformat(), **numbers)
            for month in months:
                _partition(connection, month)
            for month in months:
                _run(connection, "lines", since=f"{month}-01T00:00Z", until=f"{after(month)}-01T00:00Z", **numbers)
        _run(connection, "details")
        with _told("vacuum analyze"):
            connection.execute("VACUUM (ANALYZE)")
        with _told("migrations"):
            migrate(engine)
        with _told("kinds of errors"):
            _recognise(engine)
        with _told("vacuum analyze"):
            connection.execute("VACUUM (ANALYZE)")


def _months(end: datetime) -> list[str]:
    """The months of the 364 days before `end`."""
    months = [f"{end - timedelta(days=364):%Y-%m}"]
    while months[-1] < f"{end:%Y-%m}":
        months.append(after(months[-1]))
    return months


def _partition(connection: Connection, month: str) -> None:
    connection.execute(
        sql.SQL("CREATE TABLE archive.{} PARTITION OF archive.line FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(f"line_{month.replace('-', '')}"), f"{month}-01 00:00+00", f"{after(month)}-01 00:00+00"
        )
    )


def _recognise(engine: Engine) -> None:
    """Give failed logs their kinds of errors, as the next turn of each flow would."""
    store = Store(engine, "generator")
    for key in range(1, 11):
        lease = store.leases.claim(key)
        assert lease is not None
        backlog, more = Backlog(), owed(engine, key).kinds
        while more:
            with store.writing(lease) as writer:
                more = backlog.step(writer)
        store.leases.release(lease)
    store.leases.close()


def _run(connection: Connection, name: str, **values: object) -> None:
    """The statements of a file, `:name` replaced by values of ours."""
    text = re.sub(r"--[^\n]*", "", (HERE / f"{name}.sql").read_text(encoding="utf-8"))

    def literal(match: re.Match[str]) -> str:
        return sql.Literal(values[match[1]]).as_string(connection)

    with _told(" ".join((name, *(str(value) for value in values.values() if isinstance(value, str))))):
        for statement in text.split(";\n"):
            if statement.strip():
                connection.execute(cast("Any", re.sub(r"(?<![:\w]):([a-z_]+)\b", literal, statement)))


@contextmanager
def _unindexed(connection: Connection) -> Iterator[None]:
    """Without the indexes of the lines for a while: the same definitions are built anew at the end."""
    constraints = connection.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'archive.line'::regclass AND contype = 'p'"
    ).fetchall()
    indexes = connection.execute(
        "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i"
        " WHERE i.indrelid = 'archive.line'::regclass AND NOT i.indisprimary"
    ).fetchall()
    for name, _ in constraints:
        connection.execute(cast("Any", f"ALTER TABLE archive.line DROP CONSTRAINT {name}"))
    for name, _ in indexes:
        connection.execute(cast("Any", f"DROP INDEX {name}"))
    yield
    for name, definition in constraints:
        with _told(f"build {name}"):
            connection.execute(cast("Any", f"ALTER TABLE archive.line ADD CONSTRAINT {name} {definition}"))
    for name, definition in indexes:
        with _told(f"build {name}"):
            connection.execute(cast("Any", definition.replace(" ON ONLY ", " ON ")))


@contextmanager
def _told(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what}: {timedelta(seconds=round(time.monotonic() - began))}", flush=True)
