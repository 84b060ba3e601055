"""PgBouncer in transaction mode: schema, two daemons, audit and reading, all through four server connections."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

from tests.conftest import new_database
from tests.real.place import Place, apt, free_port, must
from tests.system.story import Story, small_flows, told

CONFIG = """
[databases]
archive = host={host} port={port} dbname={name} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
unix_socket_dir =
logfile = {folder}/pgbouncer.log
pidfile = {folder}/pgbouncer.pid
"""
CATCH_UP = 180.0  # seconds


def probe(place: Place) -> str:
    """An archive that nobody reaches but through the pool."""
    apt("pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="archiver-pgbouncer-"))
    folder.chmod(0o777)
    flows = small_flows("price", "stock", "order")
    try:
        with new_database(place.owner) as dsn, pooled(dsn, folder) as pool, told(folder, pool, flows=flows) as story:
            must(story.run("migrate").returncode == 0, "the schema cannot be made")
            _two_daemons(story)
            must(story.differences() == [], f"the archive differs: {story.differences()[:3]}")
            for command in (
                ["verify"],
                ["status"],
                ["gaps"],
                ["runs", "--limit", "5"],
                ["errors"],
                ["sql", "SELECT 1"],
            ):
                done = story.run(*command)
                must(done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}")
            with psycopg.connect(pool, autocommit=True, prepare_threshold=None) as connection:
                left = connection.execute("SHOW default_transaction_read_only").fetchone()
                must(left == ("off",), "a session's setting was left behind")
                (runs,) = connection.execute("SELECT count(*) FROM archive.run").fetchone() or (0,)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return f"{runs} runs by two daemons, equal to the truth and audited"


def _two_daemons(story: Story) -> None:
    daemons = [story.start("run"), story.start("run")]
    try:
        deadline = time.monotonic() + CATCH_UP
        while not _has_all(story):
            must(time.monotonic() < deadline, "the daemons do not come to an end")
            must(all(one.poll() is None for one in daemons), "a daemon ended")
            time.sleep(1.0)
    finally:
        for one in daemons:
            one.terminate()
            one.communicate()
    must([one.returncode for one in daemons] == [0, 0], "a daemon did not end well")


def _has_all(story: Story) -> bool:
    (row,) = story.query("SELECT count(*) FROM archive.checkpoint WHERE frontier IS NOT NULL")
    return bool(row[0] == len(story.flows)) and not story.differences()


@contextmanager
def pooled(dsn: str, folder: Path) -> Iterator[str]:
    """The DSN of a PgBouncer in front of a database."""
    url, listen = urlsplit(dsn), free_port()
    (folder / "pgbouncer.ini").write_text(
        CONFIG.format(
            host=url.hostname,
            port=url.port,
            name=url.path.removeprefix("/"),
            user=unquote(url.username or ""),
            password=unquote(url.password or ""),
            listen=listen,
            folder=folder,
        )
    )
    # It does not run as root.
    user = ["-u", "postgres"] if os.geteuid() == 0 else []
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    process = subprocess.Popen([program, "-q", *user, str(folder / "pgbouncer.ini")], stderr=subprocess.DEVNULL)
    try:
        address = f"postgresql://anybody@127.0.0.1:{listen}/archive"
        deadline = time.monotonic() + 30
        while not _answers(address):
            must(process.poll() is None and time.monotonic() < deadline, "PgBouncer does not start")
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _answers(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
