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

from archiver import config, daemon, embedded
from archiver.archive import archive_flow
from benchmarks.ingest import configuration


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
                measure(path, asked.polls)
        finally:
            server.stdin.close()
            server.wait(30)
    return 0


def measure(path: Path, polls: int) -> None:
    with daemon.opened(config.load(path, os.environ)) as place:
        (flow,) = place.config.flows
        daemon.sync(place, [flow])
        client = place.clients[flow.integrator]
        requests, cpu, wall = client.requests, time.process_time(), time.monotonic()
        for _ in range(polls):
            lease = place.store.leases.claim(place.keys[flow])
            assert lease is not None
            report = archive_flow(flow, client, place.store, lease)
            assert not report.errors, report
        print(
            f"{(client.requests - requests) / polls:.2f} requests,"
            f" {(time.process_time() - cpu) / polls * 1000:.1f} ms CPU,"
            f" {(time.monotonic() - wall) / polls * 1000:.1f} ms wall a poll, over {polls} polls"
        )


if __name__ == "__main__":
    raise SystemExit(main())
