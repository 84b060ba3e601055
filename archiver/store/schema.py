"""The schema's version: bringing it up to date, and refusing what this version does not know."""

from __future__ import annotations

import io
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from archiver import schema, tables
from archiver.errors import SchemaMismatch, TryLater
from archiver.store.distribution import distribute
from archiver.store.engine import translated

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic keeps its context in globals: two threads of one process must not run it at once.
_ONE_THREAD = threading.Lock()

LOCK_SECONDS = 2  # for which a migration waits for readers, and makes others wait
PAUSE = 1.0
PATIENCE = 600.0  # seconds


def _alembic() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(schema.folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def current(engine: Engine) -> str | None:
    """The revision of the database; None where the archiver never was."""
    with translated(), engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version", schema=tables.SCHEMA):
            return None
        version = connection.scalar(text(f"SELECT version_num FROM {tables.SCHEMA}.alembic_version"))
        return None if version is None else str(version)


def migrate(engine: Engine, revision: str = "head") -> tuple[str | None, str | None]:
    """Bring the schema to `revision`; answers the revision before and after. Raises SchemaMismatch for a newer one.

    Processes that migrate at once wait for each other: env.py takes an advisory lock in the migration's transaction.
    Where there is nothing to do, nothing is tried: the archiver's writer may not even `CREATE SCHEMA IF NOT EXISTS`.
    """
    before = current(engine)
    schema.refuse_newer(before)
    if before == (schema.newest() if revision == "head" else revision):
        return before, before

    _refuse_stranger(engine, before)
    deadline = time.monotonic() + PATIENCE
    with _ONE_THREAD, translated():
        while not _change(engine, revision, before):
            if time.monotonic() > deadline:
                raise TryLater(
                    f"the schema could not be changed within {PATIENCE / 60:.0f} minutes, for somebody reads all the"
                    " time: end long queries (pg_stat_activity), and run `archiver migrate` again"
                )
            time.sleep(PAUSE)
    if revision == "head":
        distribute(engine)
    return before, current(engine)


def _change(engine: Engine, revision: str, before: str | None) -> bool:
    """Change the schema in one transaction; False where readers, or another process that migrates, are in the way.

    Whoever waits for a table makes all that come later wait behind him. So nothing waits for longer than some seconds,
    and in the pause that follows, those that had to wait have their turn.
    """
    from alembic import command

    config = _alembic()
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            config.attributes["connection"] = connection
            if revision == "base" or (revision != "head" and revision < (before or "")):
                command.downgrade(config, revision)
            else:
                command.upgrade(config, revision)
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) != "55P03":  # lock_not_available
            raise
        return False
    return True


def migration_sql() -> str:
    """The SQL of all migrations, for those who may not let a program change a schema."""
    from alembic import command

    config = _alembic()
    config.output_buffer = io.StringIO()
    command.upgrade(config, "head", sql=True)
    return config.output_buffer.getvalue()


def require(engine: Engine) -> None:
    """Raises SchemaMismatch where the database's schema is not the newest one that this version knows."""
    schema.require(current(engine))


def _refuse_stranger(engine: Engine, have: str | None) -> None:
    """Anybody but the owner would fail half way, with less to say."""
    with translated(), engine.connect() as connection:
        stranger = connection.execute(
            text(
                "SELECT current_user AS me, pg_get_userbyid(nspowner) AS owner FROM pg_namespace"
                " WHERE nspname = :schema AND NOT has_schema_privilege(oid, 'CREATE')"
            ),
            {"schema": tables.SCHEMA},
        ).one_or_none()
    if stranger is not None:
        raise SchemaMismatch(
            f"the database's schema is {have or 'empty'}, this version needs {schema.newest()}; role {stranger.me!r}"
            f" may not change it: run `archiver migrate` as its owner, {stranger.owner!r}"
        )
