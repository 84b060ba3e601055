"""A Postgres of a test's own, to be stopped under those that use it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from archiver import embedded
from archiver.embedded import cluster
from archiver.embedded.place import settle

SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "killed": signal.SIGKILL}


class Postgres:
    """A running server; `restart` ends it in one of three ways and starts it again under the same DSN."""

    def __init__(self, home: Path, dsn: str) -> None:
        self.home, self.dsn = home, dsn
        self.place = settle(home)
        self.restarts = 0

    @property
    def superuser(self) -> str:
        """The DSN of who may do everything."""
        where = urlsplit(self.dsn)
        password = quote(cluster.passwords(self.place).superuser, safe="")
        return where._replace(netloc=f"{cluster.SUPERUSER}:{password}@127.0.0.1:{where.port}").geturl()

    @property
    def pid(self) -> int:
        return int((self.place.data / "postmaster.pid").read_text().splitlines()[0])

    def stop(self, way: str) -> None:
        """End the server, and wait until it has gone."""
        pid = self.pid
        os.kill(pid, SIGNALS[way])
        until = time.monotonic() + 60
        while Path(f"/proc/{pid}").exists() or self.place.alive():
            assert time.monotonic() < until, "the server does not end"
            time.sleep(0.01)

    def restart(self, way: str) -> None:
        self.stop(way)
        with embedded.running(self.home) as dsn:
            assert dsn == self.dsn, "the server came back elsewhere"
        self.restarts += 1


@contextmanager
def server(home: Path, **settings: str) -> Iterator[Postgres]:
    """A server in a folder of its own, ended at the end."""
    embedded.start(home)  # by hand, so that it does not end with whoever starts it again
    try:
        with embedded.running(home, settings=settings) as dsn:
            yield Postgres(home, dsn)
    finally:
        embedded.stop(home)
