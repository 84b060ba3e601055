"""The connection to Postgres, and its errors in the archiver's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from archiver.errors import ArchiverError, DatabaseUnavailable, TryLater

# A connection that went silent is given up after this many seconds instead of the system's two hours.
SILENCE = 30


class DatabaseInterrupted(TryLater):
    """The database went away, or stopped a transaction, while the archiver worked: nothing was lost."""


class DatabaseFull(DatabaseInterrupted):
    """The database has no room for what was to be written (SQLSTATE class 53): nothing was lost."""


def connect(dsn: str, *, pool_size: int = 8, name: str = "archiver") -> Engine:
    """An engine for a libpq DSN (`postgresql://…`). No connection is made yet.

    Works through PgBouncer in transaction mode: nothing is prepared and no session state is kept. What the DSN says of
    time-outs and keep-alives goes before what is usual here.
    """
    url = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", dsn))
    usual: dict[str, object] = {
        "connect_timeout": 10,
        "keepalives_idle": SILENCE,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENCE * 1000,
    }
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "prepare_threshold": None,
            "application_name": name,
            **{name: value for name, value in usual.items() if name not in url.query},
        },
    )


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the driver become errors of the archiver, without the row or the secret that they may quote."""
    try:
        yield
    except DBAPIError as exc:
        if exc.connection_invalidated:
            raise DatabaseInterrupted("the connection to the database broke; what was under way is done again") from exc
        raise _translate(exc.orig) from exc
    except psycopg.Error as exc:
        raise _translate(exc) from exc


_STATES: dict[str, tuple[type[ArchiverError], str]] = {
    "3D": (DatabaseUnavailable, "the database does not exist: create it, or change database.url"),
    "42501": (DatabaseUnavailable, "the database role lacks a privilege; see docs/operations.md on roles"),
    "53": (DatabaseFull, "the database is out of disk, memory or connections"),
    "57": (DatabaseInterrupted, "the database was stopped or cancelled the statement"),
    "40": (DatabaseInterrupted, "the database rolled the transaction back because of another one"),
    "08": (DatabaseInterrupted, "the connection to the database broke"),
    "25": (DatabaseUnavailable, "the database is read-only"),
}


def _translate(exc: BaseException | None) -> ArchiverError:
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
