"""What the database's errors are to the archiver: what its caller does next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text

from archiver.errors import DatabaseUnavailable, OperatorError
from archiver.postgres import DatabaseInterrupted
from archiver.store import connect, translated


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = connect(database)
    yield engine
    engine.dispose()


def cursor_of(connection: Any) -> psycopg.Cursor[Any]:
    cursor: psycopg.Cursor[Any] = connection.connection.cursor()
    return cursor


def test_a_connection_that_breaks_under_a_cursor_is_an_interruption(engine: Engine) -> None:
    """Its errors have no code: they must not be taken for those of a database that cannot be reached at all."""
    with engine.connect() as connection:
        cursor = cursor_of(connection)
        pid = cursor.execute("SELECT pg_backend_pid()").fetchone()
        with engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid[0] if pid else 0})
        for _ in range(2):  # what Postgres says, then what the driver says
            with pytest.raises(DatabaseInterrupted) as error, translated():
                cursor.execute("SELECT 1")
            assert not isinstance(error.value, OperatorError)
        connection.invalidate()


def test_no_connection_that_is_free_is_an_interruption(engine: Engine) -> None:
    small = create_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    with small.connect(), pytest.raises(DatabaseInterrupted, match="became free"), translated(), small.connect():
        pass
    small.dispose()


def test_a_database_that_is_read_only(engine: Engine) -> None:
    with engine.connect() as connection:
        cursor_of(connection).execute("SET TRANSACTION READ ONLY")
        with pytest.raises(DatabaseUnavailable, match="primary"), translated():
            connection.execute(text("CREATE TABLE public.nothing ()"))


def test_a_transaction_that_was_idle_for_too_long(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET idle_in_transaction_session_timeout = '50ms'"))
        time.sleep(0.3)
        with pytest.raises(DatabaseInterrupted), translated():
            connection.execute(text("SELECT 1"))
