"""The pool of connections to Postgres."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from archiver import postgres
from archiver.postgres import DatabaseInterrupted

_BROKE = "the connection to the database broke; what was under way is done again"


def connect(dsn: str, *, pool_size: int = 8, name: str = "archiver") -> Engine:
    """An engine for a libpq DSN (`postgresql://…`). No connection is made yet, and no session state is kept."""
    url = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", dsn))
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=postgres.usual(name, url.query),
    )


@contextmanager
def translated() -> Iterator[None]:
    """As `postgres.translated`, for what is done with an engine: SQLAlchemy makes errors of its own of some of the
    driver's, and those without a code, which it did not make, are of a connection that stood."""
    try:
        yield
    except PoolTimeout as exc:
        raise DatabaseInterrupted(
            "no connection to the database became free within half a minute; what was under way is done again"
        ) from exc
    except DBAPIError as exc:
        if exc.connection_invalidated:
            raise DatabaseInterrupted(_BROKE) from exc
        raise postgres.translation(exc.orig) from exc
    except psycopg.Error as exc:
        if isinstance(exc, psycopg.OperationalError) and exc.sqlstate is None:
            raise DatabaseInterrupted(_BROKE) from exc
        raise postgres.translation(exc) from exc
