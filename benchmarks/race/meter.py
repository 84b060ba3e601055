"""What a program takes: seconds, CPU by process, memory, requests, WAL, disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import psycopg

TICKS = os.sysconf("SC_CLK_TCK")
HERE = Path(__file__).parents[2]


class Measured(NamedTuple):
    """Seconds of wall and of CPU: of the program and its children, of Postgres, of the Integrator. `megabytes` of the
    program and its children at their peak; `wal` and `disk` in MB."""

    wall: float
    client: float
    postgres: float
    server: float
    megabytes: float
    requests: float
    wal: float
    disk: float
    lines: float


class Usage(NamedTuple):
    """How a program ended."""

    wall: float
    cpu: float
    megabytes: float


def environment() -> dict[str, str]:
    """The environment of a program as its user has it: whoever installs one has its modules compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(command: list[str], *, environ: dict[str, str], killed_by: Event | None = None) -> Usage:
    """Run a program to its end, or until somebody wants it and its children killed. Raises SystemExit if it fails."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=HERE, env=environment() | environ, stdout=subprocess.DEVNULL, start_new_session=True
    )
    ended = Event()
    peak = _Peak(process.pid, ended)
    if killed_by is not None:
        Thread(target=_kill, args=(process.pid, killed_by, ended), daemon=True).start()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    ended.set()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and killed_by is None:
        raise SystemExit(f"{' '.join(command[:4])} … ended with {process.returncode}")
    return Usage(wall, used.ru_utime + used.ru_stime, peak.megabytes())


def _kill(pid: int, wanted: Event, ended: Event) -> None:
    while not ended.is_set():
        if wanted.wait(0.02):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            return


class _Peak:
    """The memory of a process group, looked at ten times a second; what is shared counts once."""

    def __init__(self, group: int, ended: Event) -> None:
        self._group, self._ended = group, ended
        self._most = 0
        self._thread = Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self._most = max(self._most, sum(map(_kilobytes, _members(self._group))))

    def megabytes(self) -> float:
        self._thread.join()
        return self._most / 1024


def _members(group: int) -> Iterator[Path]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            if os.getpgid(int(folder.name)) == group:
                yield folder


def _kilobytes(process: Path) -> int:
    try:
        found = re.search(r"^Pss:\s+(\d+)", (process / "smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def process_seconds(pid: int, *, with_children: bool = False) -> float:
    """CPU of one process so far; `with_children`: and of those that it has had, once they have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11 : 15 if with_children else 13])) / TICKS


def peak(pid: int) -> float:
    """The most memory that one process has had, in MB, what it shares with others included."""
    found = re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def postgres_seconds(dsn: str) -> float:
    """CPU that the server has used so far, all its processes together, those that have ended as well."""
    with psycopg.connect(dsn) as connection:
        backend = Path(f"/proc/{connection.info.backend_pid}/stat")
        postmaster = int(backend.read_text().rsplit(")", 1)[1].split()[1])
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        fields = rest.split()
        if int(fields[1]) == postmaster:
            total += int(fields[11]) + int(fields[12])
        elif int(name.split(" ", 1)[0]) == postmaster:
            total += sum(map(int, fields[11:15]))
    return total / TICKS
