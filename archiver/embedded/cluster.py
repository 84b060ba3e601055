"""Making the data folder: initdb in a temporary folder, then one rename."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from archiver.embedded import installed
from archiver.embedded.place import Place
from archiver.errors import DatabaseUnavailable

SUPERUSER = "postgres"

# For an archive on a small machine: few writers, large transactions, nothing lost at a power cut. Written once, at the
# end of postgresql.conf, so that an operator's own edits and ALTER SYSTEM stay.
SETTINGS = """
# --- the archiver's choices ---
max_connections = 50
shared_buffers = '128MB'
effective_cache_size = '1GB'
work_mem = '16MB'
maintenance_work_mem = '128MB'
random_page_cost = 1.1
jit = off
fsync = on
synchronous_commit = on
wal_compression = on
max_wal_size = '2GB'
min_wal_size = '128MB'
checkpoint_timeout = '15min'
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
# A file for each day of the week, in ../log: never more than seven.
logging_collector = on
log_directory = '../log'
log_filename = 'postgres-%a.log'
log_file_mode = 0600
log_rotation_age = '1d'
log_rotation_size = 0
log_truncate_on_rotation = on
log_checkpoints = off
# Statements and details hold other people's data, and passwords.
log_error_verbosity = terse
log_min_error_statement = panic
"""


class Passwords(NamedTuple):
    """Of the superuser, which only this room uses, and of the owner of the database, which is in the DSN."""

    superuser: str
    owner: str


def passwords(place: Place) -> Passwords:
    """The random passwords of this cluster."""
    superuser, owner = (place.cluster / "password").read_text().split()
    return Passwords(superuser, owner)


def major(place: Place) -> int | None:
    """The major version that made the data; None where there is none yet."""
    try:
        return int((place.data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def environment() -> Mapping[str, str]:
    """What the server may know of ours: no PG* variables, and no secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C"}


def create(place: Place, *, sync: bool = True) -> None:
    """Make the cluster. Call under the lock. A kill at any point leaves a folder that the next call sweeps away."""
    programs = installed.choose(place, None)
    for left in place.folder.glob("new-*"):
        shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=place.folder))
    password = new / "password"
    password.touch(mode=0o600)
    password.write_text(f"{secrets.token_urlsafe(24)}\n{secrets.token_urlsafe(24)}\n")
    (new / "log").mkdir(mode=0o700)
    for path in (new, password, new / "log"):
        place.give(path)
    _initdb(place, programs, new, sync=sync)
    with (new / "data" / "postgresql.conf").open("a") as conf:
        conf.write(SETTINGS)
    if sync:
        for path in (password, new / "data" / "postgresql.conf", new):
            _fsync(path)
    new.rename(place.cluster)
    if sync:
        _fsync(place.folder)


def _initdb(place: Place, programs: Path, new: Path, *, sync: bool) -> None:
    # initdb reads the first line of the password file: the superuser's.
    command = [f"{programs / 'initdb'}", "-D", f"{new / 'data'}", "-U", SUPERUSER, f"--pwfile={new / 'password'}"]
    command += ["-A", "scram-sha-256", "-E", "UTF8", "-k", "--no-locale", *([] if sync else ["--no-sync"])]
    for locale in _locales(programs):
        done = subprocess.run(  # noqa: S603
            [*command, *locale], capture_output=True, text=True, check=False, cwd="/",
            env=environment(), umask=0o077, **place.identity(),
        )  # fmt: skip
        if done.returncode == 0:
            return
    shutil.rmtree(new, ignore_errors=True)
    complaints = [line for line in done.stderr.splitlines() if "error:" in line]
    reason = complaints[0] if complaints else f"it ended with status {done.returncode}"
    raise DatabaseUnavailable(f"initdb could not make {place.data}: {reason}")


def _locales(programs: Path) -> list[list[str]]:
    """Order by code point everywhere; know all letters (a Turkish İ) where this version and system can."""
    help_text = subprocess.run([programs / "initdb", "--help"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    if "--builtin-locale" in help_text:
        return [["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    return [["--lc-ctype=C.UTF-8"], []]


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
