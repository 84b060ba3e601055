"""The pool of connections to Postgres."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from archiver import postgres
from archiver.postgres import DatabaseInterrupted


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
    """As `postgres.translated`, also for what SQLAlchemy made of the driver's errors."""
    try:
        with postgres.translated():
            yield
    except DBAPIError as exc:
        if exc.connection_invalidated:
            raise DatabaseInterrupted("the connection to the database broke; what was under way is done again") from exc
        raise postgres.translation(exc.orig) from exc
