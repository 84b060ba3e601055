"""What is asked for, what comes out, and the short transaction in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from archiver.errors import TryLater
from archiver.logs import LogType, Row
from archiver.queries.replay.memory import Memory


class TooBroad(TryLater):
    """A search that Postgres could not answer in the time that it was given."""


class Ask(NamedTuple):
    """One request for a page of logs. `search`: pairs of field and value; they are about line logs."""

    flow_key: int
    log_type: LogType
    limit: int = 25
    page: int = 1
    filename_uuid: str | None = None
    original_filename_uuid: str | None = None
    search: tuple[tuple[str, str], ...] = ()

    @property
    def offset(self) -> int:
        """Rows that come before the page."""
        return (self.page - 1) * self.limit


class Listing(NamedTuple):
    """A page: its rows as the Integrator sent them, newest first, and how many rows all pages have together."""

    total: int
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Replay:
    """One read-only transaction, and what is remembered between them."""

    connection: Connection
    memory: Memory
    seconds: float

    @contextmanager
    def given(self, seconds: float) -> Iterator[None]:
        """Each statement of the block may take so long, if that is longer than usual."""
        _limit(self.connection, max(seconds, self.seconds))
        yield
        _limit(self.connection, self.seconds)

    def rows(self, statement: str, **bind: Any) -> list[Any]:
        """All rows of a statement, as tuples."""
        driver = cast("psycopg.Connection[Any]", self.connection.connection.driver_connection)
        return driver.execute(cast("Any", statement), bind).fetchall()


@contextmanager
def asking(engine: Engine, memory: Memory, *, seconds: float) -> Iterator[Replay]:
    """A transaction that reads one state of the database; each of its statements may take `seconds`.

    Raises TooBroad where one took longer.
    """
    ways = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        with engine.connect().execution_options(**ways) as connection, connection.begin():
            _limit(connection, seconds)
            yield Replay(connection, memory, seconds)
    except (psycopg.errors.QueryCanceled, DBAPIError) as exc:
        if isinstance(exc, DBAPIError) and not isinstance(exc.orig, psycopg.errors.QueryCanceled):
            raise
        raise TooBroad(f"the archive could not answer within {seconds:g} s; ask for less") from exc


def _limit(connection: Connection, seconds: float) -> None:
    """How long each statement may take from now on, in this transaction."""
    bind = {"timeout": f"{seconds * 1000:.0f}"}
    connection.execute(text("SELECT set_config('statement_timeout', :timeout, true)"), bind)
