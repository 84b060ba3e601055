"""The indexes that the configuration declares for search: made beside the work, which never waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from sqlalchemy import Engine

from archiver.config import Config
from archiver.errors import ArchiverError
from archiver.store import search_fields
from archiver.store.search_fields import Built

log = structlog.get_logger("archiver.daemon")


def build_indexes(engine: Engine, config: Config, *, stopping: Callable[[], bool] = lambda: False) -> Built:
    """Make the indexes of the configuration's `search_fields` where they are missing.

    On a large archive that can take minutes. Raises where the database goes away.
    """
    fields = [field for flow in config.flows for field in flow.search_fields]
    return search_fields.build(engine, fields, stopping=stopping)


class IndexBuilder:
    """Builds in a thread of its own, one at a time, which ends with the process."""

    def __init__(self, engine: Engine, config: Callable[[], Config], stopping: Callable[[], bool]) -> None:
        self._engine = engine
        self._config = config
        self._stopping = stopping
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look for missing indexes, unless that is going on."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._build, name="indexes", daemon=True)
            self._thread.start()

    def _build(self) -> None:
        try:
            built = build_indexes(self._engine, self._config(), stopping=self._stopping)
        except ArchiverError as exc:
            log.warning("indexes missing", error=str(exc))
            return
        if built.made or built.failed:
            level = log.warning if built.failed else log.info
            level("indexes", made=built.made, problems=built.problems())
