"""APScheduler wiring, signals, readiness: what turns the passes into a daemon, and the one go of `sync`."""

from archiver.daemon.audit import Result, Stopped, Watch, audit_archive, audit_flows, counts_of, stop_if
from archiver.daemon.indexes import build_indexes
from archiver.daemon.place import Workplace, opened, visited
from archiver.daemon.run import run
from archiver.daemon.sync import sync, tell

__all__ = [
    "Result",
    "Stopped",
    "Watch",
    "Workplace",
    "audit_archive",
    "audit_flows",
    "build_indexes",
    "counts_of",
    "opened",
    "run",
    "stop_if",
    "sync",
    "tell",
    "visited",
]
