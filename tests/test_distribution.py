"""The rules that let the schema and the SQL run distributed over Citus, and when `archiver migrate` asks for it.

Citus itself is not at hand: an extension of the same name stands in for it and writes down what it is asked for.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

import archiver
from archiver import embedded
from archiver.store import connect, distribute, migrate, migration_sql
from archiver.store.distribution import LOCAL, REFERENCE, distributed
from tests.conftest import QUICK, open_folder

SPREAD = {table.name for table in distributed()}
CONTROL = "default_version = '1'\nrelocatable = false\nschema = pg_catalog\ntrusted = true\n"
# Made as Citus makes its own catalog: nobody may create a table there, but one may be moved there.
SCRIPT = """
CREATE SCHEMA citus;
CREATE TABLE citus.asked (number int GENERATED ALWAYS AS IDENTITY, what text);
CREATE TABLE citus.pg_dist_partition (logicalrelid regclass, partmethod "char", repmodel "char");
ALTER TABLE citus.pg_dist_partition SET SCHEMA pg_catalog;
GRANT USAGE ON SCHEMA citus TO PUBLIC;
GRANT SELECT ON citus.asked, pg_catalog.pg_dist_partition TO PUBLIC;
CREATE FUNCTION create_reference_table(table_name regclass) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    INSERT INTO citus.asked (what) VALUES (format('reference %s', table_name));
    INSERT INTO pg_catalog.pg_dist_partition VALUES (table_name, 'n', 't') $$;
CREATE FUNCTION create_distributed_table(
    table_name regclass, distribution_column text, kind text DEFAULT 'hash', colocate_with text DEFAULT 'default'
) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    INSERT INTO citus.asked (what)
    VALUES (format('%s by %s beside %s', table_name, distribution_column, colocate_with));
    INSERT INTO pg_catalog.pg_dist_partition VALUES (table_name, 'h', 's') $$;
"""


# --- what migrate asks for ---


@pytest.fixture(scope="module")
def with_citus() -> Iterator[str]:
    """A server on which an extension that is called citus can be made: Postgres 18 looks for them where it is told."""
    folder = open_folder()
    extension = folder / "extension"
    extension.mkdir()
    (extension / "citus.control").write_text(CONTROL)
    (extension / "citus--1.sql").write_text(SCRIPT)
    with embedded.running(folder / "postgres", settings={**QUICK, "extension_control_path": str(folder)}) as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            if connection.info.server_version < 180000:
                pytest.skip("needs Postgres 18 for an extension of its own")
            connection.execute("CREATE EXTENSION citus")
        yield dsn
    shutil.rmtree(folder)


def asked(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute("SELECT what FROM citus.asked ORDER BY number").fetchall()]


def test_tables_are_spread_once_by_flow_and_together(with_citus: str) -> None:
    engine = connect(with_citus)
    try:
        migrate(engine)
        first = asked(with_citus)
        assert first[:2] == ["reference archive.flow", "archive.run by flow_key beside none"]
        beside = sorted(SPREAD - {"run"})
        assert sorted(first[2:]) == [f"archive.{name} by flow_key beside archive.run" for name in beside]
        assert {"run", "step", "line", "detail"} <= SPREAD
        assert not SPREAD & {"checkpoint", "pass", "login_hold", "flow"}
        assert distribute(engine) == []
        assert asked(with_citus) == first
        # Flows still get their keys, one after the other.
        with psycopg.connect(with_citus) as connection:
            add = "INSERT INTO archive.flow (integrator, project_id, flow_id, flow_name) VALUES ('i', 'p', %s, 'f')"
            keys = [connection.execute(f"{add} RETURNING flow_key", (flow,)).fetchone() for flow in ("1", "2")]
        assert keys == [(1,), (2,)]
    finally:
        engine.dispose()


def test_an_archive_of_before_is_spread_by_the_next_migrate(with_citus: str) -> None:
    """The extension came later: the schema is the newest already, and keys go on where they were."""
    engine = connect(with_citus)
    try:
        with psycopg.connect(with_citus, autocommit=True) as connection:
            connection.execute("DROP EXTENSION IF EXISTS citus CASCADE")
            connection.execute("DROP SCHEMA archive, reporting CASCADE")
        migrate(engine)
        with psycopg.connect(with_citus, autocommit=True) as connection:
            add = "INSERT INTO archive.flow (integrator, project_id, flow_id, flow_name) VALUES ('i', 'p', %s, 'f')"
            connection.execute(f"{add}", ("1",))
            connection.execute("CREATE EXTENSION citus")
            assert set(distribute(engine)) == {REFERENCE} | SPREAD
            assert connection.execute(f"{add} RETURNING flow_key", ("2",)).fetchone() == (2,)
    finally:
        engine.dispose()


def test_nothing_is_asked_for_without_citus(database: str) -> None:
    engine = connect(database)
    try:
        migrate(engine)
        assert distribute(engine) == []
        assert _identity(engine) == "ALWAYS"
    finally:
        engine.dispose()


def _identity(engine: Engine) -> str | None:
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT identity_generation FROM information_schema.columns"
            " WHERE table_schema = 'archive' AND table_name = 'flow' AND column_name = 'flow_key'"
        ).scalar()
    return None if found is None else str(found)


# --- the schema's rules ---


def test_every_key_of_a_spread_table_holds_flow_key(database: str) -> None:
    engine = connect(database)
    migrate(engine)
    engine.dispose()
    with psycopg.connect(database) as connection:
        keys = connection.execute(
            """SELECT c.relname, i.indexrelid::regclass::text, ARRAY(
                   SELECT attname::text FROM pg_attribute a
                   WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey))
               FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
               WHERE c.relnamespace = 'archive'::regnamespace AND (i.indisunique OR i.indisexclusion)"""
        ).fetchall()
        wrong = [index for table, index, columns in keys if table in SPREAD and "flow_key" not in columns]
        assert {table for table, _, _ in keys} >= SPREAD
        assert wrong == []
        columns = connection.execute(
            """SELECT table_name, data_type, is_nullable FROM information_schema.columns
               WHERE table_schema = 'archive' AND column_name = 'flow_key'"""
        ).fetchall()
        assert {(kind, null) for table, kind, null in columns if table in SPREAD | LOCAL | {REFERENCE}} == {
            ("integer", "NO")
        }
        triggers = connection.execute(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
        ).fetchall()
        assert triggers == []
        foreign = connection.execute(
            """SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint
               WHERE contype = 'f' AND connamespace = 'archive'::regnamespace"""
        ).fetchall()
        assert {there for _, there in foreign} == {"archive.flow"}, "only what is on every node can be referred to"


def test_every_constraint_has_a_name() -> None:
    """Citus refuses foreign keys without one on partitioned tables, and a downgrade could not name them."""
    unnamed = re.compile(r"(?<!_)\b(?:PRIMARY KEY|FOREIGN KEY|UNIQUE|CHECK|REFERENCES)\b(?! INDEX)")
    found = []
    for statement in migration_sql().split(";"):
        if not re.search(r"\b(?:CREATE|ALTER) TABLE archive\.(?!alembic_version)", statement):
            continue
        bare = re.sub(r"--.*", "", statement)
        bare = re.sub(
            r"CONSTRAINT \w+ (?:PRIMARY KEY|UNIQUE|CHECK|FOREIGN KEY ?\([^)]*\) REFERENCES|REFERENCES)", "", bare
        )
        found += [f"{match[0]} in {bare.strip()[:80]}" for match in unnamed.finditer(bare)]
    assert found == []


# --- the statements' rules ---


def statements() -> Iterator[tuple[str, str]]:
    """Every text of store/ and queries/ that is SQL, with where it stands; what is put in later is `{}`."""
    home = Path(archiver.__file__).parent
    for room in ("store", "queries"):
        for file in sorted((home / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                text = _text(node)
                if text and re.search(r"\b(?:SELECT|INSERT|UPDATE|DELETE|MERGE)\b", text):
                    yield f"{file.relative_to(home)}:{getattr(node, 'lineno', 0)}", " ".join(text.split())


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)  # type: ignore[misc]
    return None


STATEMENTS = list(statements())
NOT_IMMUTABLE = re.compile(
    r"\b(?:now|clock_timestamp|statement_timestamp|random|nextval|gen_random_uuid|current_\w+)\b", re.IGNORECASE
)
TABLE = r"archive\.(?P<table>{})".format("|".join(sorted(SPREAD)))


def refused(sql: str) -> str | None:
    """Why Citus would refuse this statement over spread tables, if it would."""
    target = re.search(rf"\b(?:INSERT INTO|UPDATE|MERGE INTO|DELETE FROM) {TABLE}\b", sql)
    if target and "MERGE INTO" in sql:
        return "MERGE"
    updates = re.search(r"DO UPDATE SET (.*)", sql)
    if target and updates and NOT_IMMUTABLE.search(updates[1]):
        return "a function in DO UPDATE SET that is not immutable"
    if (
        target
        and re.match(r"\b(?:UPDATE|DELETE FROM)\b", target[0])
        and re.search(r"\b(?:FROM|USING|JOIN) staged_", sql)
    ):
        return "a join of the target with a temporary table"
    if re.search(rf"{TABLE}\b.*\bFOR (?:NO KEY )?(?:UPDATE|SHARE)\b", sql):
        return "row locks over shards"
    if re.search(r"NOT EXISTS \(SELECT[^)]* FROM staged_", sql) and target:
        return "a join of the target with a temporary table"
    for join in re.finditer(
        rf"JOIN (?:LATERAL )?{TABLE}\b(?: (?:AS )?\w+)? (?P<on>(?:ON|USING) ?.*?)(?=\bJOIN\b|\bWHERE\b|\bGROUP\b|$)",
        sql,
    ):
        if "flow_key" not in join["on"]:
            return f"a join with {join['table']} without flow_key"
    return None


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO archive.run (a) VALUES (1) ON CONFLICT (flow_key, log_id) DO UPDATE SET seen_at = now()",
        "UPDATE archive.line l SET a = s.a FROM staged_line s WHERE l.log_id = s.log_id",
        "SELECT log_id FROM archive.run WHERE flow_key = 1 FOR UPDATE SKIP LOCKED",
        "SELECT 1 FROM archive.run r JOIN archive.line l ON l.original_filename_uuid = r.filename_uuid",
        "MERGE INTO archive.step USING staged_step ON true",
        "INSERT INTO archive.line (a) SELECT a FROM staged_line s WHERE NOT EXISTS (SELECT 1 FROM staged_line)",
    ],
)
def test_refused_statements_are_seen(sql: str) -> None:
    assert refused(sql) is not None


def test_no_statement_is_one_that_citus_refuses() -> None:
    assert len(STATEMENTS) > 100
    assert {where: why for where, sql in STATEMENTS if (why := refused(sql))} == {}
