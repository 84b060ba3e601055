"""A flow that a test archives turn by turn, with the canaries as its secrets, and the look-out for them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from archiver.store import connect, migrate
from tests import wire
from tests.conftest import new_database
from tests.faults import canaries
from tests.faults.scene import Scene


@pytest.fixture(scope="session")
def template(postgres: str) -> Iterator[str]:
    """The name of a database with the newest schema, to be copied: a copy takes less time than the migrations."""
    with new_database(postgres) as dsn:
        engine = connect(dsn)
        migrate(engine)
        engine.dispose()
        yield urlsplit(dsn).path[1:]


@pytest.fixture
def archive(postgres: str, template: str) -> Iterator[str]:
    """The DSN of an empty archive; at the end, nothing in it may be a secret."""
    name = f"fault_{uuid.uuid4().hex}"
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(copy)
        dsn = urlsplit(postgres)._replace(path=f"/{name}").geturl()
        yield dsn
        shown = [(table, who) for table, row in canaries.stored(dsn) for who in canaries.found(row, _passwords(dsn))]
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    assert shown == [], "a secret was stored"


def _passwords(dsn: str) -> list[str]:
    password = urlsplit(dsn).password
    return [password] if password else []


@pytest.fixture
def scene(archive: str, tmp_path: Path) -> Iterator[Scene]:
    """One flow of a world of explicit rows, served over HTTP, archived into Postgres."""
    with Scene.opened(archive, tmp_path) as one:
        yield one


@pytest.fixture(autouse=True)
def look_out(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path, postgres: str
) -> Iterator[None]:
    """No test of this folder may say a secret: not in a log at debug level, not on a terminal, not in a log file."""
    caplog.set_level(logging.DEBUG)
    yield
    said = {"log": caplog.text, **dict(zip(("stdout", "stderr"), capfd.readouterr(), strict=True))}
    said |= {path.name: path.read_text(errors="replace") for path in tmp_path.rglob("*.log")}
    also = [*_passwords(postgres), wire.PASSWORD, wire.TOKEN]
    shown = [(where, who) for where, text in said.items() for who in canaries.found(text, also)]
    assert shown == [], "a secret was said"
