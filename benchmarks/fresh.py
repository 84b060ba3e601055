"""New lines for an archive that is there: an Integrator with flows that no earlier call has brought, archived."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.ingest import configuration

HERE = Path(__file__).parent.parent


@contextmanager
def integrator(runs: int, lines: int) -> Iterator[str]:
    """What an Integrator with two flows of so many runs of so many lines says of itself; its flows have new names."""
    shape = ["--flows", "2", "--runs", str(runs), "--lines", str(lines), "--name", f"fresh-{time.time_ns()}"]
    command = [sys.executable, "-m", "benchmarks.integrator", *shape]
    with subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline()
        finally:
            server.stdin.close()


@contextmanager
def configured(dsn: str, said: str, rate: float = 10_000) -> Iterator[Path]:
    """A configuration file that archives it there, with so many requests a second."""
    with tempfile.TemporaryDirectory(prefix="archiver-fresh-") as folder:
        settings = json.loads(configuration(dsn, json.loads(said), 4))
        settings["integrators"]["bench"]["requests_per_second"] = rate
        path = Path(folder) / "config.yaml"
        path.write_text(json.dumps(settings))
        yield path


def sync(path: Path) -> list[str]:
    return [sys.executable, "-m", "archiver", "--config", str(path), "sync"]


@contextmanager
def archiving(dsn: str, rate: float) -> Iterator[None]:
    """Lines keep coming meanwhile, at most 100 with each of so many requests a second."""
    with integrator(200, 2000) as said, configured(dsn, said, rate) as path:
        before, began = lines(dsn), time.monotonic()
        with subprocess.Popen(sync(path), cwd=HERE, stdout=subprocess.DEVNULL) as process:
            try:
                while lines(dsn) == before:
                    time.sleep(0.5)
                yield
                ended = process.poll()
                new, seconds = lines(dsn) - before, time.monotonic() - began
            finally:
                process.terminate()
        if ended is not None:
            raise SystemExit("all lines were there before the end: they have to keep coming")
    print(f"\nmeanwhile {new:,} lines came, {new / seconds:,.0f} a second")


def lines(dsn: str) -> int:
    """As the archive counts them itself: to count tens of millions would warm what is measured."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT coalesce(sum(line_count), 0) FROM archive.run").fetchone()
    assert row is not None
    return int(row[0])
