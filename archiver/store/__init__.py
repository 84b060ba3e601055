"""The only SQL of the passes: COPY and upsert, leases, checkpoints, the login hold, the schema's version."""

from archiver.postgres import DatabaseInterrupted
from archiver.store.distribution import distribute
from archiver.store.engine import connect, translated
from archiver.store.erasure import CannotErase, Erasure, Found
from archiver.store.leases import Lease, Leases
from archiver.store.lines import OfRun
from archiver.store.outdated import Gone, Policy, Pruned
from archiver.store.retention import Retention
from archiver.store.rows import Put
from archiver.store.schema import migrate, migration_sql, require
from archiver.store.store import Checkpoint, Store, Visit, Wanted
from archiver.store.writer import Writer

__all__ = [
    "CannotErase",
    "Checkpoint",
    "DatabaseInterrupted",
    "Erasure",
    "Found",
    "Gone",
    "Lease",
    "Leases",
    "OfRun",
    "Policy",
    "Pruned",
    "Put",
    "Retention",
    "Store",
    "Visit",
    "Wanted",
    "Writer",
    "connect",
    "distribute",
    "migrate",
    "migration_sql",
    "require",
    "translated",
]
