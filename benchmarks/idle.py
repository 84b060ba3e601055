"""What does a poll cost that finds nothing new? Requests, and CPU of the archiver's own process.

python -m benchmarks.idle [--polls 200] [--runs 500]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from archiver import config, daemon, embedded
from archiver.archive import archive_flow
from benchmarks.ingest import configuration
from benchmarks.race.meter import postgres_seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--polls", type=int, default=200)
    parser.add_argument("--runs", type=int, default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="archiver-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = subprocess.Popen(
            [sys.executable, "-m", "archiver.demo.server", "--flows", "1", "--runs", str(asked.runs), "--lines", "5"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        assert server.stdin is not None
        said = json.loads(server.stdout.readline())
        try:
            with embedded.running(folder / "data") as dsn:
                path = folder / "config.yaml"
                path.write_text(configuration(dsn, said, 4))
                print(f"{measure(path, asked.polls)}, over {asked.polls} polls")
        finally:
            server.stdin.close()
            server.wait(30)
    return 0


class Polled(NamedTuple):
    """What a poll took on the average: requests, and milliseconds of the archiver's CPU, of Postgres's, and in all."""

    requests: float
    cpu: float
    postgres: float
    wall: float

    def __str__(self) -> str:
        return (
            f"{self.requests:.2f} requests, {self.cpu:.1f} ms CPU, Postgres {self.postgres:.1f} ms CPU,"
            f" {self.wall:.1f} ms wall a poll"
        )


def measure(path: Path, polls: int) -> Polled:
    """Polls of the first flow of a configuration, which has nothing new."""
    with daemon.opened(config.load(path, os.environ)) as place:
        flow = place.config.flows[0]
        daemon.sync(place, [flow])
        client = place.clients[flow.integrator]
        dsn = place.store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        before = client.requests, time.process_time(), postgres_seconds(dsn), time.monotonic()
        for _ in range(polls):
            lease = place.store.leases.claim(place.keys[flow])
            assert lease is not None
            report = archive_flow(flow, client, place.store, lease)
            assert not report.errors, report
        after = client.requests, time.process_time(), postgres_seconds(dsn), time.monotonic()
    requests, *seconds = ((late - early) / polls for early, late in zip(before, after, strict=True))
    return Polled(requests, *(1000 * one for one in seconds))


if __name__ == "__main__":
    raise SystemExit(main())
