"""How fast is the archive filled? The archiver beside a bare loop, in turn, on the same Postgres and Integrator.

    python -m benchmarks.ingest [--flows 2] [--runs 50] [--lines 2000] [--rounds 3]

Every round empties the database, runs one of them as a process of its own, and checks its lines against the truth.
Wall seconds swing with the neighbours of the machine: believe the ratio, which pairs runs of one round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psycopg

from archiver import embedded
from archiver.store import connect, migrate

PYTHON = sys.executable


class Measured(NamedTuple):
    """One run of one process: wall and CPU seconds, Postgres's CPU seconds, peak memory in MB, lines stored."""

    wall: float
    cpu: float
    postgres: float
    megabytes: float
    lines: int


def postgres_seconds(dsn: str) -> float:
    """CPU that the server has used so far, all its processes together."""
    with psycopg.connect(dsn) as connection:
        backend = Path(f"/proc/{connection.info.backend_pid}/stat")
        postmaster = int(backend.read_text().rsplit(")", 1)[1].split()[1])
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = rest.split()
        if int(fields[1]) == postmaster:
            total += int(fields[11]) + int(fields[12])
        elif int(name.split(" ", 1)[0]) == postmaster:
            total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def measure(dsn: str, command: list[str], folder: Path) -> Measured:
    """Run a command on an empty archive."""
    engine = connect(dsn)
    migrate(engine, "base")
    migrate(engine)
    engine.dispose()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO archive.flow (integrator, project_id, flow_id, flow_name)"
            " SELECT 'bare', 'bare', n::text, n::text FROM generate_series(1, 2) n"
        )
        connection.execute("CHECKPOINT") if connection.info.get_parameters().get("is_superuser") == "on" else None
    before = postgres_seconds(dsn)
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} … ended with {process.returncode}")
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM archive.line").fetchone()
    assert row is not None
    return Measured(
        wall,
        usage.ru_utime + usage.ru_stime,
        postgres_seconds(dsn) - before,
        usage.ru_maxrss / 1024,
        row[0],
    )


def configuration(dsn: str, world: dict[str, object]) -> str:
    flows = [
        {"id": flow["id"], "name": flow["name"], "settle": "1h"}
        for flow in world["flows"]  # type: ignore[attr-defined]
    ]
    first = world["flows"][0]  # type: ignore[index]
    return json.dumps(
        {
            "database": {"url": dsn},
            "integrators": {
                "bench": {
                    "base_url": world["base_url"],
                    "username": world["username"],
                    "password": world["password"],
                    "requests_per_second": 10000,
                }
            },
            "projects": [{"id": first["project_id"], "slug": first["slug"], "flows": flows}],
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=2)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-prerender", action="store_true")
    parser.add_argument("--only", choices=["bare", "archiver"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="archiver-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        arguments = ["--flows", str(asked.flows), "--runs", str(asked.runs), "--lines", str(asked.lines)]
        arguments += ["--failed", "0"] + ([] if asked.no_prerender else ["--prerender"])
        server = subprocess.Popen(
            [PYTHON, "-m", "archiver.demo.server", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        assert server.stdin is not None
        said = server.stdout.readline()
        try:
            with embedded.running(folder / "data") as dsn:
                (folder / "config.yaml").write_text(configuration(dsn, json.loads(said)))
                compare(dsn, said, folder, asked)
        finally:
            server.stdin.close()
            server.wait(30)
    return 0


def compare(dsn: str, said: str, folder: Path, asked: argparse.Namespace) -> None:
    commands = {
        "bare": [PYTHON, "-m", "benchmarks.bare_loop", dsn, said],
        "archiver": [PYTHON, "-m", "archiver", "--config", str(folder / "config.yaml"), "sync"],
    }
    results: dict[str, list[Measured]] = {one: [] for one in commands}
    here = Path(__file__).parent.parent
    for number in range(asked.rounds):
        for one, command in commands.items():
            if asked.only in (None, one):
                results[one].append(measure(dsn, command, here))
                print(f"round {number + 1} {one:9}", _line(results[one][-1]), flush=True)
    for one, runs in results.items():
        if runs:
            print(
                f"median  {one:9}", _line(Measured(*(statistics.median(column) for column in zip(*runs, strict=True))))
            )
    if asked.only is None:
        ratios = [
            (ours.lines / ours.wall) / (bare.lines / bare.wall)
            for ours, bare in zip(results["archiver"], results["bare"], strict=True)
        ]
        print(f"archiver / bare loop, lines per second: median {statistics.median(ratios):.2f}, each {ratios}")
    print("machine:", os.cpu_count(), "cores;", "python", sys.version.split()[0], resource.getpagesize(), "byte pages")


def _line(one: Measured) -> str:
    return (
        f"{one.lines / one.wall:9,.0f} lines/s  {one.wall:6.2f} s wall  client {one.cpu:5.2f} s"
        f"  postgres {one.postgres:5.2f} s  peak {one.megabytes:4.0f} MB  {one.lines:,.0f} lines"
    )


if __name__ == "__main__":
    raise SystemExit(main())
