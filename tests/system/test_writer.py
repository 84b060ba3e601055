"""The archiver as its writer: a role that owns nothing archives a whole history."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from archiver import cli
from tests.system.story import small_flows, told


@pytest.fixture
def writer(database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """The address of a fresh writer of a fresh archive, as `archiver migrate` prints it."""
    name = f"writer_{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", database)
    monkeypatch.delenv("ARCHIVER_CONFIG", raising=False)
    monkeypatch.chdir("/")
    assert cli.main(["migrate", "--writer", name]) == 0
    yield capsys.readouterr().out.strip()
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in ("GRANT {} TO CURRENT_USER", "DROP OWNED BY {}", "DROP ROLE {}"):
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def test_a_writer_archives_everything(tmp_path: Path, database: str, writer: str) -> None:
    with told(tmp_path, database, now=datetime.now(UTC), flows=small_flows("price", "order")) as story:
        story.database = writer
        story.configure()
        done = story.run("sync")
        assert (done.returncode, done.stderr) == (0, "")
        again = story.run("migrate")
        assert (again.returncode, again.stderr) == (0, "")
        assert story.run("status").returncode == 0
        assert story.run("runs", "--json").returncode == 0
        story.database = database
        assert story.differences() == []
        owners = story.query(
            "SELECT DISTINCT pg_get_userbyid(relowner) = current_user FROM pg_class"
            " WHERE relnamespace = 'archive'::regnamespace"
        )
        assert owners == [(True,)]
