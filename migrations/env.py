"""Alembic's environment: one connection, one transaction, one lock.

Called by the archiver with a connection in `config.attributes["connection"]`, or by Alembic's own command line (for
those who work on the archiver) with ARCHIVER_DATABASE_URL.
"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection, create_engine, text

from archiver.tables import SCHEMA, metadata

# Any number will do, as long as nobody else takes it: two processes that migrate at once wait for each other.
LOCK = 7_226_172_911


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _: kind != "schema" or name == SCHEMA,
        include_object=lambda _, name, kind, reflected, __: (
            not (kind == "table" and reflected and str(name).startswith("line_"))
        ),
        compare_server_default=True,
    )
    with context.begin_transaction():
        if not context.is_offline_mode():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        context.run_migrations()


def run_offline() -> None:
    """Print SQL instead of running it: for those who may not let a program change a schema."""
    context.configure(
        dialect_name="postgresql",
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        literal_binds=True,
        output_buffer=context.config.output_buffer,
    )
    with context.begin_transaction():
        context.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        context.run_migrations()


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    run_offline()
elif given is not None:
    run(given)
else:
    url = os.environ["ARCHIVER_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
    with create_engine(url).begin() as own:
        run(own)
