"""One read-only transaction, and what Postgres's values become in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from sqlalchemy import Engine

Value: TypeAlias = Any  # None, bool, int, float, str, datetime (UTC), Json, or a list of these
Row: TypeAlias = dict[str, Value]
Source: TypeAlias = "Engine | psycopg.Connection[Any]"  # a pool, or one's own connection in autocommit mode

BATCH = 500  # rows that are in memory at once, where each is a small one

# What makes the texts of a session the same everywhere, whatever the role or the server says; and quick: all rows of a
# cursor are wanted, and compiling a statement takes longer than answering it.
_SETTINGS = {
    "cursor_tuple_fraction": "1",
    "jit": "off",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}


class Json(str):
    """JSON text as Postgres holds it, not parsed: every digit stays what it is."""

    __slots__ = ()


class Place(NamedTuple):
    """Where a page of a list begins: behind the row of this moment (Postgres's text) and log id."""

    moment: str
    log_id: int


class _TextLoader(Loader):
    def load(self, data: Buffer) -> str:
        return bytes(data).decode()


class _JsonLoader(Loader):
    def load(self, data: Buffer) -> Json:
        return Json(bytes(data).decode())


class _NumericLoader(Loader):
    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        return text if text.strip("-").isalpha() else Json(text)  # NaN and Infinity are no JSON


class _FloatLoader(Loader):
    def load(self, data: Buffer) -> float | str:
        value = float(data)
        return value if math.isfinite(value) else bytes(data).decode()


class _TimeLoader(Loader):
    """A datetime in UTC; Postgres's own text for what Python has no datetime for: infinity, or the year 10,000."""

    def load(self, data: Buffer) -> datetime | str:
        text = bytes(data).decode()
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            return text


class _TimestampLoader(Loader):
    def load(self, data: Buffer) -> str:
        return bytes(data).decode().replace(" ", "T", 1)


_TEXTS = ("date", "time", "timetz", "interval", "bytea", "uuid", "inet", "cidr")


def _adapt(adapters: AdaptersMap) -> None:
    for name in _TEXTS:
        adapters.register_loader(name, _TextLoader)
    for name in ("json", "jsonb"):
        adapters.register_loader(name, _JsonLoader)
    for name in ("float4", "float8"):
        adapters.register_loader(name, _FloatLoader)
    adapters.register_loader("numeric", _NumericLoader)
    adapters.register_loader("timestamptz", _TimeLoader)
    adapters.register_loader("timestamp", _TimestampLoader)


@contextmanager
def transaction(source: Source, **settings: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that reads one state of the database and can write nothing. `settings` hold until its end."""
    # Who leaves early leaves it to the pool to roll back, or to whoever closes the connection.
    with _lent(source) as driver:
        driver.execute(_beginning(tuple(settings.items())))
        yield driver
        driver.execute("COMMIT")


@contextmanager
def _lent(source: Source) -> Iterator[psycopg.Connection[Any]]:
    if isinstance(source, psycopg.Connection):
        yield source
        return
    with source.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield cast("psycopg.Connection[Any]", connection.connection.driver_connection)


@lru_cache
def _beginning(settings: tuple[tuple[str, str], ...]) -> bytes:
    """To begin and to set takes one round trip so, and a quick question is answered in little more."""
    parts: list[sql.Composable] = [sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")]
    for name, value in {**_SETTINGS, **dict(settings)}.items():
        parts.append(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    parts.append(sql.SQL("SELECT"))  # whoever has asked something cannot make it a transaction that writes
    return sql.SQL("; ").join(parts).as_bytes(None)


def adapted(driver: psycopg.Connection[Any], name: str = "") -> psycopg.Cursor[Any] | psycopg.ServerCursor[Any]:
    """A cursor that gives the values described at `Value`; with a name one whose rows stay on the server."""
    cursor = driver.cursor(name) if name else driver.cursor()
    _adapt(cursor.adapters)
    return cursor


class Reader:
    """Asks in one transaction, so that all its answers belong together. Times are UTC."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self._driver = driver
        self._numbers = count(1)
        self._cursor = adapted(driver)
        self._cursor.row_factory = dict_row

    def rows(self, statement: str, **bind: Any) -> list[Row]:
        """All rows at once: for answers that are small by their nature."""
        return cast("list[Row]", self._cursor.execute(statement, bind).fetchall())

    def columns(self, statement: str, **bind: Any) -> list[str]:
        """The names of a statement's columns."""
        return [column.name for column in self._cursor.execute(statement, bind).description or ()]

    def stream(self, statement: str, *, batch: int = BATCH, **bind: Any) -> Iterator[Row]:
        """Rows as they are needed, `batch` of them in memory at a time."""
        with cast("psycopg.ServerCursor[Any]", adapted(self._driver, f"reader_{next(self._numbers)}")) as cursor:
            cursor.row_factory = dict_row
            cursor.itersize = batch
            cursor.execute(statement, bind)
            yield from cursor


@contextmanager
def reading(source: Source) -> Iterator[Reader]:
    """A Reader for the length of the block. Raises the driver's errors; see `postgres.translated`."""
    with transaction(source) as driver:
        yield Reader(driver)
