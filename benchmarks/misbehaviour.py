"""A soak: `archiver run` against an Integrator that misbehaves, then the archive against the truth.

    make soak MINUTES=10        # or: python -m benchmarks.misbehaviour --minutes 10 --kills 6 --seed 7

One answer in twenty is a 500, a 429, a reset or a cut body, and tokens live two seconds, while runs start, go on and
finish as time passes. The daemon is also ended by kill -9 at random moments, and started again. At the end the
Integrator behaves and the world stands still; the daemon gets some time to catch up, and then every row and every file
is compared. Exit status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from archiver import embedded
from archiver.demo.faults import Cut, Faults, Reset, Status
from archiver.demo.flows import FlowShape, flow_named
from archiver.demo.world import World
from tests.system.story import Story, told

RATE = 0.05  # of the answers
KINDS = (Status(500), Status(429, retry_after="1"), Reset(), Reset(0.5), Cut(0.5), Cut(0.5, declared=False))
TOKEN_SECONDS = 2.0
CATCH_UP = 900.0  # seconds that the daemon has at the end


class Clock:
    """The world's: it goes on until it is told to stand still."""

    def __init__(self) -> None:
        self.stands: datetime | None = None

    def __call__(self) -> datetime:
        return self.stands or datetime.now(UTC)


def flows() -> list[FlowShape]:
    """Busy ones, so that minutes are enough to see runs begin and end."""
    price, stock, order = (flow_named(kind, kind) for kind in ("price", "stock", "order"))
    return [
        replace(price, every=timedelta(seconds=20), lines=60, failed=0.15),
        replace(stock, every=timedelta(seconds=45), lines=250, failed=0.15),
        replace(order, every=timedelta(seconds=10), lines=5, failed=0.1),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, help="so many times kill -9; else once a minute")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    asked = parser.parse_args()
    kills = int(asked.minutes) if asked.kills is None else asked.kills
    print(f"seed {asked.seed}, {asked.minutes:g} minutes, {kills} kills", flush=True)
    with tempfile.TemporaryDirectory(prefix="archiver-soak-") as folder:
        Path(folder).chmod(0o711)
        with embedded.running(Path(folder) / "postgres") as dsn:
            return soak(Path(folder), dsn, asked.minutes * 60.0, kills, asked.seed)


def soak(folder: Path, dsn: str, seconds: float, kills: int, seed: int) -> int:
    """Misbehave, behave, compare."""
    faults, clock, chance = Faults(seed=seed), Clock(), random.Random(seed)
    for kind in KINDS:
        faults.add(kind, rate=RATE / len(KINDS))
    shapes = flows()
    world = World(clock, start=datetime.now(UTC) - timedelta(minutes=20), flows=shapes, seed=seed)
    moments = sorted(chance.uniform(0, seconds) for _ in range(kills))
    with told(folder, dsn, flows=shapes, faults=faults, world=world, token_seconds=TOKEN_SECONDS) as story:
        story.configure(every="2s", settle="3s", lateness="30s")
        daemon = Daemon(story)
        began = time.monotonic()
        for moment in [*moments, seconds]:
            daemon.watch(began + moment - time.monotonic())
            if moment < seconds:
                daemon.kill()
        clock.stands = datetime.now(UTC)
        happened = Counter(line.split()[0] for line in faults.log)
        faults.clear()
        caught_up = wait_until_equal(story)
        daemon.end()
        differences = story.differences()
        report(story, daemon, happened)
    print(f"caught up {caught_up:.0f} s after the faults ended; {len(differences)} differences", flush=True)
    for difference in differences[:50]:
        print(" ", difference)
    return 1 if differences or daemon.ended_badly else 0


class Daemon:
    """`archiver run`, started again whenever it was killed."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._log = (story.folder / "daemon.log").open("a")
        self.kills = 0
        self.ended_badly = False
        self.peak = 0.0  # MB
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "archiver", "--config", str(self._story.folder / "config.yaml"), "run"]
        return subprocess.Popen(command, stdout=self._log, stderr=self._log, text=True)

    def watch(self, seconds: float) -> None:
        """See how it does for a while; a daemon that ends by itself has failed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise SystemExit(f"the daemon ended with status {self._process.returncode}:\n{self.tail()}")
            self.peak = max(self.peak, self.megabytes())
            time.sleep(min(1.0, max(0.0, until - time.monotonic())))

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.kills += 1
        self._process = self._start()

    def end(self) -> None:
        """By SIGTERM; within ten seconds, with status 0."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(60)
        took = time.monotonic() - began
        self.ended_badly = status != 0 or took > 10
        print(f"SIGTERM: status {status} after {took:.1f} s", flush=True)
        self._log.close()

    def megabytes(self) -> float:
        try:
            found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self._process.pid}/status").read_text())
        except OSError:
            return 0.0
        return int(found[1]) / 1024 if found else 0.0

    def tail(self) -> str:
        return (self._story.folder / "daemon.log").read_text()[-2000:]


def wait_until_equal(story: Story) -> float:
    """Seconds until the archive equals the truth; no longer than it is given."""
    began = time.monotonic()
    while time.monotonic() - began < CATCH_UP:
        if not story.differences():
            break
        time.sleep(10.0)
    return time.monotonic() - began


def report(story: Story, daemon: Daemon, happened: Counter[str]) -> None:
    log = (story.folder / "daemon.log").read_text()
    (counts,) = story.query(
        "SELECT (SELECT count(*) FROM archive.run), (SELECT count(*) FROM archive.line),"
        " (SELECT count(*) FROM archive.detail WHERE outcome = 'stored'), (SELECT count(*) FROM archive.pass),"
        " (SELECT count(*) FROM archive.pass WHERE error IS NOT NULL),"
        " (SELECT count(*) FROM archive.run WHERE archive_state = 'lost')"
    )
    print("{} runs, {} lines, {} files; {} passes, {} of them with errors; {} runs lost".format(*counts))
    for error, files in story.query(
        "SELECT coalesce(error, outcome), count(*) FROM archive.detail WHERE outcome <> 'stored' GROUP BY 1"
    ):
        print(f"{files} files: {error}")
    print(f"{sum(story.server.counts.values())} requests, {story.server.logins} logins; faults: {dict(happened)}")
    print(f"{daemon.kills} kills; peak memory {daemon.peak:.0f} MB; {log.count('Traceback')} tracebacks in the log")


if __name__ == "__main__":
    raise SystemExit(main())
