# ruff: noqa: RUF001 - Turkish has a dotless i
"""What do the sums for each day and the kinds of errors cost, of all that storing a run takes?

    python -m benchmarks.rollups [--runs 60] [--lines 20 1000] [--failed 3]

The same runs are stored twice in turn, in flows of their own: as always, and with the sums and the kinds taken out of
the archiver for a while. What counts is the work of this process and of Postgres (see benchmarks/reading/measure.py),
without reading from the source and parsing, which would only make the share smaller.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg

from archiver import embedded
from archiver.logs import Line, Run, parse_line, parse_run
from archiver.store import Lease, Store, connect, migrate
from archiver.store.partitions import Partitions

START = datetime(2026, 3, 1, tzinfo=UTC)
_MESSAGES = (
    "Satış fiyatı liste fiyatından büyük olamaz (SKU: TSH-{n}-SYH-M)",
    "Nebim V3: 869{n} barkodlu ürün bulunamadı",
    "Rate limit exceeded: 50 requests per 10 s for seller {n}",
)


def planned(number: int, count: int, failed: int) -> tuple[Run, list[Line]]:
    """A run every five minutes, with three steps; `failed` percent of its lines failed, and with them the run."""
    began = START + timedelta(minutes=5 * number)
    base, name = number * 1_000_000, f"run-{number}"
    losses = count * failed // 100
    status = 3 if losses else 2
    common = {"process_group_name": "price", "original_filename_uuid": name, "state": 3, "is_triggered": False}
    steps = [
        common
        | {"id": base + n, "created": (began + timedelta(seconds=n)).isoformat(), "filename_uuid": f"{name}-{n}"}
        | {"status": 2, "log_type": 2, "finished": (began + timedelta(seconds=n + 1)).isoformat(), "flow_order": n}
        for n in range(1, 4)
    ]
    millis = str(int(began.timestamp() * 1000))
    run = common | {"id": base, "created": millis, "finished": str(int(millis) + 40_000), "filename_uuid": name}
    run |= {"status": status, "log_type": 1, "process_count": count, "fail_count": losses, "sub_flows": steps}
    lines = [
        common
        | {"id": base + 10 + n, "created": (began + timedelta(milliseconds=20 * n)).isoformat(), "row_num": n}
        | {"filename_uuid": f"{name}-line-{n}", "log_type": 3, "status": 3 if n < losses else 2}
        | {"sku": f"TSH-{n * 7919 % 60_000}-SYH-M", "price": n % 900 / 10, "currency": "TRY"}
        | {"message": _MESSAGES[n % 3].format(n=n) if n < losses else "Fiyat güncellendi"}
        for n in range(count)
    ]
    return parse_run(run), [parse_line(line) for line in lines]


@contextmanager
def bare() -> Iterator[None]:
    """The archiver without sums and kinds."""
    nothing: dict[str, Any] = {
        "archiver.store.ledger.days.recount": lambda *_: None,
        "archiver.store.ledger.days.add_lines": lambda *_, **__: None,
        "archiver.store.ledger.errors.move": lambda *_: None,
        "archiver.store.ledger.errors.key_of": lambda *_: None,
        "archiver.store.ledger.message_of": lambda *_: None,
        "archiver.store.ledger.Ledger._told": lambda *_: {},
    }
    with ExitStack() as stack:
        for name, replacement in nothing.items():
            stack.enter_context(patch(name, replacement))
        yield


class Bench:
    """A store with one flow as always and one for the bare archiver."""

    def __init__(self, store: Store, dsn: str) -> None:
        self._store, self._dsn = store, dsn
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name, error_version)"
                " SELECT 'prod', 'p', 'brand', n, n, 1 FROM unnest(ARRAY['always', 'bare']) n"
            )
            connection.execute("INSERT INTO archive.checkpoint (flow_key) SELECT flow_key FROM archive.flow")
        self.leases = {key: self._lease(key) for key in (1, 2)}

    def _lease(self, key: int) -> Lease:
        lease = self._store.leases.claim(key)
        assert lease is not None
        return lease

    def work(self, key: int, run: Run, lines: list[Line]) -> float:
        """Milliseconds of work for storing a run, and its lines by the thousand."""
        before = self._worked()
        with self._store.writing(self.leases[key]) as writer:
            writer.put_runs([run])
        for first in range(0, len(lines), 1000):
            with self._store.writing(self.leases[key]) as writer:
                writer.put_lines(lines[first : first + 1000], (run.log_id or 0, run.filename_uuid or "", _iso(run)))
        return self._worked() - before

    def _worked(self) -> float:
        with psycopg.connect(self._dsn) as connection:
            mine = connection.info.backend_pid
            rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
            files = [Path(f"/proc/{pid}/schedstat") for (pid,) in rows if pid != mine]
        backends = sum(int(file.read_text().split()[0]) for file in files)
        return time.process_time() * 1000 + backends / 1e6


def _iso(run: Run) -> str:
    assert run.created is not None
    return run.created


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--lines", type=int, nargs="*", default=[20, 1000])
    parser.add_argument("--failed", type=int, default=3, help="percent of the lines, in one run of three")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        with embedded.running(Path(folder) / "data") as dsn:
            engine = connect(dsn)
            migrate(engine)
            Partitions(engine).ensure({"2026-03", "2026-04"})
            store = Store(engine, "benchmark")
            bench = Bench(store, dsn)
            print("| lines of a run | ms of work a run | without sums and kinds | share |\n|---|---|---|---|")
            number = 0
            for count in asked.lines:
                always, without = [], []
                for _ in range(asked.runs):
                    number += 1
                    failed = asked.failed if number % 3 == 0 else 0
                    run, lines = planned(number, count, failed if count >= 100 else failed * 4)
                    always.append(bench.work(1, run, lines))
                    with bare():
                        without.append(bench.work(2, run, lines))
                full, less = statistics.fmean(always[3:]), statistics.fmean(without[3:])
                print(f"| {count} | {full:.2f} | {less:.2f} | {(full - less) / full:.1%} |", flush=True)
            store.leases.close()
            engine.dispose()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
