"""Where the race is run: an Integrator on loopback, and one Postgres for all."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from archiver import embedded
from benchmarks.race import meter
from benchmarks.race.meter import HERE, Measured

SYSTEM = Path("/usr/lib/postgresql/15/bin")


class Integrator:
    """The loopback Integrator, a process of its own. `said`: what it says of itself, as JSON."""

    def __init__(self, process: subprocess.Popen[str], said: str) -> None:
        self._process = process
        self.said = said
        self.world: dict[str, Any] = json.loads(said)
        self.lines: int = self.world["lines"]

    @property
    def seconds(self) -> float:
        """CPU so far."""
        return meter.process_seconds(self._process.pid)

    def requests(self, word: str = "") -> int:
        """How many there were since the last time somebody asked; logins are not counted."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        counts: dict[str, int] = json.loads(self._process.stdout.readline())
        return sum(number for path, number in counts.items() if "login" not in path)

    def latency(self, milliseconds: float) -> None:
        self.requests(f"latency {milliseconds}")


@contextmanager
def integrator(flows: int, runs: int, lines: int) -> Iterator[Integrator]:
    """An Integrator with so many flows of so many runs of so many lines, none of which failed."""
    command = [sys.executable, "-m", "benchmarks.integrator", "--flows", str(flows), "--runs", str(runs)]
    process = subprocess.Popen(
        [*command, "--lines", str(lines)], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Integrator(process, process.stdout.readline().strip())
    finally:
        process.stdin.close()
        process.wait(30)


@contextmanager
def postgres() -> Iterator[str]:
    """The DSN of a fresh server that ends with the block: Debian's 15 where it is installed, else the embedded one."""
    folder = Path(tempfile.mkdtemp(prefix="archiver-race-"))
    folder.chmod(0o711)
    try:
        if SYSTEM.is_dir():
            with _system(folder / "data") as dsn:
                yield dsn
        else:
            with embedded.running(folder / "data", settings={"max_wal_size": "4GB"}) as dsn:
                yield dsn
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _system(data: Path) -> Iterator[str]:
    user: dict[str, Any] = {}
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(data, owner.pw_uid, owner.pw_gid)
        user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    quiet: dict[str, Any] = {"cwd": "/", "stdout": subprocess.DEVNULL, **user}
    initdb = [str(SYSTEM / "initdb"), "-D", str(data), "-U", "race", "-A", "trust", "--locale=C.UTF-8"]
    subprocess.run(initdb, check=True, **quiet)
    with (data / "postgresql.conf").open("a") as settings:
        settings.write("listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_wal_size = '4GB'\n")
    port = _free_port()
    control = [str(SYSTEM / "pg_ctl"), "-D", str(data), "-w", "-l", str(data / "log")]
    subprocess.run([*control, "-o", f"-p {port}", "start"], check=True, **quiet)
    try:
        yield f"postgresql://race:race@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def database(server: str, template: str = "template1") -> Iterator[str]:
    """The DSN of a new database, empty or a copy of `template`; checkpointed, so that nobody pays for what another one
    wrote."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS race WITH (FORCE)")
        connection.execute(f"CREATE DATABASE race TEMPLATE {template}".encode())
        connection.execute("CHECKPOINT")
        try:
            yield urlsplit(server)._replace(path="/race").geturl()
        finally:
            connection.execute("DROP DATABASE IF EXISTS race WITH (FORCE)")


def measure(dsn: str, source: Integrator, command: list[str], environ: dict[str, str], table: str) -> Measured:
    """Run a command and see what it took. Raises SystemExit where `table` does not hold the truth then."""
    source.requests()
    postgres_before, server_before = meter.postgres_seconds(dsn), source.seconds
    lsn, size = _position(dsn)
    usage = meter.run(command, environ=environ)
    server = source.seconds - server_before
    requests = source.requests()
    postgres_used = meter.postgres_seconds(dsn) - postgres_before
    lsn_after, size_after = _position(dsn)
    found = lines(dsn, table)
    if found != source.lines:
        raise SystemExit(f"{' '.join(command[:4])} …: {found:,} lines in {table}, {source.lines:,} are true")
    return Measured(
        usage.wall,
        usage.cpu,
        postgres_used,
        server,
        usage.megabytes,
        requests,
        (lsn_after - lsn) / 1e6,
        (size_after - size) / 1e6,
        found,
    )


def kill_in_the_middle(source: Integrator, command: list[str], environ: dict[str, str], whole: int) -> tuple[int, int]:
    """Kill -9 a program when it has asked half of `whole` requests, start it again, and let it end: how many requests
    there were before and after."""
    source.requests()
    asked, kill, over = [0], Event(), Event()

    def watch() -> None:
        while not over.wait(0.02):
            asked[0] += source.requests()
            if asked[0] >= whole / 2:
                kill.set()
                return

    watcher = Thread(target=watch)
    watcher.start()
    meter.run(command, environ=environ, killed_by=kill)
    over.set()
    watcher.join()
    before = asked[0] + source.requests()
    meter.run(command, environ=environ)
    return before, source.requests()


def lines(dsn: str, table: str) -> int:
    with psycopg.connect(dsn) as connection:
        name = sql.SQL(".").join(map(sql.Identifier, table.split(".")))
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
    assert row is not None
    return int(row[0])


def _position(dsn: str) -> tuple[int, int]:
    """Bytes of WAL written so far, and of the database."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, pg_database_size(current_database())"
        ).fetchone()
    assert row is not None
    return row[0], row[1]
