"""Migrations: up and down leave nothing behind, the tables are as described, and two at once do not collide."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Engine, text

from archiver.errors import DatabaseUnavailable, SchemaMismatch
from archiver.schema import newest, revisions
from archiver.store import connect, migrate, migration_sql, require
from archiver.store.schema import _alembic, current
from archiver.tables import metadata


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = connect(database)
    yield engine
    engine.dispose()


def catalog(engine: Engine) -> list[tuple[object, ...]]:
    """Everything of the schemas archive and reporting that Postgres knows, and that a person may have made."""
    with engine.connect() as connection:
        columns = connection.execute(
            text(
                "SELECT table_schema, table_name, column_name, ordinal_position, data_type, is_nullable,"
                " column_default,"
                " col_description(format('%I.%I', table_schema, table_name)::regclass, ordinal_position)"
                " FROM information_schema.columns WHERE table_schema IN ('archive', 'reporting') ORDER BY 1, 2, 4"
            )
        ).all()
        indexes = connection.execute(
            text(
                "SELECT schemaname, tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'archive'"
                " ORDER BY 1, 2, 3"
            )
        ).all()
        constraints = connection.execute(
            text(
                "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE connamespace = 'archive'::regnamespace ORDER BY 1, 2"
            )
        ).all()
        views = connection.execute(
            text(
                "SELECT schemaname, viewname, definition FROM pg_views WHERE schemaname IN ('archive', 'reporting')"
                " ORDER BY 1, 2"
            )
        ).all()
    return [tuple(row) for rows in (columns, indexes, constraints, views) for row in rows]


def test_the_revisions_by_their_files_are_those_that_alembic_walks() -> None:
    walked = [script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()]
    assert list(revisions()) == walked[::-1]


def test_up_down_up_leaves_no_difference(engine: Engine) -> None:
    assert migrate(engine) == (None, newest())
    first = catalog(engine)
    assert len(first) > 150
    assert migrate(engine, "base") == (newest(), None)
    with engine.connect() as connection:
        left = connection.scalars(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'archive'::regnamespace"
                " AND relkind IN ('r', 'p', 'v')"
            )
        ).all()
        assert left == ["alembic_version"]
    migrate(engine)
    assert catalog(engine) == first


def test_the_tables_are_as_described(engine: Engine) -> None:
    """Autogenerate finds nothing to do."""
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == "archive",
                "include_object": lambda _, name, kind, reflected, __: (
                    not (kind == "table" and reflected and (name.startswith("line_") or name == "alembic_version"))
                ),
                "compare_server_default": True,
                "version_table_schema": "archive",
            },
        )
        assert compare_metadata(context, metadata) == []


def test_the_newest_revisions_leave_what_was_there_before(engine: Engine) -> None:
    """Those that say something again in other words."""
    migrate(engine, "0016")
    before = catalog(engine)
    migrate(engine)
    assert catalog(engine) != before
    migrate(engine, "0016")
    assert catalog(engine) == before


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    migrate(engine)
    assert migrate(engine) == (newest(), newest())


def test_a_database_without_an_archive_says_what_to_do(engine: Engine) -> None:
    with pytest.raises(SchemaMismatch, match="archiver migrate"):
        require(engine)
    migrate(engine)
    require(engine)


def test_the_sql_alone_makes_the_same_schema(database: str, engine: Engine) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL(migration_sql()))
    by_hand = catalog(engine)
    assert current(engine) == newest()
    migrate(engine, "base")
    migrate(engine)
    assert catalog(engine) == by_hand


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda dsn: dsn.rsplit("/", 1)[0] + "/nowhere", "does not exist"),
        (lambda dsn: "postgresql://127.0.0.1:1/archiver", "no database answers"),
        (lambda dsn: "postgresql://no.such.host.invalid/archiver", "host is unknown"),
        (lambda dsn: dsn.replace(dsn.split("@")[0], "postgresql://postgres:s3cret-canary"), "password|role"),
    ],
)
def test_an_unreachable_database_is_one_clear_line(database: str, change: object, words: str) -> None:
    engine = connect(change(database))  # type: ignore[operator]
    with pytest.raises(DatabaseUnavailable, match=words) as caught:
        migrate(engine)
    assert "\n" not in str(caught.value)
    assert "s3cret-canary" not in str(caught.value)
    engine.dispose()


def test_every_view_and_column_has_a_comment(engine: Engine) -> None:
    migrate(engine)
    with engine.connect() as connection:
        without = connection.execute(
            text(
                "SELECT c.relname, a.attname FROM pg_class c"
                " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped"
                " WHERE c.relnamespace = 'reporting'::regnamespace"
                " AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)"
            )
        ).all()
        types = connection.execute(
            text(
                "SELECT table_name, column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'reporting'"
            )
        ).all()
    assert without == []
    plain = {"text", "integer", "smallint", "bigint", "double precision", "boolean", "date", "timestamp with time zone"}
    assert [row for row in types if row.data_type not in plain] == [("detail", "document", "jsonb")]
