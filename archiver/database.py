"""Where the archive is: the database of the configuration, or else the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Engine

from archiver import embedded
from archiver.config import Config
from archiver.store import connect


@contextmanager
def database(config: Config, *, pool_size: int = 8) -> Iterator[Engine]:
    """The configured database, or else the embedded one, which stops when its last user ends."""
    with ExitStack() as stack:
        dsn = config.database.libpq_url() or stack.enter_context(embedded.running(config.data_dir))
        engine = connect(dsn, pool_size=pool_size)
        stack.callback(engine.dispose)
        yield engine


def folder(config: Config) -> Path | None:
    """Where the database's files are, where it is our own."""
    return embedded.folder(config.data_dir) if config.database.url is None else None


def revive(config: Config) -> None:
    """Bring the embedded Postgres back, should somebody have killed it; another database is somebody else's matter."""
    if config.database.libpq_url() is None:
        with embedded.running(config.data_dir):
            pass
