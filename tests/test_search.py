"""Searching lines: exactly what a field's value says, against a truth computed in Python, by every way there is."""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest
from sqlalchemy import Engine

from archiver import queries
from archiver.config import Flow
from archiver.logs import Row, canonical, dump_exact, parse_line, parse_page
from archiver.queries import Criterion, Search
from archiver.queries.search import keys
from archiver.store import Store

FLOWS = [Flow("prod", "p", "brand", name, name) for name in ("price", "stock", "order")]
NAMES = (
    "sku",
    "price",
    "ok",
    "o'dd \"na%_me\\",
    "row_num",
    "step_id",
    "is_failed",
    "process_group_name",
    "ünlü",
    "a.b",
)
VALUES: tuple[Any, ...] = (
    "7", 7, 7.0, "7.0", -7, "true", True, False, "null", None, 0, -0.0, "0", "", " ", 349.9, "349.90", 1e22, 5e-324,
    1e-7, 2**31, 2**63, 2**64, 10**22, 123456789012345678901234567890, Decimal("0.1000000000000000000000000001"),
    Decimal("NaN"), "a" * 200, "a" * 201, "é" * 3000, "100%_\\'\"; DROP TABLE archive.line;--", "x\x00y", "\ud800",
    "\U0001f600", ["7"], {"sku": "7"}, "$json",
)  # fmt: skip
SPELLED = (
    "0.1000000000000000000000000001", "NaN", "7.00", "70e-1", "07", "+7", "1e22", "-0", "0.0", "1E400", "1e-400", "%",
    "10000000000000000000000", "1e999999999", "1e99999999999999", "349.900", "seven", "TRUE", "_", "'", "\\",
)  # fmt: skip
ASKED = tuple(
    dict.fromkeys(
        (*(one if isinstance(one, str) else json.dumps(one) for one in VALUES if type(one) is not Decimal), *SPELLED)
    )
)


def stored(store: Store, flow: Flow, rows: Sequence[Row]) -> None:
    """Put rows into the archive as a pass does, from their JSON."""
    key = store.register([flow])[flow]
    page = parse_page(dump_exact({"results": list(rows)}).encode())
    lines = [parse_line(row) for row in page.rows]
    store.partitions.ensure({line.created[:7] for line in lines if line.created})
    lease = store.leases.claim(key)
    assert lease is not None
    with store.writing(lease) as writer:
        put = writer.put_lines(lines, (1, "run", "2025-01-01T00:00:00+00:00"))
    assert (put.new, put.refused) == (len(rows), 0)
    store.leases.release(lease)


def some_rows(chance: random.Random, first: int, count: int) -> list[Row]:
    """Lines of a few months, some of the same moment, with random fields of a few names."""
    rows = []
    for number in range(first, first + count):
        moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(24 * 150))
        row: Row = {
            "id": number,
            "created": canonical(moment.replace(year=1999) if chance.random() < 0.05 else moment),
            "original_filename_uuid": f"run-{number % 3}",
            "process_group_id": chance.choice(("7", "send")),
            "status": chance.choice((2, 2, 3, 4, 9)),
            "log_type": 3,
        }
        for name in chance.sample(NAMES, chance.randrange(1, 5)):
            row[name] = chance.choice(VALUES)
        rows.append(row)
    return rows


# --- the truth ---


def is_meant(found: Any, asked: str) -> bool:
    if isinstance(found, str):
        return found == asked
    if found is None or isinstance(found, bool):
        return asked == json.dumps(found)
    if not isinstance(found, int | float | Decimal):
        return False
    if (
        asked != asked.strip()
        or asked.startswith("+")
        or (asked.lstrip("-")[:1] == "0" and asked.lstrip("-")[1:2].isdigit())
    ):
        return False
    try:
        number = Decimal(asked)
    except InvalidOperation:
        return False
    exact = Decimal(repr(found)) if isinstance(found, float) else Decimal(found)
    return exact == number or (exact.is_nan() and number.is_nan())


WORDS = {"in_progress": 1, "success": 2, "failed": 3, "empty": 4}


def meets(row: Row, name: str | None, asked: str) -> bool:
    if name is None:
        known = ("id", "created", "original_filename_uuid", "process_group_id", "status", "log_type", "row_num")
        return any(is_meant(value, asked) for key, value in row.items() if key not in (*known, "process_group_name"))
    if name == "step_id" and is_meant(row["process_group_id"], asked):
        return True
    if name == "is_failed" and asked in (("1", "true") if row["status"] == 3 else ("0", "false")):
        return True
    if name == "status":
        return asked == str(row["status"]) or WORDS.get(asked) == row["status"]
    if name in ("row_num", "process_group_name") and row.get(name) is None:
        return False  # a column does not tell null from absent
    return name in row and is_meant(row[name], asked)


def ordered(rows: Sequence[tuple[int, Row]]) -> list[tuple[int, int]]:
    newest = sorted(
        rows, key=lambda one: (datetime.fromisoformat(one[1]["created"]), one[0], one[1]["id"]), reverse=True
    )
    return [(key, row["id"]) for key, row in newest]


def found(engine: Engine, which: Search, limit: int | None = None, **more: Any) -> list[tuple[int, int]]:
    with queries.reading(engine) as reader:
        return [(key.flow_key, key.log_id) for key in keys(reader, which, limit, **more)]


def asking(*pairs: tuple[str | None, str], **more: Any) -> Search:
    return Search(tuple(Criterion(name, value) for name, value in pairs), **more)


@pytest.mark.parametrize("seed", range(2))
def test_a_search_finds_exactly_the_lines_that_have_the_value(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    truth: list[tuple[int, Row]] = []
    for number, flow in enumerate(FLOWS[:2]):
        rows = some_rows(chance, number * 1000, 220)
        stored(store, flow, rows)
        truth += [(number + 1, row) for row in rows]
    hits = 0
    with queries.reading(store.engine) as reader:
        for name, asked in itertools.product((*NAMES, "status", "nobody"), ASKED):
            want = ordered([(key, row) for key, row in truth if meets(row, name, asked)])
            have = [(key.flow_key, key.log_id) for key in keys(reader, asking((name, asked)))]
            assert have == want, (name, asked)
            hits += bool(want)
        for asked in ASKED:
            want = ordered([(key, row) for key, row in truth if meets(row, None, asked)])
            assert [(key.flow_key, key.log_id) for key in keys(reader, asking((None, asked)))] == want, asked
    assert hits > 150


@pytest.fixture
def small(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Row]]:
    """An archive in which a few lines are many already, so that every way of finding them is gone."""
    room = sys.modules["archiver.queries.search"]
    for name, value in (("FEW", 6), ("MANY", 12), ("RECENT", 200), ("RECENT_MORE", 400)):
        monkeypatch.setattr(room, name, value)
    chance = random.Random(11)
    truth: list[tuple[int, Row]] = []
    for number, flow in enumerate(FLOWS):
        rows = some_rows(chance, number * 1000, 200)
        for row in rows:
            row["sku"] = chance.choice(["rare", *["some"] * 10, *["most"] * 90])
            row["ok"] = chance.random() < 0.5
            row.update({"note": 2**70} if chance.random() < 0.1 else {})
        stored(store, flow, rows)
        truth += [(number + 1, row) for row in rows]
    return truth


@pytest.mark.parametrize("limit", [1, 5, 6, 7, 13, 40, 1000, None])
def test_the_newest_few_are_the_first_of_all(store: Store, small: list[tuple[int, Row]], limit: int | None) -> None:
    """However common a value is, in one flow, in some or in all."""
    for asked, flows in itertools.product(("rare", "some", "most", "none"), (None, [2], [1, 3], [])):
        rows = [(key, row) for key, row in small if row["sku"] == asked and (flows is None or key in flows)]
        want = ordered(rows)
        assert found(store.engine, asking(("sku", asked), flow_keys=flows), limit) == want[:limit]
        if limit is None:
            back = found(store.engine, asking(("sku", asked), flow_keys=flows), oldest_first=True)
            assert back == want[::-1]


def test_criteria_and_options_narrow_a_search_together(store: Store, small: list[tuple[int, Row]]) -> None:
    since, until = datetime(2025, 2, 3, 7, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
    narrow: list[tuple[dict[str, Any], Any]] = [
        ({"statuses": ["failed"]}, lambda row: row["status"] == 3),
        ({"statuses": ["unknown", "empty"]}, lambda row: row["status"] in (4, 9)),
        ({"run_ids": ["run-1", "run-2"]}, lambda row: row["original_filename_uuid"] in ("run-1", "run-2")),
        ({"run_ids": []}, lambda row: False),
        ({"since": since}, lambda row: datetime.fromisoformat(row["created"]) >= since),
        ({"until": until}, lambda row: datetime.fromisoformat(row["created"]) < until),
        ({"since": until, "until": since}, lambda row: False),
    ]
    pairs: list[tuple[tuple[str | None, str], ...]] = [
        (("sku", "some"), ("ok", "true")),
        (("sku", "most"), (None, "true")),
        (("note", str(2**70)), ("ok", "false")),
        (("note", str(2**70)), (None, "some")),
        (("status", "failed"), ("sku", "most")),
        (),
    ]
    for criteria, (options, holds), limit in itertools.product(pairs, narrow, (5, None)):
        want = ordered(
            [(key, row) for key, row in small if holds(row) and all(meets(row, *criterion) for criterion in criteria)]
        )
        assert found(store.engine, asking(*criteria, **options), limit) == want[:limit], (criteria, options)
    every: dict[str, Any] = {"statuses": ["success"], "run_ids": ["run-0"], "since": since, "until": until}
    want = ordered(
        [
            (key, row)
            for key, row in small
            if key == 2
            and row["status"] == 2
            and row["original_filename_uuid"] == "run-0"
            and since <= datetime.fromisoformat(row["created"]) < until
            and row["sku"] == "most"
        ]
    )
    assert want
    assert found(store.engine, asking(("sku", "most"), flow_keys=[2], **every)) == want


# --- the story of one thing ---


def line(number: int, created: str, status: int, **fields: Any) -> Row:
    return {"id": number, "created": created, "original_filename_uuid": "run", "status": status, **fields}


def told(engine: Engine, which: Search, limit: int | None = None) -> list[Row]:
    with queries.reading(engine) as reader:
        return list(queries.history(reader, which, limit))


def test_a_history_tells_turns_and_answers_over_all_flows(store: Store) -> None:
    at = [f"2025-0{month}-03T10:00:00+00:00" for month in range(1, 8)]
    price = [2, 3, 1, 3, 2, 9, 3]
    stored(store, FLOWS[0], [line(n, at[n], status, sku="A", message=f"m{n}") for n, status in enumerate(price)])
    stored(store, FLOWS[1], [line(n, at[n], 3, sku="A") for n in range(2)])
    stored(store, FLOWS[2], [line(9, at[0], 3, sku="B"), line(10, at[1], 2, sku="B")])
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, document) VALUES"
            " (1, 3, 1, 1, now(), 'stored', '{\"response_body\": \"<fault/>\"}'),"
            ' (1, 3, 3, 1, now(), \'stored\', \'{"response_body": null, "errors": [{"code": 7}]}\'),'
            " (1, 1, 4, 1, now(), 'stored', '{\"response_body\": \"of the run\"}'),"
            " (1, 3, 6, 1, now(), 'missing', NULL)"
        )
    story = told(store.engine, asking(("sku", "A")))
    with queries.reading(store.engine) as reader:
        assert list(story[0]) == [*queries.view_columns(reader, "line"), "answer", "turn"]
    by_flow = {key: [row for row in story if row["flow_key"] == key] for key in (1, 2)}
    assert [row["log_id"] for row in story] == [0, 0, 1, 1, 2, 3, 4, 5, 6]
    assert [row["turn"] for row in by_flow[1]] == [None, "broke", None, None, "recovered", None, "broke"]
    assert [row["turn"] for row in by_flow[2]] == [None, None]  # there was no success before
    assert [row["answer"] for row in by_flow[1]] == ["m0", "<fault/>", "m2", '[{"code": 7}]', "m4", "m5", "m6"]
    assert [row["message"] for row in by_flow[1]] == [f"m{n}" for n in range(7)]


@pytest.mark.parametrize(("limit", "few"), [(1, 5), (3, 500), (20, 5), (59, 5), (60, 500), (61, 5)])
def test_the_end_of_a_history_is_told_as_in_the_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch, limit: int, few: int
) -> None:
    """Also where the result before it lies far back, or at the same moment; where few lines tell all, or more."""
    chance = random.Random(limit)
    monkeypatch.setattr(sys.modules["archiver.queries.search"], "FEW", few)
    monkeypatch.setattr(sys.modules["archiver.queries.history"], "EARLIER", 3)
    for number, flow in enumerate(FLOWS):
        moments = sorted(datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=chance.randrange(12)) for _ in range(20))
        rows = [line(n, canonical(at), chance.choice((2, 3, 3, 4)), sku="A") for n, at in enumerate(moments)]
        stored(store, flow, rows[: 20 - 9 * number] + rows[20 - 9 * number :])
    whole = told(store.engine, asking(("sku", "A")))
    assert len(whole) == 60
    assert {row["turn"] for row in whole} == {None, "broke", "recovered"}
    assert told(store.engine, asking(("sku", "A")), limit) == whole[-limit:]


@pytest.mark.parametrize(
    ("pairs", "indexes"),
    [
        ([("sku", "A")], ["fields_idx"]),
        ([("sku", "7")], ["fields_idx"]),
        ([("sku", "A"), ("ok", "true")], ["fields_idx"]),
        ([("sku", "x" * 300)], ["rest_idx"]),
        ([(None, "A")], ["fields_idx"]),
        ([("run_id", "run")], ["original_filename_uuid_idx", "fields_idx", "rest_idx"]),
        ([("log_id", "77")], ["line_202502_pkey", "fields_idx", "rest_idx"]),
    ],
)
def test_a_search_is_answered_by_indexes(store: Store, pairs: list[tuple[str | None, str]], indexes: list[str]) -> None:
    stored(store, FLOWS[0], [line(1, "2025-02-03T10:00:00+00:00", 2, sku="S1", ok=True)])
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO archive.line (flow_key, log_id, created, original_filename_uuid, form, src_hash, fields)"
            " SELECT 1, n, '2025-02-03', 'run-' || n, 0, 0, jsonb_build_object('sku', 'S' || n, 'ok', n %% 9 = 0)"
            " FROM generate_series(2, 20000) n"
        )
        connection.exec_driver_sql("ANALYZE archive.line")
    room = sys.modules["archiver.queries.search"]
    with queries.reading(store.engine) as reader:
        hunt = room._Hunt(reader, asking(*pairs), oldest_first=False)
        text = hunt._text(room._BOUNDED, where=hunt._where(), bound="1001", spread=room._SPREAD)
        plan = [row["QUERY PLAN"] for row in reader.rows("EXPLAIN " + text, **hunt._bind, most=50)]
    for name in indexes:
        assert any(name in step for step in plan), "\n".join(plan)
    assert not any("Seq Scan on line_202502" in step for step in plan)
