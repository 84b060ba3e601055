"""How fast is the archive filled? The archiver beside bare loops, in turn, on the same Postgres and Integrator.

    python -m benchmarks.ingest [--flows 2] [--runs 50] [--lines 2000] [--rounds 3] [--latency 30] [--connections 8]

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
from benchmarks.race.meter import postgres_seconds

PYTHON = sys.executable
HERE = Path(__file__).parent.parent


class Measured(NamedTuple):
    """One run of one process: wall and CPU seconds, Postgres's CPU seconds, peak memory in MB, lines stored."""

    wall: float
    cpu: float
    postgres: float
    megabytes: float
    lines: int


def measure(dsn: str, command: list[str], folder: Path) -> Measured:
    """Run a command on an empty archive."""
    engine = connect(dsn)
    migrate(engine, "base")
    migrate(engine)
    engine.dispose()
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.info.parameter_status("is_superuser") == "on":
            connection.execute("CHECKPOINT")
    before = postgres_seconds(dsn)
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} … ended with {process.returncode}")
    with psycopg.connect(dsn) as connection:
        table = "bare.line" if "benchmarks.bare_loop" in command else "archive.line"
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        connection.execute("DROP SCHEMA IF EXISTS bare CASCADE")
    return Measured(
        wall,
        usage.ru_utime + usage.ru_stime,
        postgres_seconds(dsn) - before,
        usage.ru_maxrss / 1024,
        row[0],
    )


def configuration(dsn: str, world: dict[str, object], connections: int) -> str:
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
                    "connections": connections,
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
    parser.add_argument("--failed", type=float, default=0.0, help="share of the runs that fail")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds of each answer")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--only", choices=["A", "B", "archiver"], action="append")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="archiver-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        arguments = ["--flows", str(asked.flows), "--runs", str(asked.runs), "--lines", str(asked.lines)]
        arguments += ["--failed", str(asked.failed), "--latency", str(asked.latency)]
        server = subprocess.Popen(
            [PYTHON, "-m", "benchmarks.integrator", *arguments],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        assert server.stdin is not None
        said = server.stdout.readline()
        try:
            with embedded.running(folder / "data") as dsn:
                (folder / "config.yaml").write_text(configuration(dsn, json.loads(said), asked.connections))
                compare(dsn, said, folder, asked)
        finally:
            server.stdin.close()
            server.wait(30)
    return 0


def compare(dsn: str, said: str, folder: Path, asked: argparse.Namespace) -> None:
    loop = [PYTHON, "-m", "benchmarks.bare_loop", dsn, said, "--fetchers", str(asked.connections)]
    commands = {
        "A": [*loop, "--loop", "A"],
        "B": [*loop, "--loop", "B"],
        "archiver": [PYTHON, "-m", "archiver", "--config", str(folder / "config.yaml"), "sync"],
    }
    if asked.only:
        commands = {one: command for one, command in commands.items() if one in asked.only}
    truth = json.loads(said)["lines"]
    results: dict[str, list[Measured]] = {one: [] for one in commands}
    for number in range(asked.rounds):
        for one, command in commands.items():
            results[one].append(measure(dsn, command, HERE))
            print(f"round {number + 1} {one:9}", _line(results[one][-1]), flush=True)
            if results[one][-1].lines != truth:
                raise SystemExit(f"{one} has {results[one][-1].lines:,} lines of {truth:,}")
    for one, runs in results.items():
        print(f"median  {one:9}", _line(Measured(*(statistics.median(column) for column in zip(*runs, strict=True)))))
    for loop_ in "AB":
        if loop_ in results and "archiver" in results:
            pairs = zip(results["archiver"], results[loop_], strict=True)
            ratios = [bare.wall / ours.wall for ours, bare in pairs]
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"archiver / loop {loop_}, lines per second: median {statistics.median(ratios):.2f} ({each})")
    print("machine:", os.cpu_count(), "cores;", "python", sys.version.split()[0], resource.getpagesize(), "byte pages")


def _line(one: Measured) -> str:
    return (
        f"{one.lines / one.wall:9,.0f} lines/s  {one.wall:6.2f} s wall  client {one.cpu:5.2f} s"
        f"  postgres {one.postgres:5.2f} s  peak {one.megabytes:4.0f} MB  {one.lines:,.0f} lines"
    )


if __name__ == "__main__":
    raise SystemExit(main())
