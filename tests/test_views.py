"""The reporting views: their columns are a contract, and what they say is what the rows say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from archiver import queries
from archiver.config import Flow
from archiver.logs import Row, parse_line, parse_run
from archiver.store import Store
from archiver.store.days import rezone
from tools.dictionary import FILE, columns, markdown

SNAPSHOT = Path(__file__).with_name("views.txt")

# What was promised: name and order; views only grow at their end.
PROMISED = {
    "flow": "flow_key, integrator, project_id, project_slug, flow_id, flow_name",
    "run": "started_at, started_date, finished_at, duration_seconds, run_id, log_id, flow_key, flow_name, project_id,"
    " state, status, process_count, success_count, fail_count, is_failed, is_finished, triggered_by, is_triggered,"
    " in_bound, schedule, fragment_count, line_count, detail_count, archive_state",
    "step": "started_at, finished_at, duration_seconds, run_id, log_id, flow_key, flow_name, step_id, step_name, state,"
    " status, process_count, success_count, fail_count, flow_order, is_failed",
    "line": "created_at, finished_at, run_id, log_id, flow_key, flow_name, step_id, step_name, state, status,"
    " is_failed, row_num, message, fields",
    "detail": "run_started_at, run_id, log_id, log_type, flow_key, flow_name, outcome, byte_size, sha256, document",
    "error_group": "first_seen_at, last_seen_at, flow_key, flow_name, fingerprint, sample, occurrences, runs_hit",
    "run_daily": "day, flow_key, flow_name, runs, succeeded, failed, empty, lines, failed_lines, duration_p50_seconds,"
    " duration_p95_seconds, duration_max_seconds",
    "flow_health": "last_run_at, last_success_at, last_failure_at, flow_key, flow_name, runs_24h, failed_24h, runs_7d,"
    " failed_7d, typical_gap_seconds, is_stale, open_runs",
    "archive_health": "checked_at, flow_key, flow_name, covered_from, covered_to, lag_seconds, open_runs, pending_runs,"
    " pending_details, failures_in_a_row, last_error",
}


def asked(dsn: str, statement: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_names_types_and_order_of_all_columns(store: Store, database: str) -> None:
    with psycopg.connect(database) as connection:
        views = columns(connection)
    found = [f"{view}.{name} {kind}" for view, rows in views for name, kind, _ in rows]
    assert found == SNAPSHOT.read_text(encoding="utf-8").splitlines(), "a view may only get new columns, at its end"
    have = {view: [name for name, _, _ in rows] for view, rows in views}
    for view, promised in PROMISED.items():
        names = promised.split(", ")
        assert have[view][: len(names)] == names


def test_the_data_dictionary_is_that_of_the_catalog(store: Store, database: str) -> None:
    with psycopg.connect(database) as connection:
        assert markdown(connection) == FILE.read_text(encoding="utf-8"), "python -m tools.dictionary writes it"


def test_comments_say_grain_and_unit(store: Store, database: str) -> None:
    with psycopg.connect(database) as connection:
        page = markdown(connection)
        views = columns(connection)
    assert page.count("Grain: one row for each") == len(views)
    units = [
        (view, name)
        for view, rows in views
        for name, _, comment in rows
        if name.endswith("_seconds") and "in seconds" not in comment
    ]
    assert units == []


def run(log_id: int, began: datetime, status: int = 2, seconds: float = 60, **more: Any) -> Row:
    created = int(began.timestamp() * 1000)
    row = {"id": log_id, "created": str(created), "finished": str(created + int(seconds * 1000)), "state": 3}
    return {**row, "status": status, "filename_uuid": f"run-{log_id}", **more}


def put(store: Store, flow: str, runs: list[Row], **lines: list[Row]) -> None:
    key = next(iter(store.register([Flow("prod", "p", "brand", flow, flow)]).values()))
    lease = store.leases.claim(key)
    assert lease is not None
    with store.writing(lease) as writer:
        parsed = [parse_run(row) for row in runs]
        writer.put_runs(parsed)
        for one in parsed:
            rows = lines.get(str(one.filename_uuid).replace("-", "_"), [])
            writer.put_lines(
                [parse_line(row) for row in rows], (one.log_id or 0, one.filename_uuid or "", one.created or "")
            )
    store.leases.release(lease)


def test_a_day_begins_where_the_business_is(store: Store, database: str) -> None:
    """Istanbul is three hours ahead: a run at 22:30 UTC belongs to the next day, and so do its lines."""
    late = datetime(2025, 3, 1, 22, 30, tzinfo=UTC)
    runs = [
        run(1, late, seconds=10),
        run(2, late + timedelta(hours=1), 3, 20),
        run(3, late - timedelta(hours=3), 4, 40),
    ]
    line = {"created": "2025-03-01T22:31:00+00:00", "original_filename_uuid": "run-1", "state": 3, "status": 3}
    put(store, "price", runs, run_1=[{**line, "id": 1}, {**line, "id": 2, "status": 2}])
    statement = "SELECT day, runs, succeeded, failed, empty, lines, failed_lines, duration_p50_seconds,"
    statement += " duration_p95_seconds, duration_max_seconds FROM reporting.run_daily ORDER BY day"
    assert asked(database, statement) == [(date(2025, 3, 1), 3, 1, 1, 1, 2, 1, 20.0, pytest.approx(38.0), 40.0)]
    rezone(store.engine, "Europe/Istanbul")
    assert asked(database, statement) == [
        (date(2025, 3, 1), 1, 0, 0, 1, 0, 0, 40.0, 40.0, 40.0),
        (date(2025, 3, 2), 2, 1, 1, 0, 2, 1, 15.0, pytest.approx(19.5), 20.0),
    ]
    days = "SELECT started_date, count(*) FROM reporting.run GROUP BY 1 ORDER BY 1"
    assert asked(database, days) == [(date(2025, 3, 1), 1), (date(2025, 3, 2), 2)]
    assert asked(database, "SELECT time_zone FROM reporting.flow") == [("Europe/Istanbul",)]


def test_flow_health_knows_the_rhythm_of_a_flow(store: Store, database: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    steady = [run(n, now - timedelta(minutes=10 * n + 5), 3 if n == 2 else 2) for n in range(200)]
    put(store, "steady", [*steady, run(999, now - timedelta(minutes=1), 1, state=2, finished=None)])
    put(store, "silent", [run(n, now - timedelta(hours=8, minutes=10 * n)) for n in range(100)])
    put(store, "nightly", [run(n, now - timedelta(hours=24 * n + 20)) for n in range(30)])
    put(store, "new", [run(1, now - timedelta(days=3))])
    put(store, "never", [])
    statement = "SELECT flow_name, runs_24h, failed_24h, runs_7d, failed_7d, typical_gap_seconds, is_stale, open_runs"
    statement += " FROM reporting.flow_health ORDER BY flow_name"
    assert asked(database, statement) == [
        ("never", 0, 0, 0, 0, None, False, 0),
        ("new", 0, 0, 1, 0, None, False, 0),
        ("nightly", 1, 0, 7, 0, 86400.0, False, 0),
        ("silent", 96, 0, 100, 0, 600.0, True, 0),
        ("steady", 145, 1, 201, 1, 600.0, False, 1),
    ]
    last = "SELECT last_run_at, last_success_at, last_failure_at FROM reporting.flow_health WHERE flow_name = 'steady'"
    assert asked(database, last) == [
        (now - timedelta(minutes=1), now - timedelta(minutes=5), now - timedelta(minutes=25))
    ]


def test_logs_lead_to_their_kind_of_error(store: Store, database: str) -> None:
    began = datetime(2025, 3, 1, tzinfo=UTC)
    line = {"created": "2025-03-01T00:00:01+00:00", "original_filename_uuid": "run-1", "state": 3, "status": 3}
    step = {"id": 1, "created": "2025-03-01T00:00:00+00:00", "state": 3, "status": 3, "original_filename_uuid": "run-1"}
    lines = [{**line, "id": n, "message": f"SKU A{n} not found"} for n in range(3)] + [{**line, "id": 9}]
    put(
        store,
        "price",
        [run(1, began, 3, message="SKU A1 not found", sub_flows=[{**step, "error": "Timed out"}])],
        run_1=lines,
    )
    assert asked(
        database,
        "SELECT g.template, g.error_class, g.occurrences, g.runs_hit, g.sample, count(l.log_id)"
        " FROM reporting.error_group g"
        " LEFT JOIN reporting.line l ON l.flow_key = g.flow_key AND l.error_fingerprint = g.fingerprint"
        " GROUP BY 1, 2, 3, 4, 5 ORDER BY 1",
    ) == [
        ("", "other", 1, 1, "", 1),
        ("sku # not found", "not_found", 3, 1, "SKU A2 not found", 3),
        ("timed out", "timeout", 1, 1, "Timed out", 0),
    ]
    assert asked(database, "SELECT message, error_fingerprint IS NOT NULL FROM reporting.step") == [("Timed out", True)]
    assert asked(database, "SELECT message, failed_line_count FROM reporting.run") == [("SKU A1 not found", 4)]


def test_of_many_affected_values_the_newest_are_looked_at(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime(2025, 3, 1, tzinfo=UTC)
    line = {"original_filename_uuid": "run-1", "state": 3, "status": 3, "message": "no"}
    lines = [
        {**line, "id": n, "created": f"2025-03-01T00:00:0{n}+00:00", "sku": sku}
        for n, sku in enumerate(["A", "A", "B", 7, "B", None])
    ]
    put(store, "price", [run(1, began, 3)], run_1=lines)
    with queries.reading(store.engine) as reader:
        (group,) = queries.error_groups(reader, queries.ErrorFilter())
        assert queries.affected(reader, group, []) == queries.affected(reader, group, ["size"]) == []
        everything = queries.Affected("sku", 4, ("A", "B", None, 7), is_complete=True)
        assert queries.affected(reader, group, ["size", "sku"]) == [everything]
        monkeypatch.setattr("archiver.queries.kinds.LOOKED_AT", 3)
        newest = queries.Affected("sku", 3, (None, "B", 7), is_complete=False)
        assert queries.affected(reader, group, ["sku"]) == [newest]
        late = queries.affected(reader, group, ["sku"], began + timedelta(seconds=4))
        assert late == [queries.Affected("sku", 2, (None, "B"), is_complete=True)]
