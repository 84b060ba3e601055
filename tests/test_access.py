"""Readers and writers as real roles of a real Postgres: what they can do, and all that they cannot."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import (
    InsufficientPrivilege,
    InvalidParameterValue,
    QueryCanceled,
    ReadOnlySqlTransaction,
    TooManyConnections,
)
from pydantic import SecretStr
from sqlalchemy import Engine

from archiver.access import (
    Limits,
    RoleRefused,
    address,
    grant_reader,
    grant_writer,
    readers,
    revoke_reader,
)
from archiver.access.reader import USUAL, settings_of
from archiver.access.role import check_name
from archiver.errors import SchemaMismatch
from archiver.store import Store, connect, migrate

HOSTILE = [
    'x"; DROP SCHEMA archive CASCADE; --',
    "it's {role} %s :name \\",
    "Gözlemci \u202e",
    "a b\tc\n",
    "user@host:5432/x?y#z",
]


@pytest.fixture
def role(database: str) -> Iterator[Callable[[str], str]]:
    """Names of roles that no other test uses; they go with the test."""
    names: list[str] = []

    def name(start: str = "reader") -> str:
        names.append(f"{start}{uuid.uuid4().hex[:12]}")
        return names[-1]

    yield name
    with psycopg.connect(database, autocommit=True) as connection:
        for one in names:
            there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (one,)).fetchone()
            if there is not None:
                for statement in ("GRANT {} TO CURRENT_USER", "DROP OWNED BY {}", "DROP ROLE {}"):
                    connection.execute(sql.SQL(statement).format(sql.Identifier(one)))


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = connect(database)
    migrate(engine)
    yield engine
    engine.dispose()


def dsn_of(engine: Engine, name: str) -> str:
    granted = grant_reader(engine, name)
    assert granted.password is not None
    return address(engine, name, granted.password)


def tables(owner: str, schema: str) -> list[str]:
    with psycopg.connect(owner) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p', 'v', 'm')",
            (schema,),
        ).fetchall()
    return [row[0] for row in rows]


def refused(dsn: str, statement: str) -> None:
    with (
        psycopg.connect(dsn, options="-c default_transaction_read_only=off") as connection,
        pytest.raises(InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_a_reader_reads_every_view_and_nothing_else(database: str, engine: Engine, role: Callable[[str], str]) -> None:
    dsn = dsn_of(engine, role("reader"))
    views = tables(database, "reporting")
    assert len(views) >= 9
    with psycopg.connect(dsn) as connection:
        for view in views:
            connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view)))  # found by its search_path
    for table in tables(database, "archive"):
        refused(dsn, f"SELECT FROM archive.{table}")
    for statement in (
        "INSERT INTO reporting.flow (flow_name) VALUES ('x')",
        "DELETE FROM reporting.flow",
        "CREATE TABLE reporting.x ()",
        "CREATE TABLE public.x ()",
        "CREATE SCHEMA x",
        "SELECT archive.make_partition('2024-01-01')",
        "CREATE ROLE x",
    ):
        refused(dsn, statement)


def test_a_reader_is_read_only_and_limited(engine: Engine, role: Callable[[str], str]) -> None:
    name = role("reader")
    granted = grant_reader(engine, name, limits=Limits(seconds=0.2, connections=2))
    dsn = address(engine, name, granted.password)
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as two:
        with pytest.raises(QueryCanceled):
            one.execute("SELECT pg_sleep(10)")
        with pytest.raises(ReadOnlySqlTransaction):
            two.execute("CREATE TEMP TABLE x ()")
        with pytest.raises((TooManyConnections, psycopg.OperationalError), match="too many connections"):
            psycopg.connect(dsn)


def test_views_that_come_later_are_granted_too(database: str, engine: Engine, role: Callable[[str], str]) -> None:
    dsn = dsn_of(engine, role("reader"))
    with psycopg.connect(database) as owner:
        owner.execute("CREATE VIEW reporting.later AS SELECT count(*) AS runs FROM archive.run")
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT runs FROM reporting.later").fetchone() == (0,)


def test_granting_again_changes_nothing_but_the_limits(engine: Engine, role: Callable[[str], str]) -> None:
    name = role("reader")
    dsn = dsn_of(engine, name)
    again = grant_reader(engine, name, limits=Limits(seconds=5))
    assert (again.created, again.password, again.login) == (False, None, True)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("5s",)
    assert grant_reader(engine, name, password=SecretStr("p@ss/w:rd")).created is False
    with psycopg.connect(address(engine, name, SecretStr("p@ss/w:rd"))) as connection:
        connection.execute("SELECT FROM reporting.run")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
    assert readers(engine) == [name]


def test_revoke_leaves_nothing_behind(engine: Engine, role: Callable[[str], str]) -> None:
    name = role("reader")
    dsn = dsn_of(engine, name)
    with psycopg.connect(dsn) as still_open:
        assert revoke_reader(engine, name) is True
        with pytest.raises(InsufficientPrivilege):
            still_open.execute("SELECT FROM reporting.run")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
    assert readers(engine) == []
    with pytest.raises(RoleRefused, match="no role"):
        revoke_reader(engine, name)


def test_a_role_that_was_there_keeps_its_password_and_survives_revoke(
    database: str, engine: Engine, role: Callable[[str], str]
) -> None:
    name = role("analyst")
    with psycopg.connect(database) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'its-own'").format(sql.Identifier(name)))
    granted = grant_reader(engine, name)
    assert (granted.created, granted.password) == (False, None)
    dsn = address(engine, name, SecretStr("its-own"))
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT FROM run")
    assert revoke_reader(engine, name) is False
    assert revoke_reader(engine, name) is False  # nothing left to undo
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
        with pytest.raises(InsufficientPrivilege):
            connection.execute("SELECT FROM reporting.run")


@pytest.mark.parametrize("start", HOSTILE)
def test_hostile_names_are_only_names(engine: Engine, role: Callable[[str], str], start: str) -> None:
    name = role(start)
    dsn = dsn_of(engine, name)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (name,)
        connection.execute("SELECT FROM reporting.flow")
    assert revoke_reader(engine, name) is True
    migrate(engine)


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32, "a\0b", "public", "none", "pg_reader", "\udcff"])
def test_names_that_no_role_can_have(name: str) -> None:
    with pytest.raises(RoleRefused) as caught:
        check_name(name)
    assert "\n" not in str(caught.value)


def test_nobody_who_may_more_becomes_a_reader(database: str, engine: Engine, role: Callable[[str], str]) -> None:
    owner = urlsplit(database).username
    assert owner is not None
    writer, reader = role("writer"), role("reader")
    grant_writer(engine, writer)
    grant_reader(engine, reader)
    for name, words in ((owner, "owner"), (writer, "may use the archive's tables")):
        with pytest.raises(RoleRefused, match=words):
            grant_reader(engine, name)
        with pytest.raises(RoleRefused, match=words):
            revoke_reader(engine, name)
    with pytest.raises(RoleRefused, match="owner"):
        grant_writer(engine, owner)
    with pytest.raises(RoleRefused, match="bi revoke"):
        grant_writer(engine, reader)
    assert readers(engine) == [reader]


def test_only_the_owner_grants(engine: Engine, role: Callable[[str], str]) -> None:
    mere = connect(dsn_of(engine, role("reader")))
    with pytest.raises(RoleRefused, match="does not own the archive"):
        grant_reader(mere, role("other"))
    mere.dispose()


def test_an_owner_who_may_not_change_roles_is_told_who_can(database: str, role: Callable[[str], str]) -> None:
    owner, reader = role("owner"), role("reader")
    with psycopg.connect(database) as administrator:
        for statement in (
            "CREATE ROLE {owner} LOGIN PASSWORD 'x' NOCREATEROLE",
            "GRANT CREATE ON DATABASE {database} TO {owner}",
            "CREATE ROLE {reader} LOGIN PASSWORD 'x'",
        ):
            names = {"owner": owner, "reader": reader, "database": administrator.info.dbname}
            form = sql.SQL(statement)
            administrator.execute(form.format(**{key: sql.Identifier(name) for key, name in names.items()}))
    named = urlsplit(database)
    engine = connect(named._replace(netloc=f"{owner}:x@{named.hostname}:{named.port}").geturl())
    migrate(engine)
    with pytest.raises(RoleRefused, match=r'may not make one.*CREATE ROLE "other'):
        grant_reader(engine, role("other"))
    with pytest.raises(RoleRefused, match="WITH ADMIN OPTION"):
        grant_reader(engine, reader)
    assert readers(engine) == []  # half a grant is none
    with psycopg.connect(database) as administrator:
        administrator.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 20").format(sql.Identifier(reader)))
        for name, value in settings_of(USUAL).items():
            names = {"role": reader, "database": administrator.info.dbname, "name": name}
            administrator.execute(
                sql.SQL("ALTER ROLE {role} IN DATABASE {database} SET {name} = {value}").format(
                    value=sql.Literal(value), **{key: sql.Identifier(one) for key, one in names.items()}
                )
            )
    grant_reader(engine, reader)  # the limits are there already: nothing is left that would need the right
    assert readers(engine) == [reader]
    engine.dispose()


def test_the_address_holds_nothing_of_the_owners(database: str, engine: Engine) -> None:
    password = urlsplit(database).password
    with_more = connect(f"{database}?application_name=x&sslmode=disable&passfile=/secret-canary")
    found = address(with_more, "a b", SecretStr("p/w"))
    with_more.dispose()
    assert password is not None
    assert password not in found
    assert "canary" not in found
    assert found.startswith("postgresql://a%20b:p%2Fw@")
    assert found.endswith(f"{urlsplit(database).path}?sslmode=disable")
    assert quote("p/w", safe="") not in address(engine, "a b")


# --- the writer ---


def test_a_writer_makes_partitions_and_deletes_nothing(
    database: str, engine: Engine, role: Callable[[str], str]
) -> None:
    name = role("writer")
    granted = grant_writer(engine, name)
    dsn = address(engine, name, granted.password)
    writer = connect(dsn)
    assert migrate(writer) == migrate(engine)
    before = set(tables(database, "archive"))
    Store(writer, owner="test").partitions.ensure(["2019-05"])
    made = set(tables(database, "archive")) - before
    assert len(made) == 5
    assert "line_201905" in made
    Store(writer, owner="test").partitions.ensure(["2019-05"])
    Store(writer, owner="test").forget_old_passes()
    writer.dispose()
    with psycopg.connect(dsn) as connection:  # as pg_dump does
        for (sequence,) in connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S'"
        ).fetchall():
            connection.execute(f"SELECT last_value FROM {sequence}".encode())
    own = {"pass", "daemon", "alert", "alert_message"}  # what the archiver did, not what it archived
    for table in set(tables(database, "archive")) - own - {"gap"}:  # gap is a view
        refused(dsn, f"DELETE FROM archive.{table}")
    for table in set(tables(database, "archive")) - {"gap"}:
        for statement in (
            f"TRUNCATE archive.{table}",
            f"DROP TABLE archive.{table}",
            f"ALTER TABLE archive.{table} ADD x int",
        ):
            refused(dsn, statement)
    for statement in (
        "UPDATE archive.alembic_version SET version_num = 'x'",
        "CREATE TABLE archive.x ()",
        "CREATE VIEW reporting.x AS SELECT 1",
        "CREATE OR REPLACE FUNCTION archive.make_partition(month date) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "DROP FUNCTION archive.make_partition(date)",
    ):
        refused(dsn, statement)


def test_tables_that_come_later_can_be_written(database: str, engine: Engine, role: Callable[[str], str]) -> None:
    name = role("writer")
    granted = grant_writer(engine, name)
    assert grant_writer(engine, name).password is None
    with psycopg.connect(database) as owner:
        owner.execute("CREATE TABLE archive.later (n int GENERATED ALWAYS AS IDENTITY, t text)")
    with psycopg.connect(address(engine, name, granted.password)) as connection:
        connection.execute("INSERT INTO archive.later (t) VALUES ('x')")
        connection.execute("UPDATE archive.later SET t = 'y'")


@pytest.mark.parametrize("month", ["1970-01-01", "2009-12-31", "infinity", "9999-01-01"])
def test_no_partition_far_from_now(database: str, engine: Engine, month: str) -> None:
    with psycopg.connect(database) as connection, pytest.raises(InvalidParameterValue):
        connection.execute("SELECT archive.make_partition(%s)", (month,))


def test_the_partition_is_made_whatever_the_caller_makes_of_names(
    database: str, engine: Engine, role: Callable[[str], str]
) -> None:
    """A writer who puts functions of his own before Postgres's does not get them run as the owner."""
    name = role("writer")
    granted = grant_writer(engine, name)
    with psycopg.connect(address(engine, name, granted.password)) as connection:
        connection.execute(
            "CREATE FUNCTION pg_temp.to_char(date, text) RETURNS text LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'run as %', current_user; END $$"
        )
        connection.execute("SET search_path = pg_temp, pg_catalog")
        connection.execute("SET TimeZone = 'Pacific/Kiritimati'")
        connection.execute("SET DateStyle = 'German'")
        assert connection.execute("SELECT archive.make_partition('2024-02-29')").fetchone() == (True,)
        assert connection.execute("SELECT archive.make_partition('2024-02-01')").fetchone() == (False,)
    with psycopg.connect(database, options="-c TimeZone=UTC") as owner:
        assert owner.execute(
            "SELECT pg_get_expr(relpartbound, oid), pg_get_userbyid(relowner) FROM pg_class"
            " WHERE oid = 'archive.line_202402'::regclass"
        ).fetchone() == (
            "FOR VALUES FROM ('2024-02-01 00:00:00+00') TO ('2024-03-01 00:00:00+00')",
            urlsplit(database).username,
        )


def test_a_writer_does_not_migrate_an_older_schema(
    database: str, engine: Engine, role: Callable[[str], str], tmp_path: Path
) -> None:
    name = role("writer")
    dsn = address(engine, name, grant_writer(engine, name).password)
    with psycopg.connect(database) as owner:
        owner.execute("UPDATE archive.alembic_version SET version_num = '0001'")
    writer = connect(dsn)
    with pytest.raises(SchemaMismatch, match=f"as its owner, '{urlsplit(database).username}'"):
        migrate(writer)
    writer.dispose()
