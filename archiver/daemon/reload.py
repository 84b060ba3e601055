"""The configuration while the daemon runs: a changed file, or SIGHUP, brings it in without a stop.

A file that cannot be used changes nothing: what held goes on, the log says why, and so does `archiver status`. It is
tried again every now and then, for what it needs may come later: the file of a secret, the database.
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
AGAIN = 20.0  # seconds until a file that could not be used is read again

log = structlog.get_logger("archiver.daemon")

Look = dict[Path, tuple[int, int, int]]


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
        self._problems: tuple[str, ...] = ()  # of the file as it is now
        self._tried = float("-inf")
        self._read_at = datetime.now(UTC)
        self._thread = threading.Thread(target=self._watch, name="configuration", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _watch(self) -> None:
        held = seen = _look(self._current)
        hangups, shown = 0, float("-inf")
        while True:
            asked, now = self._hangups(), _look(self._current)
            is_new = asked != hangups or (now != held and now == seen)
            if is_new or (self._problems and time.monotonic() - self._tried >= AGAIN):
                hangups, shown = asked, float("-inf")
                self._reload(aloud=is_new)
                now = held = _look(self._current) | {path: now[path] for path in self._current.files if path in now}
            seen = now
            if time.monotonic() - shown >= SHOW:
                shown = time.monotonic()
                self._show()
            if self._stop.wait(LOOK):
                return

    def _reload(self, *, aloud: bool) -> None:
        """`aloud`: also a problem that was told before is told."""
        if self._current.path is None:
            return
        before, self._tried = self._problems, time.monotonic()
        try:
            new = config.load(self._current.path, os.environ)
            new.require_flows()
            self._apply(new)
        except ConfigError as exc:
            self._problems = exc.problems
        except ArchiverError as exc:  # the database is away
            self._problems = (str(exc),)
        else:
            self._current, self._problems, self._read_at = new, (), datetime.now(UTC)
        if self._problems and (aloud or self._problems != before):
            log.error("configuration not taken over: the one before goes on", problems=list(self._problems))

    def _show(self) -> None:
        path = None if self._current.path is None else str(self._current.path.absolute())
        error = "; ".join(self._problems) or None
        try:
            self._presence.show(len(self._current.flows), path, self._read_at, error)
        except ArchiverError:
            return  # the tick says so


def _look(current: Config) -> Look:
    """What tells that a file is another one: size, time, and place, which changes where a link is moved."""
    return {path: _signature(path) for path in current.files}


def _signature(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1, -1
    return found.st_size, found.st_mtime_ns, found.st_ino
