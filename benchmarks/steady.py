"""What does it cost to poll a thousand flows every minute where nothing is new?

    python -m benchmarks.steady [--flows 1000] [--minutes 60]

`archiver run` as it comes, with a configuration of so many flows. When all of them have been polled for the first time,
each minute is one line: polls, requests, CPU of the daemon and of Postgres, memory. Exit status 1 where a poll takes
more than one request, where the daemon takes 30 % of a core or more, or where its memory grows.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psycopg

from benchmarks.race import meter
from benchmarks.race.place import Integrator, database, integrator, postgres

GROWTH = 1.05  # of memory, from the first minute to the last


class Minute(NamedTuple):
    """How things stand: seconds of CPU, MB."""

    polls: int
    requests: int
    daemon: float
    postgres: float
    megabytes: float
    at: float


def configuration(dsn: str, source: Integrator) -> str:
    world = source.world
    account = {name: world[name] for name in ("base_url", "username", "password")}
    flows = [{"id": flow["id"], "name": flow["name"]} for flow in world["flows"]]
    first = world["flows"][0]
    return json.dumps(
        {
            "database": {"url": dsn},
            "integrators": {"steady": {**account, "requests_per_second": 1000}},
            "projects": [{"id": first["project_id"], "slug": first["slug"], "flows": flows}],
            "defaults": {"every": "1m", "settle": "30d"},
        }
    )


def polls(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT coalesce(sum(turns), 0) FROM archive.pass").fetchone()
    assert row is not None
    return int(row[0])


def look(dsn: str, pid: int, requests: int) -> Minute:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    seconds = meter.process_seconds(pid), meter.postgres_seconds(dsn)
    return Minute(polls(dsn), requests, *seconds, int(found[1]) / 1024, time.monotonic())


def watch(dsn: str, pid: int, source: Integrator, minutes: int) -> list[Minute]:
    asked = 0
    seen: list[Minute] = []
    for _ in range(minutes + 1):
        asked += source.requests()
        seen.append(look(dsn, pid, asked))
        if len(seen) > 1:
            print(line(*seen[-2:]), flush=True)
        if len(seen) <= minutes:
            time.sleep(60)
    return seen


def line(before: Minute, after: Minute) -> str:
    made = after.polls - before.polls
    wall = after.at - before.at
    return (
        f"{made:6,} polls  {(after.requests - before.requests) / made:.3f} requests each"
        f"  {(after.daemon - before.daemon) / made * 1000:5.1f} ms CPU each"
        f"  daemon {(after.daemon - before.daemon) / wall:5.1%} of a core"
        f"  Postgres {(after.postgres - before.postgres) / wall:5.1%}  {after.megabytes:.0f} MB"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--minutes", type=int, default=60)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="archiver-steady-") as folder,
        integrator(asked.flows, 30, 1) as source,
        postgres() as server,
        database(server) as dsn,
    ):
        path = Path(folder) / "config.yaml"
        path.write_text(configuration(dsn, source))
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "archiver", "--config", str(path), "run"]
        with log.open("w") as out:
            daemon = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            began = time.monotonic()
            while _unread(dsn, asked.flows):
                time.sleep(5)
                if daemon.poll() is not None:
                    raise SystemExit(log.read_text()[-2000:])
            print(f"all flows were archived after {time.monotonic() - began:.0f} s", flush=True)
            time.sleep(75)  # until each has come round once more
            seen = watch(dsn, daemon.pid, source, asked.minutes)
        finally:
            daemon.terminate()
            daemon.wait(30)
        print("in all", line(seen[0], seen[-1]))
        failed = log.read_text().count('"failed"')
    first, last = seen[0], seen[-1]
    return int(
        (last.requests - first.requests) > 1.01 * (last.polls - first.polls)
        or (last.daemon - first.daemon) >= 0.3 * (last.at - first.at)
        or last.megabytes > GROWTH * seen[1].megabytes
        or failed > 0
    )


def _unread(dsn: str, flows: int) -> bool:
    """Whether flows, or lines of them, are still to be read for the first time."""
    with psycopg.connect(dsn) as connection:
        try:
            row = connection.execute(
                "SELECT count(*) FILTER (WHERE frontier IS NOT NULL),"
                " (SELECT count(*) FROM archive.run WHERE archive_state = 'pending') FROM archive.checkpoint"
            ).fetchone()
        except psycopg.errors.UndefinedTable:
            return True
    return row is None or row[0] < flows or row[1] > 0


if __name__ == "__main__":
    raise SystemExit(main())
