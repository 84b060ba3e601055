# ruff: noqa: RUF001 - Turkish has a dotless i
"""Counts that are kept are exact: whatever is read, read again, late, changed, refused or killed."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from archiver.config import Flow
from archiver.errors import ConfigError
from archiver.logs import Row, parse_line, parse_run
from archiver.store import Store, migrate
from archiver.store.backlog import Backlog, classify, owed
from archiver.store.days import rezone
from tests.books import wrong

START = datetime(2025, 3, 29, 20, tzinfo=UTC)  # the night in which Berlin's clocks change follows
MESSAGES = [
    None,
    "",
    "Ürün DM-{n} bulunamadı",
    "Stok {n} negatif olamaz",
    "HTTP 500",
    "HTTP 404",
    "boom\0 {n}",
    "ÜRÜN dm-{n} BULUNAMADI",
    '{{"errors": ["inner {n}"]}}',
]


def registered(store: Store, *names: str) -> list[int]:
    flows = [Flow("prod", "p", "brand", name, name) for name in names]
    return list(store.register(flows).values())


class Source:
    """An Integrator's rows of one flow, that change at random and never go back."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.runs: dict[int, Row] = {}
        self.lines: dict[int, dict[int, Row]] = {}
        self.next = 1

    def id(self) -> int:
        self.next += 1
        return self.next

    def message(self) -> dict[str, Any]:
        text = self.chance.choice(MESSAGES)
        name = self.chance.choice(["message", "message", "error", "error_message"])
        return {} if text is None else {name: text.format(n=self.chance.randrange(1000))}

    def add_run(self) -> None:
        log_id, began = self.id(), START + timedelta(minutes=self.chance.randrange(60 * 40))
        run = {"id": log_id, "created": str(int(began.timestamp() * 1000)), "filename_uuid": f"run-{log_id}"}
        run |= {"state": 1, "status": 1, "finished": None, "sub_flows": [], "is_send_S3": 1}
        if self.chance.random() < 0.1:
            del run["filename_uuid"]
            run["original_filename_uuid"] = f"other-{log_id}"
        self.runs[log_id] = run
        self.lines[log_id] = {}

    def change_run(self, log_id: int) -> None:
        run = self.runs[log_id]
        run["state"] = max(run["state"], self.chance.choice([1, 2, 3]))
        run["status"] = self.chance.choice([1, 2, 3, 3, 4, 9])
        if run["state"] == 3:
            run["finished"] = str(int(run["created"]) + self.chance.randrange(500_000))
        run.pop("message", None)
        run.update(self.message() if self.chance.random() < 0.3 else {})
        if len(run["sub_flows"]) < 3 and self.chance.random() < 0.6:
            run["sub_flows"].append(
                {"id": self.id(), "original_filename_uuid": self.chance.choice([None, f"run-{log_id}"])}
            )
        for step in run["sub_flows"]:
            if self.chance.random() < 0.5:
                step["state"] = max(step.get("state", 1), self.chance.choice([1, 2, 3]))
                step["status"] = self.chance.choice([2, 3])
                step.update(self.message() if self.chance.random() < 0.4 else {})

    def change_lines(self, log_id: int) -> None:
        lines, run = self.lines[log_id], self.runs[log_id]
        for _ in range(self.chance.randrange(6)):
            one = self.id()
            moment = datetime.fromtimestamp(int(run["created"]) / 1000, UTC) + timedelta(
                seconds=self.chance.randrange(9000)
            )
            lines[one] = {"id": one, "created": moment.isoformat(), "original_filename_uuid": run_name(run), "state": 2}
        for line in lines.values():
            if self.chance.random() < 0.3:
                line["state"] = max(line["state"], self.chance.choice([2, 3]))
                line["status"] = self.chance.choice([1, 2, 3, 3, 3])
                for name in ("message", "error", "error_message"):
                    line.pop(name, None)
                line.update(self.message())


def run_name(run: Row) -> str:
    return str(run.get("filename_uuid") or run["original_filename_uuid"])


def act(store: Store, lease: Any, source: Source, chance: random.Random) -> None:
    """One transaction of a pass, or what is left of one that broke off."""
    some = chance.sample(sorted(source.runs), min(len(source.runs), chance.randrange(1, 6)))
    statement = "SELECT log_type, log_id FROM archive.detail WHERE flow_key = %(flow_key)s ORDER BY 1, 2"
    with store.writing(lease) as writer:
        match chance.randrange(4):
            case 0 | 1:
                writer.put_runs([parse_run(json.loads(json.dumps(source.runs[one]))) for one in some])
                writer.want_details(some, "all")
            case 2:
                for one in some:
                    lines = list(source.lines[one].values())
                    page = chance.sample(lines, chance.randrange(len(lines) + 1)) if lines else []
                    if writer.known([one]):
                        run = parse_run(source.runs[one])
                        writer.put_lines(
                            [parse_line(row) for row in page], (one, run_name(source.runs[one]), str(run.created))
                        )
            case 3:
                places = writer._run(statement).fetchall()
                for log_type, log_id in chance.sample(places, min(3, len(places))):
                    said = source.message().get("message")
                    document = None if said is None else json.dumps({"errors": [{"message": said.replace("\0", "")}]})
                    writer.put_detail(log_type, log_id, {"outcome": "stored", "document": document})
        if chance.random() < 0.15:
            raise Broken


class Broken(Exception):
    """A crash before the commit."""


@pytest.mark.parametrize("seed", range(6))
def test_what_is_kept_is_what_the_rows_say(store: Store, database: str, seed: int) -> None:
    chance = random.Random(seed)
    zone = ["UTC", "Europe/Berlin", "Asia/Kolkata"][seed % 3]
    keys = registered(store, "price", "stock")
    rezone(store.engine, zone)
    sources = {key: Source(chance) for key in keys}
    leases = {key: store.leases.claim(key) for key in keys}
    for turn in range(120):
        key = chance.choice(keys)
        source = sources[key]
        for _ in range(chance.randrange(3)):
            source.add_run()
        for one in source.runs:
            if chance.random() < 0.3:
                source.change_run(one)
            if chance.random() < 0.3:
                source.change_lines(one)
        if source.runs:
            with contextlib.suppress(Broken):
                act(store, leases[key], source, chance)
        if turn % 8 == 7:
            assert wrong(database) == []
    with psycopg.connect(database) as connection:
        counts = connection.execute(
            "SELECT (SELECT sum(occurrences) FROM reporting.error_group), (SELECT sum(lines) FROM reporting.run_daily),"
            " (SELECT count(*) FROM archive.detail WHERE message IS NOT NULL)"
        ).fetchone()
    assert counts is not None
    assert min(counts) > 5, "the story was too short to prove anything"


def filled(store: Store, database: str, seed: int) -> dict[int, Source]:
    """Two flows with some runs, steps, lines and files: their sources, by key."""
    chance = random.Random(seed)
    sources = {key: Source(chance) for key in registered(store, "price", "stock")}
    for key, source in sources.items():
        lease = store.leases.claim(key)
        for _ in range(40):
            source.add_run()
            for one in source.runs:
                source.change_run(one)
                source.change_lines(one)
            with contextlib.suppress(Broken):
                act(store, lease, source, chance)
        assert lease is not None
        store.leases.release(lease)
    assert wrong(database) == []
    return sources


def snapshot(database: str) -> list[Any]:
    tables = (
        "to_jsonb(d) - 'writes' FROM archive.flow_day d WHERE runs > 0",
        "* FROM archive.error_group WHERE occurrences > 0",
        "* FROM archive.error_run WHERE lines + steps + runs > 0",
    )
    with psycopg.connect(database) as connection:
        return [sorted(map(str, connection.execute(f"SELECT {table}".encode()).fetchall())) for table in tables]


def test_days_are_cut_anew_where_the_time_zone_changes(store: Store, database: str) -> None:
    filled(store, database, 1)
    in_utc = snapshot(database)
    assert rezone(store.engine, "Pacific/Kiritimati") == 2
    assert wrong(database) == []
    assert snapshot(database)[0] != in_utc[0]
    assert snapshot(database)[1:] == in_utc[1:]
    with psycopg.connect(database) as connection:
        days = connection.execute(
            "SELECT flow_key, started_date, count(*) FROM reporting.run GROUP BY 1, 2"
            " EXCEPT SELECT flow_key, day, runs FROM reporting.run_daily"
        ).fetchall()
    assert days == []
    assert rezone(store.engine, "Pacific/Kiritimati") == 0
    assert rezone(store.engine, "UTC") == 2
    assert snapshot(database) == in_utc


def test_a_time_zone_that_the_database_does_not_know_changes_nothing(store: Store, database: str) -> None:
    filled(store, database, 2)
    before = snapshot(database)
    with pytest.raises(ConfigError, match=r"reporting.timezone.*'Mars/Olympus'"):
        rezone(store.engine, "Mars/Olympus")
    assert snapshot(database) == before


def test_a_run_that_moves_to_another_day_leaves_the_old_one(store: Store, database: str) -> None:
    (key,) = registered(store, "price")
    lease = store.leases.claim(key)
    assert lease is not None
    run = {"id": 1, "filename_uuid": "run", "finished": "1740787260000", "state": 3, "status": 2}
    for created in ("1740787200000", "1740960000000"):
        with store.writing(lease) as writer:
            writer.put_runs([parse_run({**run, "created": created})])
        assert wrong(database) == []
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM reporting.run_daily").fetchone() == (1,)


def test_what_postgres_refuses_is_not_counted(store: Store, database: str) -> None:
    (key,) = registered(store, "price")
    lease = store.leases.claim(key)
    assert lease is not None
    run = {"id": 1, "filename_uuid": "run", "created": "1740787200000", "state": 3, "status": 3, "message": "x"}
    line = {"created": "2025-03-01T00:00:00+00:00", "original_filename_uuid": "run", "state": 3, "status": 3}
    good = [parse_line({**line, "id": one, "message": f"boom {one}"}) for one in range(5)]
    bad = good[2]._replace(log_id=7, finished="25:00")
    with store.writing(lease) as writer:
        writer.put_runs([parse_run(run)])
        put = writer.put_lines([*good, bad], (1, "run", "2025-03-01T00:00:00+00:00"))
    assert put == (5, 0, 1)
    assert wrong(database) == []


@pytest.mark.parametrize("busy", [False, True])
def test_archives_from_before_are_recognised_step_by_step(
    store: Store, database: str, busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the migration, or with new rules: no log has its kind. Busy: passes write meanwhile."""
    monkeypatch.setattr("archiver.store.backlog.LOGS", 7)
    monkeypatch.setattr("archiver.store.backlog.FILES", 7)
    sources, chance = filled(store, database, 3), random.Random(3)
    before = snapshot(database)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE archive.flow SET error_version = NULL")
        for table in ("run", "step", "line"):
            connection.execute(f"UPDATE archive.{table} SET error_key = NULL".encode())
        connection.execute("UPDATE archive.detail SET message = NULL")
        connection.execute("TRUNCATE archive.error_group, archive.error_run")
    for key, source in sources.items():
        lease = store.leases.claim(key)
        assert lease is not None
        assert owed(store.engine, key).kinds
        backlog, more, steps = Backlog(), True, 0
        while more:
            with store.writing(lease) as writer:
                more = backlog.step(writer)
            steps += 1
            for one in source.runs if busy else ():
                source.change_run(one)
                source.change_lines(one)
            if busy:
                with contextlib.suppress(Broken):
                    act(store, lease, source, chance)
        assert owed(store.engine, key) == (False, False)
        assert steps > 10
    assert wrong(database) == []
    assert busy or snapshot(database) == before


def recognised(store: Store, keys: Iterable[int]) -> None:
    """What the next turns of these flows do about failed logs of before."""
    for key in keys:
        lease = store.leases.claim(key)
        assert lease is not None
        backlog, more = Backlog(), True
        while more:
            with store.writing(lease) as writer:
                more = backlog.step(writer)
        store.leases.release(lease)


def test_a_class_by_older_rules_is_told_anew(store: Store, database: str) -> None:
    sources = filled(store, database, 5)
    before = snapshot(database)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE archive.error_group SET error_class = 'old', class_version = 1")
    for key in sources:
        lease = store.leases.claim(key)
        assert lease is not None
        assert owed(store.engine, key).classes
        with store.writing(lease) as writer:
            classify(writer)
        assert not owed(store.engine, key).classes
    assert snapshot(database) == before


def test_an_archive_of_the_first_schema_gets_all_of_it(store: Store, database: str) -> None:
    sources = filled(store, database, 4)
    before = snapshot(database)
    migrate(store.engine, "0001")
    migrate(store.engine)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM archive.error_group").fetchone() == (0,)
    assert snapshot(database)[0] == before[0], "days need no turn"
    recognised(store, sources)
    assert wrong(database) == []
    assert snapshot(database) == before


def test_days_are_not_cut_while_somebody_writes(store: Store, database: str) -> None:
    """The writer that had the lock first cuts in the old zone, and then all is cut anew; the next one uses the new."""
    (key,) = registered(store, "price")
    lease = store.leases.claim(key)
    assert lease is not None
    late = {"created": "1740868200000", "finished": "1740868260000", "state": 3, "status": 2}  # 22:30 UTC
    with store.writing(lease) as writer:
        writer.put_runs([parse_run({**late, "id": 1, "filename_uuid": "run-1"})])
        other = threading.Thread(target=rezone, args=(store.engine, "Europe/Istanbul"))
        other.start()
        other.join(0.5)
        assert other.is_alive()
        writer.put_lines([], (1, "run-1", "2025-03-01T22:30:00+00:00"))
    other.join(30)
    assert wrong(database) == []
    with store.writing(lease) as writer:
        writer.put_runs([parse_run({**late, "id": 2, "filename_uuid": "run-2"})])
    assert wrong(database) == []
    with psycopg.connect(database) as connection:
        days = connection.execute("SELECT day::text, runs FROM reporting.run_daily").fetchall()
    assert days == [("2025-03-02", 2)]
