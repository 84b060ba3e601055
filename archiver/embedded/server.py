"""The postmaster: start it, believe it, end it. Everything here is called under the home's lock."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from archiver.embedded import cluster, installed
from archiver.embedded.place import Place
from archiver.errors import DatabaseUnavailable

DATABASE = "archiver"
OWNER = "archiver"

START_SECONDS = 600.0
"""A start after a power cut replays up to max_wal_size; a slow disk needs minutes for it."""
SETTLE_SECONDS = 60.0
"""For a server that is just starting, stopping, or losing its last children after a kill."""

PAUSE = 0.01
LOG_SECONDS = 6 * 86_400.0


def dsn(place: Place) -> str:
    """The owner's DSN, as libpq writes it. The server has to be up."""
    password = quote(cluster.passwords(place).owner, safe="")
    return f"postgresql://{OWNER}:{password}@127.0.0.1:{_pid_file(place)[3]}/{DATABASE}"


def ensure(place: Place, settings: Mapping[str, str]) -> bool:
    """See to it that the server runs and has its database; True where this call had to start it."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while _runs(place):
        if _answers(place):
            return False
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(
                f"the embedded Postgres in {place.folder} neither answers nor ends; its log is in {place.log}"
            )
        time.sleep(PAUSE)
    if not place.cluster.exists():
        cluster.create(place, sync=settings.get("fsync") != "off")
    _launch(place, settings)
    return True


def end(place: Place) -> bool:
    """Shut the server down; True where it has ended. Past a minute it is left to end by itself."""
    if not _runs(place):
        return False
    deadline = time.monotonic() + SETTLE_SECONDS
    told = False
    while _runs(place):
        if time.monotonic() > deadline:
            return False
        told = told or _interrupt(place)
        time.sleep(PAUSE)
    return True


def detach(command: Sequence[str | Path], **options: Any) -> None:
    """Start a program that is nobody's child: it outlives the caller, and leaves no zombie behind in it."""
    subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", '"$@" &', "sh", *command],
        check=True, cwd="/", stdin=subprocess.DEVNULL, start_new_session=True, umask=0o077, **options,
    )  # fmt: skip


def watch(place: Place) -> None:
    """Start a watcher, see `watch.py`. The caller has to be counted as a user already."""
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    environment = {**cluster.environment(), "PYTHONPATH": paths}
    program = Path(__file__).with_name("watch.py")
    with Path(os.devnull).open("w") as nowhere:
        detach([sys.executable, "-P", program, place.folder], stdout=nowhere, stderr=nowhere, env=environment)


def _runs(place: Place) -> bool:
    return place.alive() or _postmaster(place) is not None


def _answers(place: Place) -> bool:
    """Believe only a real connection that leads into our own data folder; finish what a killed start left undone."""
    lines = _pid_file(place)
    if len(lines) < 8 or lines[7].strip() != "ready":
        return False
    password = cluster.passwords(place).superuser
    try:
        connection = psycopg.connect(
            host="127.0.0.1", port=lines[3], user=cluster.SUPERUSER, password=password, dbname="postgres",
            sslmode="disable", gssencmode="disable", connect_timeout=5, options="", autocommit=True,
        )  # fmt: skip
    except psycopg.OperationalError as exc:
        if "password authentication failed" in str(exc):
            raise DatabaseUnavailable(
                f"{place.cluster / 'password'} does not fit the data beside it; bring back both from one backup"
            ) from exc
        return False
    with connection:
        ours = _leads_into(connection, place.data)
        if ours:
            _complete(connection, place)
        return ours


def _leads_into(connection: psycopg.Connection, data: Path) -> bool:
    row = connection.execute("SELECT current_setting('data_directory')").fetchone()
    return row is not None and Path(row[0]).samefile(data)


def _complete(connection: psycopg.Connection, place: Place) -> None:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s), EXISTS (SELECT FROM pg_database WHERE datname = %s)",
        (OWNER, DATABASE),
    ).fetchone()
    role, database = row or (False, False)
    owner = sql.Identifier(OWNER)
    if not role:
        # An owner, not a superuser: what works here works on a server that somebody else runs, too.
        secret = connection.pgconn.encrypt_password(
            cluster.passwords(place).owner.encode(), OWNER.encode(), b"scram-sha-256"
        )
        create = "CREATE ROLE {} LOGIN CREATEDB CREATEROLE PASSWORD {} IN ROLE pg_monitor, pg_signal_backend"
        connection.execute(sql.SQL(create).format(owner, sql.Literal(secret.decode())))
    if not database:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), owner))


def _launch(place: Place, settings: Mapping[str, str]) -> None:
    programs = installed.choose(place, cluster.major(place))
    # Nothing of ours runs, so this file is stale, and its process id may be an innocent's by now: postgres would
    # refuse to start. Should it run all the same, its shared memory keeps a second server out.
    (place.data / "postmaster.pid").unlink(missing_ok=True)
    words = ""
    for port in _ports(place):
        before = _log_sizes(place)
        if _start(place, programs, port, settings):
            place.port.write_text(f"{port}\n")
            return
        words = _last_words(place, before)
        if "TCP/IP" not in words:
            break
    raise DatabaseUnavailable(f"the embedded Postgres in {place.folder} did not start: {words}")


def _start(place: Place, programs: Path, port: int, settings: Mapping[str, str]) -> bool:
    """Start the postmaster and wait for it; False where it ended instead."""
    given = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "", **settings}
    options = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
    fd = place.open("server")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with (place.log / "start.log").open("w") as log:
            detach(
                [programs / "postgres", "-D", place.data, *options],
                stdout=log, stderr=log, env=cluster.environment(), pass_fds=(fd,), **place.identity(),
            )  # fmt: skip
    finally:
        os.close(fd)  # without unlocking: from now on the server holds the lock
    deadline = time.monotonic() + START_SECONDS
    while place.alive():
        if _answers(place):
            return True
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(f"the embedded Postgres in {place.folder} is still starting; see {place.log}")
        time.sleep(PAUSE)
    return False


def _ports(place: Place) -> Iterator[int]:
    """The last one, so that a DSN in a BI tool stays good, then free ones; another program may be faster each time."""
    try:
        last = int(place.port.read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    for port in (last, 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            free: int = probe.getsockname()[1]
        yield free


def _pid_file(place: Place) -> list[str]:
    """The lines of postmaster.pid: id, data folder, start, port, socket folder, address, shared memory, state."""
    try:
        return (place.data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _postmaster(place: Place) -> int | None:
    """The postmaster's process id, if the one in postmaster.pid is that of a postmaster in our data folder."""
    lines = _pid_file(place)
    if not lines or not lines[0].isdecimal():
        return None
    pid = int(lines[0])
    if sys.platform != "linux":
        return pid if place.alive() else None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return pid if Path(os.fsdecode(command[0])).name == "postgres" and os.fsencode(place.data) in command else None


def _interrupt(place: Place) -> bool:
    """Ask for a fast shutdown. The process is pinned before it is looked at, so no other can take its id between."""
    pid = _postmaster(place)
    if pid is None:
        return False
    try:
        if sys.platform != "linux":
            os.kill(pid, signal.SIGINT)
            return True
        pinned = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if _postmaster(place) == pid:
            signal.pidfd_send_signal(pinned, signal.SIGINT)
            return True
    except ProcessLookupError:
        pass
    finally:
        os.close(pinned)
    return False


def _log_sizes(place: Place) -> dict[Path, int]:
    """The logs and how long they are; those of last week go. A server that never runs at midnight rotates nothing."""
    (place.log / "start.log").touch()
    sizes = {path: path.stat() for path in place.log.iterdir()}
    newest = max(status.st_mtime for status in sizes.values())
    for path, status in sizes.items():
        if status.st_mtime < newest - LOG_SECONDS:
            path.unlink()
    return {path: status.st_size for path, status in sizes.items() if path.exists() and path.name != "start.log"}


def _last_words(place: Place, before: Mapping[Path, int]) -> str:
    fresh: list[str] = []
    for path in sorted(place.log.iterdir(), key=lambda path: path.stat().st_mtime):
        with path.open(errors="replace") as log:
            log.seek(before.get(path, 0))
            fresh += log.read().splitlines()
    fatal = [line.split("FATAL:", 1)[1].strip() for line in fresh if "FATAL:" in line]
    return (fatal or fresh or [f"it left no word in {place.log}"])[-1]
