"""Does reading slow the archiving down? The same load with and without somebody who asks 50 times a second, in pairs.

    python -m benchmarks.beside [--rounds 3] [--rate 50] [--requests-per-second 10] [--latency 30] [--pages 400]

`archiver sync` archives a make-believe Integrator, with the connections and the request rate of the configuration's
defaults, or `--requests-per-second 10000` for as much as the machine can. Beside it `archiver serve` answers on the
same database, which holds the history of another flow already: pages of people and of the Logs API in turn, asked for
at fixed times whether the one before has come or not.

Wall time swings with the neighbours on the machine, so the ratio is that of a pair, and the CPU of each is told.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import psycopg

from benchmarks import replay
from benchmarks.fresh import lines as lines_of
from benchmarks.race import meter
from benchmarks.race.ours import Archiver
from benchmarks.race.place import Integrator, database, integrator, postgres

READERS = 8  # connections of those who ask
HISTORY = {"projectid": "p", "flowId": "f", "limit": 100}
PATHS = [
    "/",
    "/flows/1",
    "/search?q=sku=SKU-77",
    "/history?q=sku=SKU-1234",
    "/errors",
    "/archive",
    *(
        f"/logs?{urlencode(HISTORY | more)}"
        for more in (
            {"log_type": 1},
            {"log_type": 1, "page": 70},
            {"log_type": 3},
            {"log_type": 3, "page": 900},
            {"log_type": 3, "search_field.1": "sku", "search_value.1": "SKU-77"},
            {"log_type": 3, "search_field.1": "currency", "search_value.1": "TRY"},
        )
    ),
]


class Load(NamedTuple):
    """One load: seconds, lines, CPU seconds of the archiver, of Postgres and of the web server; and what the readers
    saw: answers, those that were no answer, median milliseconds. `megabytes`: the web server's peak."""

    wall: float
    lines: int
    archiver: float
    postgres: float
    web: float = 0.0
    answers: int = 0
    refused: int = 0
    median: float = 0.0
    megabytes: float = 0.0

    @property
    def rate(self) -> float:
        """Lines a second."""
        return self.lines / self.wall


class Readers:
    """Ask `rate` times a second, at their times, until told to stop."""

    def __init__(self, url: str, rate: float) -> None:
        self._address = urlsplit(url).netloc
        self._rate = rate
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self._began = time.monotonic()
        self.took: list[float] = []
        self.refused = 0
        self._threads = [threading.Thread(target=self._ask) for _ in range(READERS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        while True:
            with self._lock:
                number, self._next = self._next, self._next + 1
            due = self._began + number / self._rate
            if self._over.wait(max(0.0, due - time.monotonic())):
                return
            began = time.monotonic()
            connection.request("GET", PATHS[number % len(PATHS)])
            answer = connection.getresponse()
            answer.read()
            with self._lock:
                self.took.append((time.monotonic() - began) * 1000)
                self.refused += answer.status != 200

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def load(dsn: str, source: Integrator, command: list[str], config: Path, rate: float) -> Load:
    """Archive everything, somebody asking `rate` times a second, or nobody (0)."""
    before = lines_of(dsn)
    if not rate:
        return _archived(dsn, command, before, source.lines)
    with _serving(config) as (web, url):
        web_before = meter.process_seconds(web.pid)
        readers = Readers(url, rate)
        try:
            found = _archived(dsn, command, before, source.lines)
        finally:
            readers.stop()
        peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{web.pid}/status").read_text())
        assert peak is not None
        return found._replace(
            web=meter.process_seconds(web.pid) - web_before,
            answers=len(readers.took),
            refused=readers.refused,
            median=statistics.median(readers.took),
            megabytes=int(peak[1]) / 1024,
        )


def _archived(dsn: str, command: list[str], before: int, truth: int) -> Load:
    postgres_before = meter.postgres_seconds(dsn)
    usage = meter.run(command, environ={})
    lines = lines_of(dsn) - before
    if lines != truth:
        raise SystemExit(f"{lines:,} lines were archived, {truth:,} are true")
    return Load(usage.wall, lines, usage.cpu, meter.postgres_seconds(dsn) - postgres_before)


@contextmanager
def _serving(config: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "archiver", "--config", str(config), "serve", "--listen", "127.0.0.1:0"]
    web = subprocess.Popen(command, cwd=meter.HERE, stderr=subprocess.PIPE, text=True)
    assert web.stderr is not None
    try:
        said = next(line for line in web.stderr if "serving on" in line)
        threading.Thread(target=web.stderr.read, daemon=True).start()
        yield web, said.split()[-1]
    finally:
        web.terminate()
        web.wait(30)


def measure(server: str, source: Integrator, asked: argparse.Namespace) -> None:
    """Prints pairs, and the median of their ratios."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE history")
    replay.make(urlsplit(server)._replace(path="/history").geturl(), asked.history)
    ratios: list[float] = []
    for number in range(asked.rounds):
        pair: dict[float, Load] = {}
        for rate in (0.0, asked.rate) if number % 2 == 0 else (asked.rate, 0.0):
            with database(server, "history") as dsn, tempfile.TemporaryDirectory() as folder:
                archiver = Archiver()
                archiver.prepare(dsn, source, Path(folder), asked.connections)
                config = Path(folder) / "config.yaml"
                settings = json.loads(config.read_text())
                settings["integrators"]["race"]["requests_per_second"] = asked.requests_per_second
                config.write_text(json.dumps(settings))
                pair[rate] = load(dsn, source, archiver.command(), config, rate)
                print(_told(pair[rate]), flush=True)
        ratios.append(pair[asked.rate].rate / pair[0.0].rate)
    each = " ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"\nlines/s with readers / without: median {statistics.median(ratios):.3f} ({each}); {os.cpu_count()} cores")


def _told(one: Load) -> str:
    text = f"{one.rate:8,.0f} lines/s  {one.wall:6.2f} s  CPU: archiver {one.archiver:5.2f} s"
    text += f"  postgres {one.postgres:5.2f} s"
    if not one.answers:
        return text + "  nobody reads"
    return (
        f"{text}  web {one.web:5.2f} s  {one.answers / one.wall:4.1f} answers/s, median {one.median:4.0f} ms,"
        f" {one.refused} refused, web {one.megabytes:3.0f} MB"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--requests-per-second", type=float, default=10.0, help="of the archiver to the Integrator")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--latency", type=float, default=30.0, help="milliseconds of each answer of the Integrator")
    parser.add_argument("--pages", type=int, default=400, help="of lines that are archived")
    parser.add_argument("--history", type=int, default=200_000, help="lines that are there already")
    asked = parser.parse_args(arguments)
    runs = max(1, asked.pages // 20)
    with integrator(2, runs, 1000) as source, postgres() as server:
        source.latency(asked.latency)
        measure(server, source, asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
