"""Generates an archive once and measures what people ask of it.

    python -m benchmarks.reading [--lines 2000000] [--runs 100000] [--dir FOLDER] [--rounds 15] [--archiving 10]
        [--only generate]

The archive stays in the folder, outside the checkout; where it is there already, it is only read.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from archiver import embedded
from archiver.store import connect, migrate
from archiver.store.search_fields import build
from benchmarks.fresh import archiving
from benchmarks.reading.generate import generate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, help="else one for 20 lines")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()) / "archiver-reading")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--declare", metavar="FIELD", action="append", default=[], help="as search_fields does")
    parser.add_argument("--archiving", metavar="RATE", type=float, help="meanwhile, so many requests a second")
    parser.add_argument("--only", choices=["generate", "measure"])
    asked = parser.parse_args()
    asked.dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    with embedded.running(asked.dir / "data") as dsn:
        engine = connect(dsn)
        if _made(dsn):
            migrate(engine)  # it may be older than the code
        else:
            now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
            generate(engine, dsn, asked.runs or asked.lines // 20, asked.lines, now)
        if asked.only != "generate":
            from benchmarks.reading.measure import measure

            build(engine, asked.declare)
            with archiving(dsn, asked.archiving) if asked.archiving else nullcontext():
                measure(engine, asked.rounds)
        engine.dispose()
    return 0


def _made(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT to_regclass('archive.run') IS NOT NULL").fetchone()
        assert row is not None
        return bool(row[0])


if __name__ == "__main__":
    raise SystemExit(main())
