"""Does an archive that has grown take rows as fast as an empty one, and is a poll as cheap?

    python -m benchmarks.reading --lines 50000000 --runs 1000000 --dir FOLDER --only generate
    python -m benchmarks.growth --dir FOLDER [--rounds 4]

On one Postgres, in turn: the archive in FOLDER, and one that was empty at first. Each round brings new flows to both,
from the same Integrator; then a flow that has nothing new is polled on both. Believe the ratios, which pair loads of
one round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg

from archiver import embedded
from archiver.store import connect, migrate
from benchmarks import fresh
from benchmarks.idle import Polled, measure
from benchmarks.race.meter import postgres_seconds

EMPTY = "growth_empty"


class Loaded(NamedTuple):
    """A load: lines a second, and CPU seconds of Postgres."""

    rate: float
    postgres: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--runs", type=int, default=50, help="of each of two flows, in each round")
    parser.add_argument("--lines", type=int, default=2000, help="of each run")
    parser.add_argument("--polls", type=int, default=200)
    asked = parser.parse_args()
    with embedded.running(asked.dir / "data") as grown, _empty(grown) as empty:
        places = {"grown": grown, "empty": empty}
        for name, dsn in places.items():
            print(f"{name}: {fresh.lines(dsn):,} lines", flush=True)
        loads: dict[str, list[Loaded]] = {name: [] for name in places}
        polls: dict[str, list[Polled]] = {name: [] for name in places}
        for number in range(asked.rounds):
            with fresh.integrator(asked.runs, asked.lines) as said:
                for name in list(places)[:: 1 if number % 2 else -1]:
                    loads[name].append(_load(places[name], said))
                    print(f"round {number + 1} {name:6} {loads[name][-1].rate:9,.0f} lines/s", end="", flush=True)
                    print(f"  Postgres {loads[name][-1].postgres:.1f} s", flush=True)
                for name, dsn in places.items():
                    polls[name].append(_poll(dsn, said, asked.polls))
                    print(f"round {number + 1} {name:6} {polls[name][-1]}", flush=True)
    _tell("lines a second", [one.rate for one in loads["grown"]], [one.rate for one in loads["empty"]])
    for what in ("cpu", "postgres", "wall"):
        pairs = ([getattr(one, what) for one in polls[name]] for name in ("grown", "empty"))
        _tell(f"a poll's {what}", *pairs)
    return 0


def _tell(what: str, grown: list[float], empty: list[float]) -> None:
    ratios = [one / other for one, other in zip(grown, empty, strict=True)]
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{what}, grown ÷ empty: {statistics.median(ratios):.2f} ({each})")


@contextmanager
def _empty(dsn: str) -> Iterator[str]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {EMPTY} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {EMPTY}".encode())
        try:
            made = urlsplit(dsn)._replace(path=f"/{EMPTY}").geturl()
            engine = connect(made)
            migrate(engine)
            engine.dispose()
            yield made
        finally:
            connection.execute(f"DROP DATABASE IF EXISTS {EMPTY} WITH (FORCE)".encode())


def _load(dsn: str, said: str) -> Loaded:
    lines, before = fresh.lines(dsn), postgres_seconds(dsn)
    with fresh.configured(dsn, said) as path:
        began = time.monotonic()
        subprocess.run(fresh.sync(path), stdout=subprocess.DEVNULL, check=True)
        seconds = time.monotonic() - began
    used, new = postgres_seconds(dsn) - before, fresh.lines(dsn) - lines
    if new != json.loads(said)["lines"]:
        raise SystemExit(f"{new:,} lines are new, of {json.loads(said)['lines']:,}")
    return Loaded(new / seconds, used)


def _poll(dsn: str, said: str, polls: int) -> Polled:
    with fresh.configured(dsn, said) as path:
        return measure(path, polls)


if __name__ == "__main__":
    os.environ.pop("ARCHIVER_CONFIG", None)
    raise SystemExit(main())
