"""What every test may ask for: a folder any user may enter, a Postgres, an empty database on it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from archiver import embedded
from archiver.store import Store, connect, migrate

# What is started in the background of a script ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""For servers whose data nobody will miss."""


def open_folder() -> Path:
    """A new folder that any user may enter: pytest's own are closed to others, and root's server runs as one."""
    folder = Path(tempfile.mkdtemp(prefix="archiver-test-"))
    folder.chmod(0o711)
    return folder


@pytest.fixture
def home() -> Iterator[Path]:
    """A new home for an embedded Postgres, which the server's user can reach also where root runs the tests."""
    folder = open_folder()
    yield folder / "postgres"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The DSN of a server to test on: $ARCHIVER_TEST_DATABASE_URL, else an embedded one that ends with the tests."""
    given = os.environ.get("ARCHIVER_TEST_DATABASE_URL")
    if given:
        yield given
        return
    folder = open_folder()
    with embedded.running(folder / "postgres", settings=QUICK) as dsn:
        yield dsn
    shutil.rmtree(folder)


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """The DSN of a fresh, empty database."""
    with new_database(postgres) as dsn:
        yield dsn


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """A store on an empty archive."""
    engine = connect(database)
    migrate(engine)
    store = Store(engine, "test")
    yield store
    store.close()


@contextmanager
def new_database(postgres: str) -> Iterator[str]:
    """The DSN of a fresh, empty database on a server, for fixtures that live longer than one test."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
