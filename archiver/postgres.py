"""Postgres as its driver speaks it: what a connection is made with, and its errors in the archiver's words.

Whoever only reads needs no more. SQLAlchemy, on which the store's pool and the schema are built, takes as long to
import as a command may take to answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from archiver.errors import ArchiverError, DatabaseUnavailable, TryLater

# A connection that went silent is given up after this many seconds instead of the system's two hours.
SILENCE = 30


class DatabaseInterrupted(TryLater):
    """The database went away, or stopped a transaction, while the archiver worked: nothing was lost."""


class DatabaseFull(DatabaseInterrupted):
    """The database has no room for what was to be written (SQLSTATE class 53): nothing was lost."""


def usual(name: str, given: Collection[str]) -> dict[str, Any]:
    """What every connection is made with, but for what its DSN says itself of time-outs and keep-alives.

    It works through PgBouncer in transaction mode: nothing is prepared.
    """
    settings = {
        "connect_timeout": 10,
        "keepalives_idle": SILENCE,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENCE * 1000,
    }
    left = {setting: value for setting, value in settings.items() if setting not in given}
    return {"prepare_threshold": None, "application_name": name, **left}


@contextmanager
def connected(dsn: str, *, name: str = "archiver") -> Iterator[psycopg.Connection[Any]]:
    """A connection of one's own to a libpq DSN, in autocommit mode, closed at the end; errors are translated."""
    with translated():
        driver = psycopg.connect(dsn, autocommit=True, **usual(name, conninfo_to_dict(dsn)))
        try:
            yield driver
        finally:
            driver.close()


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the driver become errors of the archiver, without the row or the secret that they may quote."""
    try:
        yield
    except psycopg.Error as exc:
        raise translation(exc) from exc


_STATES: dict[str, tuple[type[ArchiverError], str]] = {
    "3D": (DatabaseUnavailable, "the database does not exist: create it, or change database.url"),
    "42501": (
        DatabaseUnavailable,
        (
            "the database role lacks a privilege: one that archives has it from `archiver migrate --writer ROLE`, also"
            " after a restore; one of `archiver bi grant` reads the schema reporting, with other programs"
            " (docs/operations.md on roles)"
        ),
    ),
    "53": (
        DatabaseFull,
        "the database is out of disk, memory or connections: make room there, or raise max_connections",
    ),
    "25006": (DatabaseUnavailable, "the database is read-only: let database.url lead to the primary"),
    "25P03": (
        DatabaseInterrupted,
        "the database ended a transaction for being idle (idle_in_transaction_session_timeout)",
    ),
    "57": (DatabaseInterrupted, "the database was stopped or cancelled the statement"),
    "40": (DatabaseInterrupted, "the database rolled the transaction back because of another one"),
    "08": (DatabaseInterrupted, "the connection to the database broke"),
}


def translation(exc: BaseException | None) -> ArchiverError:
    """What an error of the driver is to the archiver."""
    code = getattr(exc, "sqlstate", None)
    if code is None or code.startswith("28"):
        return DatabaseUnavailable(_reason(exc))
    for prefix, (kind, text) in _STATES.items():
        if code.startswith(prefix):
            return kind(f"{text} (SQLSTATE {code})")
    return DatabaseInterrupted(f"the database refused a statement ({type(exc).__name__}, SQLSTATE {code})")


def _reason(exc: BaseException | None) -> str:
    """Why no connection could be made; libpq's words may name host, user and database, never the password."""
    words = str(exc)
    cases = {
        "password authentication failed": "the database refused the password: check database.url",
        "no password supplied": "the database wants a password: put it into database.url",
        "does not exist": "the database or the role does not exist: create it, or change database.url",
        "Connection refused": "no database answers there: start it, or change database.url",
        "could not translate host name": "the database's host is unknown: check database.url",
        "failed to resolve host": "the database's host is unknown: check database.url",
        "timeout": "the database does not answer: check database.url and the network",
        "does not support SSL": "the database speaks no TLS: check sslmode in database.url",
        "certificate": "the database's certificate is not trusted: check sslrootcert in database.url",
    }
    for words_of_libpq, text in cases.items():
        if words_of_libpq in words:
            return f"{text} ({_where(words)})" if _where(words) else text
    return "the connection to the database broke or could not be made: check database.url and the server"


def _where(words: str) -> str:
    match = re.search(r'(?:connection to server at|host) "([^"]+)"(?: \([^)]*\))?,? port:? (\d+)', words)
    return f"{match[1]}:{match[2]}" if match else ""
