"""A statement that a person wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, cast

import psycopg

from archiver.errors import OperatorError
from archiver.queries.reader import BATCH, Source, Value, adapted, transaction

# What a cursor on the server can be declared for. Anything else (SHOW, EXPLAIN) has a short answer.
_BEFORE = r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*"
_QUERY = re.compile(_BEFORE + r"(?:select|with|values|table)\b", re.IGNORECASE | re.DOTALL)
_COPY = re.compile(_BEFORE + r"copy\b", re.IGNORECASE | re.DOTALL)
_DECLARED = len('DECLARE "statement" CURSOR FOR ')  # what psycopg puts before it
# The server's and the connection's troubles are not the statement's fault.
_NOT_ITS_FAULT = ("08", "53", "57P", "58", "XX")


class StatementRefused(OperatorError):
    """Postgres would not run the statement, or stopped it."""


class Answer(NamedTuple):
    """The names of the columns, made unique, and the rows as they are needed."""

    columns: Sequence[str]
    rows: Iterator[Sequence[Value]]


@contextmanager
def statement(source: Source, text: str, timeout: timedelta) -> Iterator[Answer]:
    """Run one statement that reads, with the search path on schema reporting; it may take `timeout` to answer.

    Raises StatementRefused, also while the rows are read.
    """
    if "\0" in text or not text.strip():
        raise StatementRefused("there is no statement to run: archiver sql 'SELECT …'")
    if _COPY.match(text):
        raise StatementRefused("COPY cannot be run here: use SELECT with --csv")
    milliseconds = max(1, int(timeout.total_seconds() * 1000))
    try:
        with transaction(source, search_path="reporting", statement_timeout=str(milliseconds)) as driver:
            yield from _answered(driver, text)
    except psycopg.Error as exc:
        if exc.sqlstate is None and isinstance(exc, psycopg.ProgrammingError):
            raise StatementRefused("the statement returns no rows") from exc
        if exc.sqlstate is None or exc.sqlstate.startswith(_NOT_ITS_FAULT):
            raise
        raise StatementRefused(_reason(exc, text, timeout)) from exc


def _answered(driver: psycopg.Connection[tuple[Value, ...]], text: str) -> Iterator[Answer]:
    """Both ways speak the protocol that takes one statement only, so that none can end the transaction and go on."""
    if _QUERY.match(text):
        with cast("psycopg.ServerCursor[tuple[Value, ...]]", adapted(driver, "statement")) as cursor:
            cursor.itersize = BATCH
            cursor.execute(text.encode())
            yield Answer(_columns(cursor), iter(cursor))
        return
    with adapted(driver) as plain:
        rows = list(plain.stream(text.encode()))
        yield Answer(_columns(plain), iter(rows))


def _columns(cursor: psycopg.Cursor[tuple[Value, ...]] | psycopg.ServerCursor[tuple[Value, ...]]) -> list[str]:
    names: list[str] = []
    for column in cursor.description or ():
        name, number = column.name, 2
        while name in names:
            name, number = f"{column.name}_{number}", number + 1
        names.append(name)
    return names


def _reason(exc: psycopg.Error, text: str, timeout: timedelta) -> str:
    if exc.sqlstate == "57014":
        return f"the statement took longer than {timeout.total_seconds():g} s: give it more with --timeout 10m"
    if exc.sqlstate == "25006":
        return f"only reading is possible here: {exc.diag.message_primary}"
    if exc.sqlstate == "42601" and not exc.diag.statement_position and ";" in text.strip().rstrip(";"):
        return "one statement at a time: run those that ; parts one after the other"
    words = f"{exc.diag.message_primary or type(exc).__name__} (SQLSTATE {exc.sqlstate})"
    if exc.diag.statement_position:
        before = _DECLARED if _QUERY.match(text) else 0
        words += f", at character {int(exc.diag.statement_position) - before}"
    return f"{words}\n{exc.diag.message_hint}" if exc.diag.message_hint else words
