"""A soak: what is counted over many seeds, then `archiver run` among faults of all sorts, then the archive against the
truth.

    make soak MINUTES=20        # or: python -m benchmarks.soak --minutes 20 --seed 7 --kills 40 --restarts 20

First the figures of tests/faults with all their seeds, and beside them `benchmarks.audit` with 200 planted defects and
50 clean worlds (`--no-figures` leaves both out). In the rest of the time, while
runs start, go on and finish, one answer in twenty of the Integrator is a 500, a 429, a reset or a cut body and tokens
live two seconds; connections to it and to Postgres are late, drip, break and lose COMMITs; the daemon is ended by
kill -9, and Postgres stopped, fast and immediately, at random moments of the first two thirds. Then all behave, the
world stands still, the daemon has some time to catch up, and every row and every file is compared. Exit status 1 where
anything differs, hangs, crashes, lags or says a secret; growth is told. All choices follow from the seed.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import linear_regression
from urllib.parse import urlsplit

import psycopg

from archiver.demo.faults import Cut, Faults, Reset, Status
from archiver.demo.flows import FlowShape, flow_named
from archiver.demo.server import USERNAME
from archiver.demo.world import World
from tests.faults import canaries, proxy
from tests.faults.server import Postgres, server
from tests.system.story import Story, told

RATE = 0.05  # of the answers
KINDS = (Status(500), Status(429, retry_after="1"), Reset(), Reset(0.5), Cut(0.5), Cut(0.5, declared=False))
TOKEN_SECONDS = 2.0
CATCH_UP = 900.0  # seconds that the daemon has at the end
EVERY, LATENESS = 2.0, 30.0
FIGURES = {"LIVES": 25, "KILLS": 48, "PAIRS": 50, "ROUNDS": 3, "MUTATIONS": 20_000, "SEEDS": 25}
TESTS = ("tests/faults", "tests/test_poll.py", "tests/test_window_mutants.py")


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
    parser.add_argument("--kills", type=int, help="so many times kill -9; else four a minute of what is left, or 40")
    parser.add_argument("--restarts", type=int, help="so many restarts of Postgres; else two a minute, or 20")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--no-figures", action="store_true", help="the daemon alone")
    asked = parser.parse_args()
    began = time.monotonic()
    failed = False if asked.no_figures else not figures(asked.seed)
    least = asked.minutes >= 20  # of the daemon among faults, however long the figures took
    left = max(300.0 if least else 60.0, asked.minutes * 60.0 - (time.monotonic() - began))
    kills = max(int(left / 15), 40 * least) if asked.kills is None else asked.kills
    restarts = max(int(left / 30), 20 * least) if asked.restarts is None else asked.restarts
    print(f"seed {asked.seed}, {left / 60:.1f} minutes, {kills} kills, {restarts} restarts of Postgres", flush=True)
    with tempfile.TemporaryDirectory(prefix="archiver-soak-") as folder:
        Path(folder).chmod(0o711)
        with server(Path(folder) / "postgres") as postgres:
            failed |= soak(Path(folder), postgres, left, Chaos(asked.seed, left, kills, restarts))
    return int(failed)


def figures(seed: int) -> bool:
    """The tests whose seeds are many here, and the audit at length beside them; whether all is well."""
    print("figures: " + ", ".join(f"{name.lower()} {count}" for name, count in FIGURES.items()), flush=True)
    environment = {**os.environ, **{f"ARCHIVER_{name}": str(count) for name, count in FIGURES.items()}}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "--tb=short", *TESTS]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        audit = subprocess.Popen([sys.executable, "-m", "benchmarks.audit", "--seed", str(seed)], stdout=said)
        done = subprocess.run(command, env=environment, check=False)
        print(f"figures: status {done.returncode} after {time.monotonic() - began:.0f} s", flush=True)
        audited = audit.wait()
        said.seek(0)
        print(f"{said.read()}audit: status {audited} after {time.monotonic() - began:.0f} s", flush=True)
    return done.returncode == audited == 0


@dataclass
class Chaos:
    """What happens when; the last third of the time is without kills, to see whether anything grows."""

    seed: int
    seconds: float
    kills: int
    restarts: int
    toxics: Counter[str] = field(default_factory=Counter)

    def moments(self) -> list[tuple[float, str]]:
        chance = random.Random(f"moments {self.seed}")
        what = ["kill"] * self.kills + [chance.choice(("fast", "immediate")) for _ in range(self.restarts)]
        return sorted((chance.uniform(5, self.seconds * 2 / 3), one) for one in what)

    def toxic(self, side: str, number: int) -> proxy.Toxic:
        """Of the nth connection on one side; most are sound."""
        chance = random.Random(f"{side} {self.seed} {number}")
        bad: list[proxy.Toxic] = [
            proxy.Delay(chance.uniform(0.001, 0.02)),
            proxy.Drip(0.001, 500),
            proxy.Reset(chance.randrange(200_000)),
            proxy.Reset(chance.randrange(50_000), proxy.UP),
            proxy.Cut(chance.randrange(200_000)),
            proxy.Refuse(),
        ]
        if side == "postgres":
            bad += [proxy.CommitCut(chance.randrange(1, 30), arrives) for arrives in (True, False)]
        else:
            bad.append(proxy.BlackHole(chance.randrange(100_000)))
        toxic = chance.choice(bad) if chance.random() < 0.3 else proxy.Toxic()
        self.toxics[f"{side} {type(toxic).__name__}"] += 1
        return toxic


def soak(folder: Path, postgres: Postgres, seconds: float, chaos: Chaos) -> bool:
    """Misbehave, behave, compare; whether anything is wrong."""
    faults, clock = Faults(seed=chaos.seed), Clock()
    for kind in KINDS:
        faults.add(kind, rate=RATE / len(KINDS))
    shapes = flows()
    world = World(clock, start=datetime.now(UTC) - timedelta(minutes=20), flows=shapes, seed=chaos.seed)
    serving = {"token_seconds": TOKEN_SECONDS, "credentials": {USERNAME: canaries.PASSWORD}}
    with ExitStack() as stack:
        story = stack.enter_context(
            told(folder, postgres.dsn, flows=shapes, faults=faults, world=world, **serving)  # type: ignore[arg-type]
        )
        http, database = (
            stack.enter_context(proxy.Proxy(target, lambda number, side=side: chaos.toxic(side, number)))  # type: ignore[misc]
            for side, target in (("http", _address(story.server.base_url)), ("postgres", _address(postgres.dsn)))
        )
        configure(story, http.port, database.port)
        daemon = Daemon(story)
        began = time.monotonic()
        for moment, what in [*chaos.moments(), (seconds, "end")]:
            daemon.watch(began + moment - time.monotonic())
            if what == "kill":
                daemon.kill()
            elif what != "end":
                postgres.restart(what)
        clock.stands = datetime.now(UTC)
        happened = Counter(line.split()[0] for line in faults.log)
        faults.clear()
        for one in (http, database):
            one.toxic = proxy.Toxic()
            one.drop()
        caught_up = wait_until_equal(story)
        lag = freshness(story)
        daemon.end()
        differences = story.differences()
        report(story, daemon, happened, chaos)
        said = secrets(story, postgres)
    print(f"caught up {caught_up:.0f} s after the faults ended; {len(differences)} differences; {said} secrets said")
    print(f"frontier lag at most {lag:.1f} s of {LATENESS + 2 * EVERY + 1:.0f} s that are due", flush=True)
    for difference in differences[:50]:
        print(" ", difference)
    return bool(differences or said or daemon.ended_badly or daemon.tracebacks() or lag > LATENESS + 2 * EVERY + 1)


def _address(url: str) -> tuple[str, int]:
    where = urlsplit(url)
    return str(where.hostname), where.port or 0


def configure(story: Story, http: int, database: int) -> None:
    """The daemon's configuration, whose ways lead through the proxies."""
    where = urlsplit(str(story.database))
    direct = story.database
    story.database = where._replace(netloc=where.netloc.rpartition(":")[0] + f":{database}").geturl()
    story.settings |= {"base_url": f"http://127.0.0.1:{http}", "password": canaries.PASSWORD}
    story.configure(every=f"{EVERY:g}s", settle="3s", lateness=f"{LATENESS:g}s")
    story.database = direct


class Daemon:
    """`archiver run`, started again whenever it was killed."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._log = (story.folder / "daemon.log").open("a")
        self.kills = 0
        self.ended_badly = False
        self.peak = 0.0  # MiB
        self.samples: list[tuple[float, float, int]] = []  # of the life that goes on: seconds, MiB, open files
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        options = ["--config", str(self._story.folder / "config.yaml"), "--debug"]
        self.samples.clear()
        return subprocess.Popen(
            [sys.executable, "-m", "archiver", *options, "run"], stdout=self._log, stderr=self._log, text=True
        )

    def watch(self, seconds: float) -> None:
        """See how it does for a while. One that ends by itself, because the database was away when it started, is
        started again, as a supervisor does it; any other end is a failure."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            status = self._process.poll()
            if status is not None:
                if "started" in self._last_life():
                    raise SystemExit(f"the daemon ended with status {status}:\n{self.tail()}")
                self._process = self._start()
            self._sample()
            time.sleep(min(1.0, max(0.0, until - time.monotonic())))

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.kills += 1
        self._log.write("--- killed ---\n")
        self._log.flush()
        self._process = self._start()

    def end(self) -> None:
        """By SIGTERM; within ten seconds, with status 0."""
        self._sample()
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(60)
        took = time.monotonic() - began
        self.ended_badly = status != 0 or took > 10
        print(f"SIGTERM: status {status} after {took:.1f} s", flush=True)
        self._log.close()

    def _sample(self) -> None:
        folder = Path(f"/proc/{self._process.pid}")
        try:
            found = re.search(r"VmRSS:\s+(\d+)", (folder / "status").read_text())
            files = len(list((folder / "fd").iterdir()))
        except OSError:
            return
        size = int(found[1]) / 1024 if found else 0.0
        self.peak = max(self.peak, size)
        self.samples.append((time.monotonic(), size, files))

    def growth(self) -> str:
        """How memory and open files of the last life went. What it needs once is had after half of it: the slope is
        that of the second half, by least squares."""
        if not self.samples or self.samples[-1][0] - self.samples[0][0] < 120:
            return "the last life was too short to tell of growth"
        times, sizes, files = zip(*self.samples, strict=True)
        minutes, middle = (times[-1] - times[0]) / 60, len(times) // 2
        slope = linear_regression([at / 3600 for at in times[middle:]], sizes[middle:]).slope
        tenths = " ".join(f"{sizes[len(sizes) * part // 10]:.0f}" for part in range(10))
        return (
            f"the last life, {minutes:.0f} min: {tenths} {sizes[-1]:.0f} MiB by its tenths, {slope:+.1f} MiB an hour in"
            f" its second half, {min(files)} to {max(files)} open files"
        )

    def _last_life(self) -> str:
        return (self._story.folder / "daemon.log").read_text().rpartition("--- killed ---")[2]

    def tracebacks(self) -> int:
        """Crashes: with --debug an error that was foreseen has its traceback, too, and is none."""
        log = (self._story.folder / "daemon.log").read_text()
        return log.count("turn crashed") + log.count("tick crashed")

    def tail(self) -> str:
        return (self._story.folder / "daemon.log").read_text()[-2000:]


def wait_until_equal(story: Story) -> float:
    """Seconds until the archive equals the truth; no longer than it is given."""
    began = time.monotonic()
    while time.monotonic() - began < CATCH_UP:
        if not story.differences():
            break
        time.sleep(5.0)
    return time.monotonic() - began


def freshness(story: Story) -> float:
    """The longest that a frontier lags behind the world while nothing fails. The world's clock stands, so that its
    frontier has to reach it, less the lateness."""
    (row,) = story.query("SELECT min(frontier) FROM archive.checkpoint")
    stands = story.world.clock()
    return (stands - row[0]).total_seconds() if row[0] else float("inf")


def secrets(story: Story, postgres: Postgres) -> int:
    """How often a canary is in the log, in a row, or in a command line."""
    also = [str(urlsplit(postgres.dsn).password)]
    texts: Mapping[str, str] = {"log": (story.folder / "daemon.log").read_text(errors="replace")}
    shown = [(where, who) for where, text in texts.items() for who in canaries.found(text, also)]
    shown += [(table, who) for table, row in canaries.stored(postgres.dsn) for who in canaries.found(row, also)]
    for where, who in dict.fromkeys(shown):
        print(f"the {who} is in {where}")
    return len(shown)


def report(story: Story, daemon: Daemon, happened: Counter[str], chaos: Chaos) -> None:
    with psycopg.connect(str(story.database)) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM archive.run), (SELECT count(*) FROM archive.line),"
            " (SELECT count(*) FROM archive.detail WHERE outcome = 'stored'), (SELECT count(*) FROM archive.pass),"
            " (SELECT count(*) FROM archive.pass WHERE error IS NOT NULL),"
            " (SELECT count(*) FROM archive.run WHERE archive_state = 'lost')"
        ).fetchone()
    assert counts is not None
    print("{} runs, {} lines, {} files; {} passes, {} of them with errors; {} runs lost".format(*counts))
    print(f"{sum(story.server.counts.values())} requests, {story.server.logins} logins; faults: {dict(happened)}")
    print(f"connections: {dict(chaos.toxics)}")
    print(f"{daemon.kills} kills, {chaos.restarts} restarts; peak memory {daemon.peak:.0f} MiB; {daemon.growth()}")
    print(f"{daemon.tracebacks()} crashes in the log")


if __name__ == "__main__":
    raise SystemExit(main())
