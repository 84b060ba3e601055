"""APScheduler wiring, signals, readiness: what turns the passes into a daemon, and the one go of `sync`."""

from archiver.daemon.indexes import build_indexes
from archiver.daemon.place import Workplace, opened
from archiver.daemon.run import run
from archiver.daemon.sync import sync

__all__ = ["Workplace", "build_indexes", "opened", "run", "sync"]
