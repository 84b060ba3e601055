"""Names of fields: those that lines have, and the btrees of those that a configuration declares for search.

A btree is declared on `archive.line` itself, so that Postgres gives it to every partition that is made later, and made
concurrently on each partition that is there: nothing that archives waits for it. Postgres does that on tables alone,
not on a partitioned one, and not in a transaction; what a broken build leaves behind is invalid, and goes before the
next try. The default partition has none: rows of odd dates are few, and to make a partition beside it needs its lock,
which a build would keep for as long as any reader keeps an old snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import psycopg
from psycopg import sql
from sqlalchemy import Engine, text

from archiver.logs import FIELDS
from archiver.logs.exact import holdable
from archiver.schema import search_index
from archiver.store.engine import translated
from archiver.store.partitions import MONTHS

# One process builds at a time. The lock is kept by a transaction that does nothing else, and so needs no session.
_LOCK = 7_226_172_913
# What is declared on the partitioned table is done in a moment, once the writers of that moment have ended; it must
# not make others wait behind it.
_PATIENTLY = "SET LOCAL lock_timeout = '2s'"


def note_fields(cursor: psycopg.Cursor[Any], flow_key: int, names: Iterable[str]) -> None:
    """Keep the names of the fields of lines that are written, in their transaction: for searches in any field."""
    if names := sorted(names):
        cursor.execute(
            "INSERT INTO archive.field (flow_key, name) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
            (flow_key, names),
        )


class Built(NamedTuple):
    """What came of it: the names of the indexes that were made, and of those that could not, with the reason."""

    made: list[str]
    failed: dict[str, str]

    def problems(self) -> list[str]:
        """A line for people about each index that could not be made."""
        return [f"index {name} could not be made: {reason}" for name, reason in self.failed.items()]


def build(engine: Engine, fields: Iterable[str], *, stopping: Callable[[], bool] = lambda: False) -> Built:
    """Make the btrees of these fields where they are missing, the newest month first.

    Can take minutes on a large archive. Nothing is done while another process does it. Raises where there is no
    database; an index that cannot be built is told in the answer, and the next call tries again.
    """
    wanted = [field for field in dict.fromkeys(fields) if field not in FIELDS and holdable(field)]
    built = Built([], {})
    if not wanted:
        return built
    with translated(), engine.connect() as guard, guard.begin():
        if not guard.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}):
            return built
        # Another statement also lets go of the last one's snapshot, for which the builds would wait.
        guard.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
            builder = _Builder(driver, built)
            declared = [field for field in wanted if builder.declare(field)]
            for partition in builder.partitions() if declared else ():
                for field in declared:
                    if stopping():
                        return built
                    builder.build(partition, field)
                builder.analyze(partition)
    return built


# An index is of a partition by its table, and of the declared one by being attached to it.
_ATTACHED = """
    SELECT i.indexrelid FROM pg_inherits JOIN pg_index i ON i.indexrelid = inhrelid
    WHERE inhparent = to_regclass(%s) AND i.indrelid = to_regclass(%s) AND i.indisvalid
"""
_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
_EXPRESSION = "(flow_key, (fields ->> {field}), created) WHERE fields ->> {field} IS NOT NULL"


class _Builder:
    def __init__(self, driver: psycopg.Connection[Any], built: Built) -> None:
        self._driver = driver
        self._built = built
        self._changed: set[str] = set()

    def partitions(self) -> list[str]:
        """The newest first."""
        return [row[0] for row in self._driver.execute(cast("sql.SQL", MONTHS)).fetchall()][::-1]

    def declare(self, field: str) -> bool:
        """Declare the index on the partitioned table; answers whether it is."""
        name = search_index("line", field)
        if self._valid(name) is not None:
            return True
        return self._tried(
            name,
            [_PATIENTLY, f"CREATE INDEX IF NOT EXISTS {{name}} ON ONLY archive.line {_EXPRESSION}"],
            name=sql.Identifier(name),
            field=sql.Literal(field),
        )

    def build(self, partition: str, field: str) -> None:
        """Make the index of one partition, unless it is there."""
        whole, name = search_index("line", field), search_index(partition, field)
        if self._driver.execute(cast("sql.SQL", _ATTACHED), (f"archive.{whole}", f"archive.{partition}")).fetchone():
            return
        valid = self._valid(name)
        parts = {
            "name": sql.Identifier(name),
            "index": sql.Identifier("archive", name),
            "whole": sql.Identifier("archive", whole),
            "table": sql.Identifier("archive", partition),
            "field": sql.Literal(field),
        }
        if valid is False and not self._tried(name, "DROP INDEX CONCURRENTLY {index}", **parts):
            return
        create = f"CREATE INDEX CONCURRENTLY {{name}} ON {{table}} {_EXPRESSION}"
        if not valid and not self._tried(name, create, **parts):
            return
        if self._tried(name, [_PATIENTLY, "ALTER INDEX {whole} ATTACH PARTITION {index}"], **parts):
            self._built.made.append(name)
            self._changed.add(partition)

    def analyze(self, partition: str) -> None:
        """Let the planner know how often values occur, where an index is new."""
        if partition in self._changed:
            self._tried(partition, "ANALYZE {table}", table=sql.Identifier("archive", partition))

    def _valid(self, name: str) -> bool | None:
        row = self._driver.execute(cast("sql.SQL", _VALID), (f"archive.{name}",)).fetchone()
        return None if row is None else bool(row[0])

    def _tried(self, what: str, /, statements: str | list[str], **parts: sql.Composable) -> bool:
        """Run a statement by itself, or several in one transaction; answers whether that went well."""
        try:
            if isinstance(statements, str):
                self._driver.execute(sql.SQL(cast("Any", statements)).format(**parts))
            else:
                with self._driver.transaction():
                    for statement in statements:
                        self._driver.execute(sql.SQL(cast("Any", statement)).format(**parts))
        except psycopg.Error as exc:
            if self._driver.closed:
                raise
            # The server's own words may quote a row; its class and code do not.
            self._built.failed[what] = f"{type(exc).__name__} (SQLSTATE {exc.sqlstate})"
            return False
        return True
