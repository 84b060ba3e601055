"""How fast the archive is filled, beside what a user would pick instead: in turn, on the same Postgres.

    make bench ARGS='--rounds 3'       # or: python -m benchmarks.race; --quick takes a few minutes

Each load is a process of its own on a database of its own; its lines are counted against the truth after it. Wall
seconds swing with the neighbours of the machine: believe the ratios, which pair runs of one round. dlt is installed
into build/bench; what cannot be had is skipped, with its reason. The figures go to build/bench/report.md, and with
--write into docs/benchmarks.md as well.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.race import daemon, report
from benchmarks.race.contender import Contender, Skipped
from benchmarks.race.dlt_loads import Dlt
from benchmarks.race.loops import Loop
from benchmarks.race.meter import HERE, Measured
from benchmarks.race.ours import Archiver
from benchmarks.race.place import Integrator, database, integrator, kill_in_the_middle, measure, postgres
from benchmarks.race.report import Heat, Runs
from benchmarks.race.shell import Shell

BUILD = HERE / "build" / "bench"
OURS = Archiver()


class Race:
    """All heats on one Postgres."""

    def __init__(self, server: str, rounds: int) -> None:
        self._server = server
        self._rounds = rounds

    def heat(self, title: str, source: Integrator, contenders: Sequence[Contender], connections: int) -> Heat:
        """First loads, in turn."""
        runs: dict[str, list[Measured]] = {one.name: [] for one in contenders}
        for number in range(self._rounds):
            for one in contenders:
                with self._ready(one, source, connections) as dsn:
                    runs[one.name].append(_load(one, dsn, source, f"{title}, round {number + 1}"))
        return Heat(title, runs)

    def again(self, source: Integrator, contenders: Sequence[Contender], connections: int) -> tuple[Runs, Runs]:
        """Second loads, where nothing is new, and loads that read again what is known."""
        second: dict[str, list[Measured]] = {one.name: [] for one in contenders}
        known: dict[str, list[Measured]] = {OURS.name: []}
        for _ in range(self._rounds):
            for one in contenders:
                with self._ready(one, source, connections) as dsn:
                    _load(one, dsn, source, "first")
                    second[one.name].append(_load(one, dsn, source, "second"))
                    if one is OURS:
                        OURS.forget(dsn)
                        known[one.name].append(_load(one, dsn, source, "read again"))
        return second, known | {one.name: second[one.name] for one in contenders if one.asks_again}

    def daemon(self, source: Integrator, connections: int) -> tuple[Runs, Runs]:
        """First loads by the archiver as a daemon, and how it reads again what it has read."""
        firsts: list[Measured] = []
        again: list[Measured] = []
        for number in range(self._rounds):
            with self._ready(OURS, source, connections) as dsn:
                first, second = daemon.loads(dsn, source, OURS.daemon())
            firsts.append(first)
            again.append(second)
            print(f"daemon, round {number + 1}: first {first.wall:.1f} s, again {second.wall:.1f} s", flush=True)
        return {daemon.NAME: firsts}, {daemon.NAME: again}

    def kill(
        self, source: Integrator, contenders: Sequence[Contender], connections: int, first: Runs
    ) -> dict[str, tuple[int, int]]:
        """Kill each in the middle of its first load."""
        asked: dict[str, tuple[int, int]] = {}
        for one in contenders:
            with self._ready(one, source, connections) as dsn:
                whole = int(report.median(first[one.name]).requests)
                asked[one.name] = kill_in_the_middle(source, one.command(), one.environ(), whole)
                _check(one, dsn, source)
            print(f"killed in the middle  {one.name:18} {asked[one.name]} requests", flush=True)
        return asked

    @contextmanager
    def _ready(self, one: Contender, source: Integrator, connections: int) -> Iterator[str]:
        folder = Path(tempfile.mkdtemp(prefix="archiver-race-"))
        try:
            with database(self._server) as dsn:
                one.prepare(dsn, source, folder, connections)
                yield dsn
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _load(one: Contender, dsn: str, source: Integrator, what: str) -> Measured:
    found = measure(dsn, source, one.command(), one.environ(), one.table)
    print(
        f"{what:34} {one.name:18} {found.lines / found.wall:9,.0f} lines/s  {found.wall:6.1f} s  client"
        f" {found.client:5.1f}  Postgres {found.postgres:5.1f}  peak {found.megabytes:4.0f} MB"
        f"  {found.requests:,.0f} requests",
        flush=True,
    )
    return found


def _check(one: Contender, dsn: str, source: Integrator) -> None:
    from benchmarks.race.place import lines

    if lines(dsn, one.table) != source.lines:
        raise SystemExit(f"{one.name}: {lines(dsn, one.table):,} lines after the kill, {source.lines:,} are true")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", type=int, default=2)
    parser.add_argument("--runs", type=int, default=50, help="of each flow")
    parser.add_argument("--lines", type=int, default=2000, help="of each run")
    parser.add_argument("--long", type=int, default=30_000, help="lines of the one long run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round on a tenth of the lines")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave a contender out")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.runs, asked.lines, asked.long = 1, 10, 1000, 10_000
    BUILD.mkdir(parents=True, exist_ok=True)
    everybody: list[Contender] = [OURS, Loop("B"), Loop("A"), Shell(), Dlt("tuned"), Dlt("default")]
    contenders, about = _installed([one for one in everybody if one.name not in asked.without])
    with postgres() as server:
        about.insert(0, _about(server))
        text, heats = _run(server, asked, contenders)
    text = "\n".join((*about, "", text))
    (BUILD / "report.md").write_text(text, encoding="utf-8")
    (BUILD / "report.svg").write_text(report.picture(heats), encoding="utf-8")
    if asked.write:
        report.into(HERE / "docs" / "benchmarks.md", text)
        (HERE / "docs" / "benchmarks.svg").write_text(report.picture(heats), encoding="utf-8")
    print(f"\n{text}")
    return 0


def _installed(contenders: Sequence[Contender]) -> tuple[list[Contender], list[str]]:
    have: list[Contender] = []
    about: list[str] = []
    for one in contenders:
        try:
            about.append(f"- {one.name}: {one.install(BUILD)}")
        except Skipped as exc:
            about.append(f"- {one.name}: left out, {exc}")
        else:
            have.append(one)
    print("\n".join(about), flush=True)
    return have, about


def _about(server: str) -> str:
    with psycopg.connect(server) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores for all of it, PostgreSQL {row[0]}:\n"


def _run(server: str, asked: argparse.Namespace, contenders: Sequence[Contender]) -> tuple[str, list[Heat]]:
    race = Race(server, asked.rounds)
    quick = [one for one in contenders if one.name not in ("bare loop A", "dlt default")]
    with integrator(asked.flows, asked.runs, asked.lines) as source:
        size = f"{source.lines:,} lines of {asked.flows * asked.runs} runs"
        near = race.heat(f"{size}, 0 ms", source, contenders, 4)
        second, known = race.again(source, contenders, 4)
        firsts, again = race.daemon(source, 4)
        killed = race.kill(source, contenders, 4, near.runs)
        source.latency(30)
        far = race.heat(f"{size}, 30 ms, 8 connections", source, quick, 8)
        source.latency(100)
        ours = [one for one in quick if one.name in ("archiver", "bare loop B")]
        slow = race.heat(f"{size}, 100 ms, 4 connections", source, ours, 4)
    with integrator(1, 1, asked.long) as source:
        source.latency(30)
        long = race.heat(f"{source.lines:,} lines of one run, 30 ms, 8 connections", source, quick, 8)
    heats = [near, far, long, slow]
    return "\n".join(
        (
            *map(report.first_loads, heats),
            report.later_loads("Second load, nothing new, 0 ms", second, near.runs),
            report.later_loads("Reading again what is known, 0 ms", {**again, **known}, {**firsts, **near.runs}),
            report.killed(killed, near.runs),
        )
    ), heats


if __name__ == "__main__":
    raise SystemExit(main())
