"""Counts of the replayed Logs API for searches with many hits: exact at every moment, and hardly ever counted anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from archiver.config import Flow
from archiver.logs import LogType, canonical, parse_line, parse_run
from archiver.queries import replay
from archiver.queries.replay import searching
from archiver.store import Store, connect, migrate

BEGAN = datetime(2025, 1, 20, 10, tzinfo=UTC)
FLOW = Flow("prod", "p", "brand", "f", "price")


class Bench:
    """An archive of one flow, a run a day, and a reader that remembers."""

    def __init__(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = connect(database)
        migrate(self.engine)
        self.store = Store(self.engine, "test")
        self.key = self.store.register([FLOW])[FLOW]
        self.store.partitions.ensure({"2025-01", "2025-02", "2025-03"})
        self.memory = replay.Memory()
        self.spans = 0
        counting: Any = sys.modules["archiver.queries.replay.counting"]
        of_span = counting._of_span

        def counted(*some: Any) -> int:
            self.spans += 1
            return int(of_span(*some))

        monkeypatch.setattr(counting, "_of_span", counted)

    def write(self, day: int, numbers: range, sku: str = "A", **more: Any) -> None:
        """Lines of the run of a day."""
        began = BEGAN + timedelta(days=day)
        run = {"id": 1000 * day + 1, "created": str(int(began.timestamp() * 1000)), "filename_uuid": f"run-{day}"}
        lines = [
            {
                "id": 1000 * day + 2 + n,
                "created": canonical(began + timedelta(seconds=n)),
                "original_filename_uuid": more.get("of", f"run-{day}"),
                "status": 2,
                "sku": sku,
            }
            for n in numbers
        ]
        lease = self.store.leases.claim(self.key)
        assert lease is not None
        with self.store.writing(lease) as writer:
            writer.put_runs([parse_run({**run, "state": 3, "sub_flows": []})])
            writer.put_lines(map(parse_line, lines), (int(str(run["id"])), f"run-{day}", canonical(began)))
        self.store.leases.release(lease)

    def search(self, sku: str = "A") -> int:
        """The count of a search, which is what it is."""
        ask = replay.Ask(self.key, LogType.LINE, 5, search=(("sku", sku),))
        with replay.asking(self.engine, self.memory, seconds=20) as asked:
            found = replay.listing(asked, ask)
            (truth,) = asked.rows("SELECT count(*) FROM archive.line WHERE fields ->> 'sku' = %(sku)s", sku=sku)
        assert found.total == truth[0]
        return found.total

    def anew(self) -> bool:
        """Whether all was counted since the last time."""
        spans, self.spans = self.spans, 0
        return spans > 0


@pytest.fixture
def bench(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(searching, "WHOLE", 2)
    monkeypatch.setattr(searching, "FEW", 3)
    bench = Bench(database, monkeypatch)
    for day in range(20):
        bench.write(day, range(10), "A" if day % 2 else "B")
    yield bench
    bench.store.close()


def test_what_is_new_is_added_without_counting_all_again(bench: Bench) -> None:
    assert bench.search() == 100
    assert bench.anew()
    assert bench.search() == 100
    bench.write(19, range(10, 13))
    assert bench.search() == 103
    for day in range(20, 45):  # also into other months
        bench.write(day, range(4))
        bench.write(day, range(4, 6), "B")
        assert bench.search() == 103 + 4 * (day - 19)
    assert not bench.anew()


def test_lines_that_change_are_counted_as_they_are(bench: Bench) -> None:
    bench.search()
    bench.search("B")
    assert bench.anew()
    bench.write(19, range(2), "B")
    assert (bench.search(), bench.search("B")) == (98, 102)
    assert not bench.anew()
    bench.write(3, range(2), "B")
    assert (bench.search(), bench.search("B")) == (96, 104)
    assert bench.anew()


def test_lines_that_go_are_counted_no_more(bench: Bench) -> None:
    bench.search()
    with bench.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM archive.line WHERE log_id = 3002")
        connection.exec_driver_sql("UPDATE archive.checkpoint SET tombstones = tombstones + 1")
    assert bench.search() == 99
    with bench.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM archive.line WHERE created < '2025-01-22'")
        connection.exec_driver_sql('UPDATE archive.checkpoint SET pruned = \'{"line": "2025-01-22T00:00:00+00:00"}\'')
    assert bench.search() == 89


def test_lines_under_the_name_of_another_run_are_counted_too(bench: Bench) -> None:
    """What no run tells of is not told by its runs."""
    bench.search()
    bench.write(19, range(10, 15), of="run-3")
    assert bench.search() == 105
    bench.write(19, range(15, 17), of="nobody")
    assert bench.search() == 107


def test_a_count_that_takes_too_long_goes_on_where_it_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    counting: Any = sys.modules["archiver.queries.replay.counting"]
    of_span = counting._of_span
    months: list[str] = []

    def cancelled(asked: replay.Replay, hits: Any, key: Any, span: str) -> int:
        if len(months) == 2:
            months.append("cancelled")
            raise replay.TooBroad("too long")
        if asked.memory.count((*key, span)) is None:
            months.append(span)
        return int(of_span(asked, hits, key, span))

    monkeypatch.setattr(counting, "_of_span", cancelled)
    with pytest.raises(replay.TooBroad):
        bench.search()
    assert bench.search() == 100
    assert months[2] == "cancelled"
    assert len(months) > 5
    assert len(set(months)) == len(months), "a month was counted twice"


def test_one_count_at_a_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["archiver.queries.replay.counting"], "PATIENCE", 0.01)
    with bench.memory.counting, pytest.raises(replay.TooBroad):
        bench.search()
    assert bench.search() == 100
