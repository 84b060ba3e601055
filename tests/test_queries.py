"""The readers' SQL, on a real Postgres."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import md5 as hashed

import psycopg
import pytest
from sqlalchemy import Engine, text

from archiver import queries
from archiver.errors import ArchiverError
from archiver.queries import reader as reader_module
from archiver.queries import run_lines
from archiver.queries.flow_runs import days_of
from archiver.queries.invariants import INVARIANTS, Selfcheck
from archiver.queries.run_lines import RunLines, page_of_lines
from archiver.store import connect, migrate, translated

DAY = datetime(2025, 3, 1, tzinfo=UTC)
MINUTE = timedelta(seconds=60)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = connect(database)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)"
                " VALUES ('prod', 'p', 'brand', 'f1', 'price'), ('prod', 'p', 'brand', 'f2', 'stock')"
            )
        )
        connection.execute(text("INSERT INTO archive.checkpoint (flow_key) SELECT flow_key FROM archive.flow"))
        connection.execute(
            text(
                "INSERT INTO archive.run (flow_key, log_id, created, finished, filename_uuid, state, status, form,"
                " src_hash, archive_state, seen_at) SELECT 1 + i % 2, i, timestamptz '2025-03-01 00:00+00'"
                " + i * interval '1 hour', NULL, 'run-' || i, 3, CASE WHEN i = 7 THEN 9 ELSE 2 + i % 2 END, 0, i,"
                " 'sealed', now() FROM generate_series(1, 20) i"
            )
        )
    yield engine
    engine.dispose()


def md5(word: bytes) -> str:
    return hashed(word, usedforsecurity=False).hexdigest()


def asked(engine: Engine, which: queries.RunFilter, limit: int | None = None) -> list[int]:
    with queries.reading(engine) as reader:
        return [row["log_id"] for row in queries.runs(reader, which, limit)]


def test_runs_are_the_views_rows_newest_first_with_and_without_a_limit(engine: Engine) -> None:
    assert asked(engine, queries.RunFilter()) == list(range(20, 0, -1))
    assert asked(engine, queries.RunFilter(), 5) == [20, 19, 18, 17, 16]
    with queries.reading(engine) as reader, engine.connect() as connection:
        row = next(queries.runs(reader, queries.RunFilter()))
        view = connection.execute(text("SELECT * FROM reporting.run LIMIT 0"))
    assert list(row) == list(view.keys())
    assert row["started_at"] == DAY + timedelta(hours=20)
    assert row["started_at"].utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "which",
    [
        queries.RunFilter(),
        queries.RunFilter(until=DAY),
        queries.RunFilter(since=DAY - timedelta(days=30)),
        queries.RunFilter(statuses=["failed", "success"], until=DAY),
        queries.RunFilter(states=["finished"], until=DAY),
    ],
)
def test_a_flow_of_few_runs_is_not_looked_for_among_all_others(engine: Engine, which: queries.RunFilter) -> None:
    """The index of all runs by time looks good to a planner that does not know which flow is meant: it is not taken
    even where the better ones are not there."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO archive.run"
                " (flow_key, log_id, created, state, status, form, src_hash, archive_state, seen_at)"
                " SELECT 1, 100 + i, timestamptz '2025-02-01 00:00+00' + i * interval '1 minute', 3, 2 + i % 2,"
                " 0, i, 'sealed', now() FROM generate_series(1, 20000) i"
            )
        )
        for name in ("flow_key_created", "flow_key_status_created"):
            connection.execute(text(f"DROP INDEX archive.run_{name}_idx"))
        connection.execute(text("ANALYZE archive.run"))
    seen: list[str] = []

    class Explaining(queries.Reader):
        def stream(self, statement: str, **bind: object) -> Iterator[queries.Row]:
            seen.extend(str(row["QUERY PLAN"]) for row in self.rows(f"EXPLAIN {statement}", **bind))
            return iter(())

    with queries.reading(engine) as reader:
        reader.__class__ = Explaining
        assert list(queries.runs(reader, which, 50)) == []
    assert any("archive.run" in line or " on run" in line for line in seen)
    assert not [line for line in seen if "run_created_idx" in line]


@pytest.mark.parametrize("limit", [None, 100])
def test_filters_mean_the_same_with_and_without_a_limit(engine: Engine, limit: int | None) -> None:
    runs = queries.RunFilter
    assert asked(engine, runs(flow_keys=[2]), limit) == list(range(19, 0, -2))
    assert asked(engine, runs(flow_keys=[]), limit) == []
    assert asked(engine, runs(statuses=["success"]), limit) == list(range(20, 1, -2))
    assert asked(engine, runs(statuses=["unknown"]), limit) == [7]
    assert asked(engine, runs(statuses=["unknown", "failed"]), limit) == list(range(19, 0, -2))
    assert asked(engine, runs(states=["started"]), limit) == []
    since, until = DAY + timedelta(hours=3), DAY + timedelta(hours=6)
    assert asked(engine, runs(since=since, until=until), limit) == [5, 4, 3]


def test_a_run_is_found_by_its_id_its_beginning_and_its_log_ids(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO archive.step (flow_key, log_id, created, run_log_id, form, src_hash, seen_at)"
                " VALUES (1, 501, now(), 4, 0, 1, now())"
            )
        )
        connection.execute(
            text(
                "INSERT INTO archive.line (flow_key, log_id, created, original_filename_uuid, form, src_hash)"
                " VALUES (2, 601, now(), 'run-5', 0, 1)"
            )
        )

    def found(word: str, keys: tuple[int, ...] = (1, 2)) -> list[int]:
        with queries.reading(engine) as reader:
            return [row["log_id"] for row in queries.runs_named(reader, word, keys)]

    assert found("run-2") == [2], "an exact id goes before those that only begin so"
    assert found("run-1", keys=(1,)) == [18, 16, 14, 12, 10]
    assert found("3") == [3]
    assert found("501") == [4]
    assert found("601") == [5]
    assert found("run_2") == found("%") == found("99") == found("9" * 30) == found("²") == []


def explained(part: str) -> tuple[list[str], type[queries.Reader]]:
    """The lines of the plans of those statements that have this part, as a reader of this kind asks them."""
    plans: list[str] = []

    class Explaining(queries.Reader):
        def rows(self, statement: str, **bind: object) -> list[queries.Row]:
            if part in statement:
                plans.extend(str(row["QUERY PLAN"]) for row in super().rows(f"EXPLAIN {statement}", **bind))
            return super().rows(statement, **bind)

    return plans, Explaining


def test_runs_are_found_by_the_beginning_of_their_id_by_index(engine: Engine) -> None:
    """Those of all flows, and what a search for any word asks: no run of the archive is looked at for it."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO archive.run (flow_key, log_id, created, filename_uuid, original_filename_uuid, form,"
                " src_hash, archive_state, seen_at) SELECT 1 + i % 2, 100 + i, timestamptz '2025-02-01 00:00+00'"
                " + i * interval '1 minute', nullif(md5(i::text), md5('7')), md5(i::text), 0, i, 'sealed', now()"
                " FROM generate_series(1, 30000) i"
            )
        )
        connection.execute(text("UPDATE archive.run SET filename_uuid = 'odd%_\\id' WHERE log_id = 109"))
        connection.execute(text("ANALYZE archive.run"))
    plans, explaining = explained("LIKE")

    def found(word: str) -> list[int]:
        with queries.reading(engine) as reader:
            reader.__class__ = explaining
            return [row["log_id"] for row in queries.runs_named(reader, word, (1, 2))]

    assert found(md5(b"12")[:12]) == [112]
    assert found(md5(b"7")[:12]) == [107], "its id stands in the other column"
    assert found("odd%_\\i") == [109]
    assert found("odd__") == found("ODD") == found("tişört") == []
    assert len(found("ab")) == 20
    assert not [line for line in plans if "Seq Scan" in line or "run_created_idx" in line]
    assert [line for line in plans if "run_flow_key_filename_uuid_idx" in line]


def test_a_reader_writes_nothing_and_sees_one_state(engine: Engine) -> None:
    with queries.reading(engine) as reader:
        before = len(queries.flows(reader))
        with engine.begin() as other:
            other.execute(
                text(
                    "INSERT INTO archive.flow (integrator, project_id, flow_id, flow_name) VALUES ('a', 'b', 'c', 'd')"
                )
            )
        assert len(queries.flows(reader)) == before
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), queries.reading(engine) as reader:
        reader.rows("DELETE FROM archive.run RETURNING 1")
    with queries.reading(engine) as reader:
        assert len(queries.flows(reader)) == before + 1


def rows_of(engine: Engine, statement: str, seconds: float = 30) -> tuple[list[str], list[tuple[object, ...]]]:
    with queries.statement(engine, statement, timedelta(seconds=seconds)) as (names, rows):
        return list(names), [tuple(row) for row in rows]


def test_values_come_out_as_exact_as_postgres_holds_them(engine: Engine) -> None:
    names, rows = rows_of(
        engine,
        "SELECT 1.50 AS a, 'NaN'::numeric AS a, 'Infinity'::float8 AS b, '{\"x\": 1.0000000000000000001}'::jsonb AS c,"
        " timestamptz '2025-03-01 10:00+03' AS d, 'infinity'::timestamptz AS e, timestamptz '0044-03-15 00:00+00 BC'"
        " AS f, date '2025-03-01' AS g, timestamp '2025-03-01 10:00' AS h, ARRAY[1.0, 2] AS i, '\\x00ff'::bytea AS j,"
        " NULL AS k, true AS l, '100%s' AS m",
    )
    assert names == ["a", "a_2", *"bcdefghijklm"]
    assert rows[0][:5] == (
        "1.50",
        "NaN",
        "Infinity",
        '{"x": 1.0000000000000000001}',
        datetime(2025, 3, 1, 7, tzinfo=UTC),
    )
    assert isinstance(rows[0][0], queries.Json)
    assert not isinstance(rows[0][1], queries.Json)
    assert rows[0][5:9] == ("infinity", "0044-03-15 00:00:00+00 BC", "2025-03-01", "2025-03-01T10:00:00")
    assert rows[0][9:] == (["1.0", "2"], "\\x00ff", None, True, "100%s")


@pytest.mark.parametrize(
    "statement",
    ["SELECT count(*) FROM run", "/* so */ -- and\n WITH a AS (SELECT 1) TABLE a;", "SHOW TimeZone", "VALUES (1)"],
)
def test_whatever_answers_with_rows_is_run(engine: Engine, statement: str) -> None:
    assert len(rows_of(engine, statement)[1]) == 1


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM archive.run RETURNING 1", "only reading"),
        ("WITH gone AS (DELETE FROM archive.run RETURNING 1) SELECT * FROM gone", "data-modifying"),
        ("SELECT 1; COMMIT; DROP TABLE archive.run", "one statement at a time"),
        ("SHOW TimeZone; COMMIT; DROP TABLE archive.run", "one statement at a time"),
        ("DO $$ BEGIN COMMIT; DELETE FROM archive.run; END $$", "transaction"),
        ("SELECT set_config('transaction_read_only', 'off', true)", "read-write"),
        ("SET TRANSACTION READ WRITE", "read-write"),
        ("COPY archive.run TO PROGRAM 'true'", "COPY"),
        ("COMMIT", "no rows"),
        ("SELECT * FROM nowhere", '"nowhere" does not exist (SQLSTATE 42P01), at character 15'),
        ("SELECT started_att FROM run", "started_at"),
        ("SELECT 1/0", "division by zero"),
        ("nonsense", "syntax error"),
        (" ", "no statement"),
        ("SELECT pg_sleep(20)", "took longer than 0.2 s"),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_reason(engine: Engine, statement: str, words: str) -> None:
    with pytest.raises(queries.StatementRefused) as refusal:
        rows_of(engine, statement, seconds=0.2)
    assert words in str(refusal.value)
    assert len(asked(engine, queries.RunFilter())) == 20


def test_rows_come_while_the_statement_still_runs(engine: Engine) -> None:
    with queries.statement(engine, "SELECT generate_series(1, 100000000)", MINUTE) as (_, rows):
        assert [row[0] for row in itertools.islice(rows, 3)] == [1, 2, 3]


def test_a_lost_database_is_not_the_statements_fault(engine: Engine) -> None:
    with pytest.raises(ArchiverError) as error, translated():
        rows_of(engine, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert not isinstance(error.value, queries.StatementRefused)


def judged(engine: Engine, now: datetime = DAY) -> queries.Health:
    with queries.reading(engine) as reader:
        row = queries.health(reader, [1])[0]
        assert list(row) == queries.health_columns(reader)
        return queries.judge(row, now)


def changed(engine: Engine, statement: str) -> queries.Health:
    with engine.begin() as connection:
        connection.execute(text(statement))
    return judged(engine)


def test_a_flow_that_is_covered_is_well(engine: Engine) -> None:
    health = changed(engine, "UPDATE archive.checkpoint SET frontier = now(), checked_at = now()")
    assert (health.condition, health.is_well, health.problems) == ("up to date", True, ())
    assert changed(engine, "UPDATE archive.checkpoint SET backfill = '{}'").condition == "catching up"


def test_a_flow_without_runs_is_not_polled_yet_or_has_none(engine: Engine) -> None:
    assert changed(engine, "DELETE FROM archive.run") == queries.Health("not polled yet")
    health = changed(engine, "UPDATE archive.checkpoint SET checked_at = now()")
    assert (health.condition, health.is_well) == ("no runs", True)
    assert "f1" in health.notes[0]


_DETAIL = """
    INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome)
    VALUES (1, 1, 2, 2, now(), '{}')
"""
_REFUSED = """
    INSERT INTO archive.quarantine (flow_key, log_type, src_hash, source, reason) VALUES (1, 1, 1, '{}', 'odd')
"""
_GAP = """UPDATE archive.checkpoint SET gaps = '[{"from": null, "to": "2025-01-01", "reason": "depth_limited"}]'"""


@pytest.mark.parametrize(
    ("statement", "condition", "words"),
    [
        (
            "UPDATE archive.checkpoint SET failures_in_a_row = 3, last_error = 'down'",
            "failing",
            "3 times in a row: down",
        ),
        (_DETAIL.format("missing"), "incomplete", "1 file that the Integrator announced"),
        (_DETAIL.format("unreadable"), "incomplete", "1 file that cannot be read"),
        (_DETAIL.format("too_large"), "incomplete", "1 file larger"),
        ("UPDATE archive.run SET archive_state = 'lost' WHERE flow_key = 1 AND log_id < 5", "incomplete", "2 runs"),
        (_REFUSED, "incomplete", "1 row that could not be stored"),
        (_GAP, "incomplete", "from the beginning to 2025-01-01T00:00:00+00:00: depth_limited"),
        ("UPDATE archive.checkpoint SET next_due_at = '2025-02-28 20:00+00'", "overdue", "4 h"),
    ],
)
def test_what_fails_or_is_missing_is_not_well(engine: Engine, statement: str, condition: str, words: str) -> None:
    health = changed(engine, statement)
    assert (health.condition, health.is_well) == (condition, False)
    assert words in health.problems[0]


@pytest.mark.parametrize(
    "statement",
    [
        _DETAIL.format("wanted"),
        _DETAIL.format("stored"),
        "UPDATE archive.run SET archive_state = 'stuck' WHERE log_id = 2",
        """UPDATE archive.checkpoint SET source = '{"order": "oldest first"}'""",
        "UPDATE archive.checkpoint SET next_due_at = '2025-02-28 23:50+00'",
        "UPDATE archive.checkpoint SET next_due_at = '2025-02-01 00:00+00', checked_at = '2025-02-28 23:50+00'",
    ],
)
def test_what_is_only_unusual_is_well(engine: Engine, statement: str) -> None:
    assert changed(engine, statement).is_well


def test_files_are_found_by_the_log_they_belong_to(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, body,"
                " body_form, document) VALUES (1, 1, 2, 2, now(), 'stored', '\\x504b0003', 'zip', '{\"a\": 1.10}'),"
                " (1, 3, 2, 2, now(), 'missing', NULL, NULL, NULL)"
            )
        )
    with queries.reading(engine) as reader, engine.connect() as connection:
        both = queries.details_named(reader, 2, [1, 2])
        assert [row["log_type"] for row in both] == ["main", "line"]
        whole = [queries.detail(reader, one) for one in both]
        assert list(whole[0]) == list(connection.execute(text("SELECT * FROM reporting.detail LIMIT 0")).keys())
        assert both == [{name: row[name] for name in both[0]} for row in whole]
        assert "document" not in both[0]
        assert queries.body_of(reader, both[0], with_text=False).text is None
        assert queries.details_named(reader, 2, [2]) == queries.details_named(reader, 3, [1, 2]) == []
        assert queries.raw_of(reader, both[0]) == b"PK\0\3"
        assert queries.raw_of(reader, both[1]) is None
        assert queries.body_of(reader, both[0]).text == '{\n    "a": 1.10\n}'
        run = queries.run(reader, 1, 2)
        assert list(queries.details_of(reader, run)) == whole


def test_the_days_of_a_period_end_with_it(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE archive.flow SET day_zone = 'Europe/Istanbul'"))
        connection.execute(
            text(
                "INSERT INTO archive.flow_day (flow_key, day, runs, succeeded, failed, empty, lines, failed_lines)"
                " SELECT 1, date '2025-03-01' + i, 1, 1, 0, 0, 0, 0 FROM generate_series(0, 5) i"
            )
        )
    end = datetime(2025, 3, 3, 21, tzinfo=UTC)  # midnight in Istanbul, where the 4th begins
    with queries.reading(engine) as reader:
        for until, last in ((end, 3), (end + timedelta(microseconds=1), 4), (end - MINUTE, 3)):
            days = days_of(reader, 1, DAY + timedelta(days=1), until)
            assert [str(day["day"]) for day in days] == [f"2025-03-{n:02}" for n in range(2, last + 1)]


@pytest.mark.parametrize("finished", ["'2025-03-01 05:00+00'", "NULL"])
@pytest.mark.parametrize("size", [2, 7, 50])
def test_a_long_run_has_its_lines_of_odd_times_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, finished: str, size: int
) -> None:
    """Behind the others, each once, on pages of any size, and as filtered as these are."""
    monkeypatch.setattr(run_lines, "SHORT", 10)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE archive.run SET line_count = 18, finished = {finished} WHERE log_id = 4"))
        connection.execute(
            text(
                "INSERT INTO archive.line (flow_key, log_id, created, original_filename_uuid, form, src_hash, status)"
                " SELECT 1, 600 + i, CASE WHEN i <= 3 THEN timestamptz '1970-01-20' WHEN i <= 5 THEN '2099-01-01'"
                " ELSE '2025-03-01 04:00+00' END, 'run-4', 0, i, 2 + i % 2 FROM generate_series(1, 18) i"
            )
        )

    def pages(which: RunLines) -> Iterator[int]:
        with queries.reading(engine) as reader:
            while True:
                page = page_of_lines(reader, queries.run(reader, 1, 4), which, size)
                yield from (row["log_id"] - 600 for row in page.rows)
                if page.more is None:
                    return
                assert len(page.rows) == size
                which = replace(which, behind=page.more)

    # While it goes on, nobody knows what is late.
    found = [*range(6, 19), *([4, 5, 1, 2, 3] if finished == "NULL" else [1, 2, 3, 4, 5])]
    assert list(pages(RunLines())) == found
    assert list(pages(RunLines(status="failed"))) == [one for one in found if one % 2]


def test_lines_of_odd_times_are_looked_for_among_those_of_their_run(engine: Engine) -> None:
    """There are mostly none, so that nothing would end a search through all lines of the flow in the order of time."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO archive.line (flow_key, log_id, created, original_filename_uuid, form, src_hash)"
                " SELECT 1, 1000 + i, timestamptz '2025-03-01' + i * interval '5 s', 'long-' || i / 4000, 0, i"
                " FROM generate_series(1, 100000) i"
            )
        )
        connection.execute(text("ANALYZE archive.line"))
    run = {
        "flow_key": 1,
        "run_id": "long-20",
        "line_count": 4000,
        "started_at": datetime(2025, 3, 5, 15, tzinfo=UTC),
        "finished_at": datetime(2025, 3, 5, 21, tzinfo=UTC),
    }
    plans, explaining = explained("NOT (l.created")
    with queries.reading(engine) as reader:
        reader.__class__ = explaining
        assert len(page_of_lines(reader, run, RunLines(), 4000).rows) == 4000
    assert [line for line in plans if "original_filename_uuid_idx" in line]
    assert not [line for line in plans if "created_idx" in line]


def test_documents_of_a_run_are_in_memory_one_at_a_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, document)"
                " SELECT 1, 1, 2 + i, 2, now(), 'stored', '{}' FROM generate_series(0, 9) i"
            )
        )
    loaded: list[bytes] = []
    load = reader_module._JsonLoader.load

    def counted(self: reader_module._JsonLoader, data: bytes) -> queries.Json:
        loaded.append(data)
        return load(self, data)

    monkeypatch.setattr(reader_module._JsonLoader, "load", counted)
    with queries.reading(engine) as reader:
        run = queries.run(reader, 1, 2)
        rows = queries.details_of(reader, run)
        next(rows)
        assert len(loaded) == 1
        assert len(list(rows)) == len(loaded) - 1


def test_the_lines_of_recent_runs_are_counted_without_those_of_all_others(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET line_count = 3 WHERE log_id IN (2, 18, 20)"))
        connection.execute(
            text(
                "INSERT INTO archive.line (flow_key, log_id, created, original_filename_uuid, form, src_hash)"
                " SELECT 1, 1000 + i, timestamptz '2025-03-01 20:00+00',"
                " CASE WHEN i <= 3 THEN 'run-18' WHEN i = 4 THEN 'run-20' ELSE 'old-' || i / 100 END, 0, i"
                " FROM generate_series(1, 20000) i"
            )
        )
        connection.execute(text("ANALYZE archive.line"))
    (counted,) = (one for one in INVARIANTS if one.recent)
    since = DAY + timedelta(hours=15)
    for moment, found in ((None, [2, 20]), (since, [20])):
        count, violations = Selfcheck(engine, [1, 2], moment).violations(counted)
        assert (count, [one.log_id for one in violations]) == (len(found), found)
    with engine.connect() as connection:
        plan = connection.execute(text(f"EXPLAIN {counted.recent}"), {"keys": [1, 2], "since": since}).scalars().all()
    assert not [line for line in plan if "Seq Scan on line" in line]
