"""The configuration while the daemon runs: a changed file, or SIGHUP, brings it in without a stop.

A file that cannot be used changes nothing: what held goes on, the log says why, and so does `archiver status`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from archiver import config
from archiver.config import Config
from archiver.errors import ArchiverError, ConfigError
from archiver.store.daemons import Presence

LOOK = 2.0  # seconds between two looks at the files
SHOW = 20.0  # seconds between two signs of life in the database

log = structlog.get_logger("archiver.daemon")

Look = tuple[tuple[str, int, int, int], ...]


class Reloader:
    """A thread that looks at the files of the configuration. `apply` takes a new one over, or raises ConfigError.

    `hangups` tells how often SIGHUP came. A file that has changed is read when it has stood still for one look, so
    that nobody reads a half of it.
    """

    def __init__(
        self,
        current: Config,
        apply: Callable[[Config], None],
        presence: Presence,
        *,
        hangups: Callable[[], int],
        stop: threading.Event,
    ) -> None:
        self._current = current
        self._apply = apply
        self._presence = presence
        self._hangups = hangups
        self._stop = stop
        self._error: str | None = None
        self._read_at = datetime.now(UTC)
        self._thread = threading.Thread(target=self._watch, name="configuration", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _watch(self) -> None:
        held = seen = _look(self._current)
        hangups, shown = 0, float("-inf")
        while True:
            asked, now = self._hangups(), _look(self._current)
            if asked != hangups or (now != held and now == seen):
                hangups, held, shown = asked, now, float("-inf")
                self._reload()
            seen = now
            if time.monotonic() - shown >= SHOW:
                shown = time.monotonic()
                self._show()
            if self._stop.wait(LOOK):
                return

    def _reload(self) -> None:
        if self._current.path is None:
            return
        try:
            new = config.load(self._current.path, os.environ)
            new.require_flows()
            self._apply(new)
        except ConfigError as exc:
            self._error = "; ".join(exc.problems)
            log.error("configuration not taken over: the one before goes on", problems=list(exc.problems))
        except ArchiverError as exc:  # the database is away; whoever changed the file wants it nevertheless
            self._error = str(exc)
            log.error("configuration not taken over: SIGHUP tries again", problems=[str(exc)])
        else:
            self._current, self._error, self._read_at = new, None, datetime.now(UTC)

    def _show(self) -> None:
        path = None if self._current.path is None else str(self._current.path.absolute())
        try:
            self._presence.show(len(self._current.flows), path, self._read_at, self._error)
        except ArchiverError:
            return  # the tick says so


def _look(current: Config) -> Look:
    """What tells that a file is another one: name, size, time, and place, which changes where a link is moved."""
    return tuple(_signature(path) for path in current.files)


def _signature(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), -1, -1, -1
    return str(path), found.st_size, found.st_mtime_ns, found.st_ino
