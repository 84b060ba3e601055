"""Where the archive is: the database of the configuration, or else the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archiver import embedded, postgres

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Engine

    from archiver.config import Config


@contextmanager
def database(config: Config, *, pool_size: int = 8) -> Iterator[Engine]:
    """A pool of connections to the configured database, or else to the embedded one, which stops when its last user
    ends."""
    from archiver.store import connect

    with _running(config) as dsn:
        engine = connect(dsn, pool_size=pool_size)
        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def connection(config: Config) -> Iterator[psycopg.Connection[Any]]:
    """One connection there in autocommit mode, for a single question; made without SQLAlchemy, which takes longer."""
    with _running(config) as dsn, postgres.connected(dsn) as driver:
        yield driver


@contextmanager
def _running(config: Config) -> Iterator[str]:
    if url := config.database.libpq_url():
        yield url
        return
    with embedded.running(config.data_dir) as dsn:
        yield dsn


def folder(config: Config) -> Path | None:
    """Where the database's files are, where it is our own."""
    return embedded.folder(config.data_dir) if config.database.url is None else None


def revive(config: Config) -> None:
    """Bring the embedded Postgres back, should somebody have killed it; another database is somebody else's matter."""
    if config.database.libpq_url() is None:
        with embedded.running(config.data_dir):
            pass
