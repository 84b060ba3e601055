"""One run of millions of lines: archived, killed in the middle and gone on with, then searched.

    python -m benchmarks.long_run [--lines 5000000]

The memory of the archiver, its helpers included, is that of the whole way; the search is for the SKU of one line. The
Integrator keeps its answers in memory: about 1 GB for each million lines.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

import psycopg

from archiver import queries
from archiver.queries import Criterion, Search
from archiver.store import connect
from benchmarks.race import meter
from benchmarks.race.ours import Archiver
from benchmarks.race.place import Integrator, database, integrator, lines, postgres
from benchmarks.reading.measure import Ask, Question, answered

ALLOWED = 5.0  # milliseconds for a search


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--connections", type=int, default=4)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="archiver-long-") as folder,
        postgres() as server,
        integrator(1, 1, asked.lines) as source,
        database(server) as dsn,
    ):
        print(f"the Integrator has {source.lines:,} lines", flush=True)
        ours = Archiver()
        ours.prepare(dsn, source, Path(folder), asked.connections)
        _archive(ours, source, dsn)
        return _search(dsn)


def _archive(ours: Archiver, source: Integrator, dsn: str) -> None:
    began, kill = time.monotonic(), Event()
    Thread(target=_watch, args=(dsn, source.lines // 2, kill), daemon=True).start()
    first = meter.run(ours.command(), environ=ours.environ(), killed_by=kill)
    before, have = source.requests(), lines(dsn, ours.table)
    print(f"killed -9 with {have:,} lines stored, {before:,} requests, peak {first.megabytes:.0f} MB", flush=True)
    second = meter.run(ours.command(), environ=ours.environ())
    found, after = lines(dsn, ours.table), source.requests()
    seconds = time.monotonic() - began
    if found != source.lines:
        raise SystemExit(f"{found:,} lines are stored, {source.lines:,} are true")
    rate, share = found / seconds, (before + after) * 100 / found - 1
    print(f"went on: {found:,} lines, {after:,} requests, peak {second.megabytes:.0f} MB", flush=True)
    print(
        f"{rate:,.0f} lines/s with the kill and two starts; {share:.2%} of the pages were asked for twice", flush=True
    )


def _watch(dsn: str, until: int, kill: Event) -> None:
    """Say when so many lines are stored."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not kill.wait(0.5):
            row = connection.execute("SELECT coalesce(sum(line_count), 0) FROM archive.run").fetchone()
            if row is not None and row[0] >= until:
                kill.set()


def _search(dsn: str) -> int:
    """Search for what stands in the run's first line, in its middle and in its last; answers how often that took longer
    than it may."""
    engine, slow = connect(dsn), 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE archive.line")
        wanted = connection.execute(_WANTED).fetchall()
    try:
        for (value,) in wanted:
            one = answered(engine, Question(value, ALLOWED, _search_for(value)), 20)
            slow += one.work > ALLOWED
            print(
                f"search for {value}: {one.rows} rows, {one.median:.1f} ms, {one.work:.1f} of work, {ALLOWED:g} allowed"
            )
    finally:
        engine.dispose()
    return slow


_WANTED = """
    SELECT fields ->> 'sku' FROM archive.line, (SELECT max(row_num) AS last FROM archive.line) most
    WHERE row_num IN (1, last / 2, last) ORDER BY row_num
"""


def _search_for(value: str) -> Ask:
    which = Search([Criterion("sku", value)])
    return lambda reader: len(list(queries.search(reader, which, 50)))


if __name__ == "__main__":
    os.environ.pop("ARCHIVER_CONFIG", None)
    raise SystemExit(main())
