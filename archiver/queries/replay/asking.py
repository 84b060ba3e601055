"""What is asked for, what comes out, and the short transaction in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from archiver.errors import TryLater
from archiver.logs import LogType
from archiver.queries.reader import transaction
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
    """A page: its rows as the Integrator sent them, each as JSON, newest first; and how many rows all pages have
    together."""

    total: int
    rows: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Replay:
    """One read-only transaction, in UTC, and what is remembered between them."""

    driver: psycopg.Connection[Any]
    memory: Memory
    seconds: float

    @contextmanager
    def given(self, seconds: float) -> Iterator[None]:
        """Each statement of the block may take so long, if that is longer than usual."""
        self._limit(max(seconds, self.seconds))
        yield
        self._limit(self.seconds)

    def _limit(self, seconds: float) -> None:
        self.driver.execute("SELECT set_config('statement_timeout', %s, true)", [_milliseconds(seconds)])

    def rows(self, statement: str, **bind: Any) -> list[Any]:
        """All rows of a statement, as tuples."""
        return self.driver.execute(statement, bind).fetchall()


@contextmanager
def asking(engine: Engine, memory: Memory, *, seconds: float) -> Iterator[Replay]:
    """A transaction that reads one state of the database; each of its statements may take `seconds`.

    Raises TooBroad where one took longer.
    """
    try:
        with transaction(engine, statement_timeout=_milliseconds(seconds)) as driver:
            yield Replay(driver, memory, seconds)
    except (psycopg.errors.QueryCanceled, DBAPIError) as exc:
        if isinstance(exc, DBAPIError) and not isinstance(exc.orig, psycopg.errors.QueryCanceled):
            raise
        raise TooBroad(f"the archive could not answer within {seconds:g} s; ask for less") from exc


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
