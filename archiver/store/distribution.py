"""Beyond one machine: where the database has Citus, the tables of flows are spread over its nodes by `flow_key`.

Runs, steps, lines and files of a flow stay together, so that every statement of a pass touches one shard. `flow` is on
every node; leases and the book of passes stay local, for they are locked and counted over all flows. Nothing else in
the archiver knows whether there is Citus.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, Table, text

from archiver import tables
from archiver.store.engine import translated

REFERENCE = "flow"
LOCAL = frozenset({"checkpoint"})  # leases: locked, and written together with nothing else of its flow
FIRST = "run"  # the others are placed where its shards are


def distributed() -> list[Table]:
    """The tables that are spread: those whose key has `flow_key` in it; the one that leads the others first."""
    found = [
        table
        for table in tables.metadata.sorted_tables
        if "flow_key" in table.primary_key.columns and table.name not in LOCAL | {REFERENCE}
    ]
    return sorted(found, key=lambda table: table.name != FIRST)


def distribute(engine: Engine) -> list[str]:
    """Spread what is not spread yet; answers the tables' names, none where the database has no Citus."""
    with translated(), engine.begin() as connection:
        if not connection.scalar(text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')")):
            return []
        spread = set(connection.scalars(_SPREAD, {"schema": tables.SCHEMA}))
        done = []
        if REFERENCE not in spread:
            _refer(connection)
            done.append(REFERENCE)
        for table in distributed():
            if table.name not in spread:
                connection.execute(
                    text("SELECT pg_catalog.create_distributed_table(:name, 'flow_key', colocate_with => :beside)"),
                    {
                        "name": table.fullname,
                        "beside": "none" if table.name == FIRST else f"{tables.SCHEMA}.{FIRST}",
                    },
                )
                done.append(table.name)
        return done


# Citus keeps its own local tables in the same catalog; those have no method of distribution that matters here.
_SPREAD = text("""
    SELECT c.relname FROM pg_catalog.pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
    WHERE c.relnamespace = to_regnamespace(:schema) AND (p.partmethod = 'h' OR p.repmodel = 't')
""")


def _refer(connection: Connection) -> None:
    """Newer Citus takes no table whose identity is an int; a default of the same sequence does the same."""
    connection.execute(text("ALTER TABLE archive.flow ALTER flow_key DROP IDENTITY IF EXISTS"))
    connection.execute(
        text("CREATE SEQUENCE IF NOT EXISTS archive.flow_key_seq AS integer OWNED BY archive.flow.flow_key")
    )
    connection.execute(
        text("SELECT setval('archive.flow_key_seq', (SELECT coalesce(max(flow_key), 0) + 1 FROM archive.flow), false)")
    )
    connection.execute(text("ALTER TABLE archive.flow ALTER flow_key SET DEFAULT nextval('archive.flow_key_seq')"))
    # An identity needs no right of its own, a sequence does; nobody reaches it who may not use the schema.
    connection.execute(text("GRANT USAGE ON SEQUENCE archive.flow_key_seq TO PUBLIC"))
    connection.execute(text("SELECT pg_catalog.create_reference_table('archive.flow')"))
