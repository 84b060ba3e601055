"""A Postgres of our own for those who have none: found, started, shared and ended without anybody noticing.

Everybody who needs the server is counted by a lock that the kernel drops when they end, however they end; the last
one to leave stops it, and where the last one was killed, a watcher does. `start` keeps it up until `stop`. It listens
on 127.0.0.1 alone, with random passwords, and runs as an unprivileged user where root starts it (see `place.settle`
for where its data is then). The port stays the same from start to start where it can: should the server itself be
killed, a new `running` or `start` brings it back under the same DSN.

Needs a file system with `flock`, as every local one has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from archiver.embedded import server
from archiver.embedded.installed import binaries, pg_dump, psql
from archiver.embedded.place import Place, folder, release, settle
from archiver.errors import DatabaseUnavailable

__all__ = ["binaries", "folder", "pg_dump", "psql", "running", "start", "stop"]


@contextmanager
def running(home: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """The owner's DSN of the server in `home`, which is up for as long as the block lasts.

    `settings` are Postgres's own, for tests (`fsync=off`); they count only where this call has to start the server.
    Raises DatabaseUnavailable, or MissingExtra where there is no Postgres to start.
    """
    with _explained(home):
        place = settle(home)
        with place.locked():
            seats = place.join()
            try:
                if server.ensure(place, settings or {}):
                    server.watch(place)
                dsn = server.dsn(place)
            except BaseException:
                _leave(place, seats)
                raise
    try:
        yield dsn
    finally:
        with _explained(home), place.locked():
            _leave(place, seats)


def start(home: Path) -> str:
    """Start the server by hand, or keep up the one that runs: the owner's DSN. It stays up until `stop`."""
    with _explained(home):
        place = settle(home)
        with place.locked():
            server.ensure(place, {})
            place.by_hand.touch()
            return server.dsn(place)


def stop(home: Path) -> bool:
    """Undo `start`: the server ends now, or with its last user if somebody uses it. True where it ended now."""
    if not home.is_dir():
        return False
    with _explained(home):
        place = settle(home)
        with place.locked():
            place.by_hand.unlink(missing_ok=True)
            if place.used():
                server.watch(place)
                return False
            return server.end(place)


def _leave(place: Place, seats: tuple[int, int]) -> None:
    users, watched = seats
    release(users)
    try:
        if not place.used() and not place.by_hand.exists():
            server.end(place)
    finally:
        release(watched)


@contextmanager
def _explained(home: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, psycopg.Error) as exc:
        reason = f"{exc.strerror}: {exc.filename}" if isinstance(exc, OSError) and exc.filename else str(exc)
        raise DatabaseUnavailable(
            f"the embedded Postgres in {home} cannot be used: {reason.strip()}; "
            "run as the user who made it, mend the folder, or set database.url"
        ) from exc
