"""The btrees of declared search fields: on every partition, beside writers, whatever a broken build left behind."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from archiver.config import Flow
from archiver.logs import Row, parse_line
from archiver.queries import Criterion, Search, reading
from archiver.queries.search import keys
from archiver.schema import search_index
from archiver.store import Store, connect, migrate
from archiver.store.search_fields import build

FLOW = Flow("prod", "p", "brand", "price", "price")
ODD = "we'ird \"n%(a)s_%me\\"
MONTHS = ("2025-01", "2025-02", "2025-03")


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    engine = connect(database)
    migrate(engine)
    store = Store(engine, "test")
    store.partitions.ensure(MONTHS)
    yield store
    store.close()


def put(store: Store, rows: list[Row]) -> None:
    lease = store.leases.claim(store.register([FLOW])[FLOW])
    assert lease is not None
    with store.writing(lease) as writer:
        writer.put_lines(map(parse_line, rows), (1, "run", "2025-01-01T00:00:00+00:00"))
    store.leases.release(lease)


def line(number: int, month: str = "2025-02", **fields: Any) -> Row:
    return {"id": number, "created": f"{month}-02T00:00:00+00:00", "original_filename_uuid": "run", **fields}


def indexes(database: str, field: str) -> dict[str, bool]:
    """The partitions that have the index, and whether it is valid."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT i.indrelid::regclass::text, i.indisvalid FROM pg_inherits"
            " JOIN pg_index i ON i.indexrelid = inhrelid WHERE inhparent = to_regclass(%s)",
            (f"archive.{search_index('line', field)}",),
        ).fetchall()
    return {table.removeprefix("archive.line_"): valid for table, valid in rows}


def partitions(database: str) -> set[str]:
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'archive.line'::regclass"
        ).fetchall()
    return {name.removeprefix("archive.line_") for (name,) in rows} - {"default"}


@pytest.mark.parametrize("field", ["sku", ODD, "ünlü " * 40])
def test_each_partition_gets_the_index_also_those_made_later(store: Store, database: str, field: str) -> None:
    put(store, [line(1, **{field: "x"})])
    built = build(store.engine, [field, field])
    assert (len(built.made), built.failed) == (len(partitions(database)), {})
    assert indexes(database, field) == dict.fromkeys(partitions(database), True)
    assert build(store.engine, [field]) == ([], {})
    store.partitions.ensure(["2024-11"])
    assert "202411" in partitions(database)
    assert indexes(database, field) == dict.fromkeys(partitions(database), True)
    assert build(store.engine, [field]) == ([], {})


def test_names_with_a_column_and_names_that_cannot_be_have_none(store: Store, database: str) -> None:
    assert build(store.engine, ["row_num", "status", "a\x00b", "\udcff"]) == ([], {})


def test_a_long_search_for_a_declared_field_uses_its_index(store: Store, database: str) -> None:
    put(store, [line(number, MONTHS[number % 3], sku=f"S{number % 50}", price=number % 7) for number in range(3000)])
    build(store.engine, ["sku", "price"])
    with reading(store.engine) as reader:
        for name, value, truth in (("sku", "S7", 60), ("price", "3", 429), ("price", "3.0", 429), ("price", "x", 0)):
            assert len(list(keys(reader, Search([Criterion(name, value)])))) == truth
        plan = "\n".join(
            row["QUERY PLAN"]
            for row in reader.rows(
                "EXPLAIN SELECT log_id FROM archive.line WHERE flow_key = 1 AND fields ->> 'sku' = ANY(ARRAY['S7'])"
                " ORDER BY created DESC LIMIT 5"
            )
        )
    assert search_index("line_202503", "sku") in plan


def test_what_a_broken_build_left_is_made_anew(store: Store, database: str) -> None:
    """Invalid leftovers, valid ones that were not attached yet, and a declaration without any."""
    put(store, [line(1, sku="x")])
    build(store.engine, ["sku"])
    with psycopg.connect(database, autocommit=True) as connection:
        for month in ("202501", "202502"):
            connection.execute(
                sql.SQL("ALTER TABLE archive.line DETACH PARTITION archive.{}").format(sql.Identifier(f"line_{month}"))
            )
            connection.execute(
                sql.SQL("ALTER TABLE archive.line ATTACH PARTITION archive.{} FOR VALUES FROM ({}) TO ({})").format(
                    sql.Identifier(f"line_{month}"),
                    f"{month[:4]}-{month[4:]}-01+00",
                    f"2025-0{int(month[5]) + 1}-01+00",
                )
            )
        connection.execute(sql.SQL("DROP INDEX archive.{}").format(sql.Identifier(search_index("line", "sku"))))
        broken = sql.Identifier(search_index("line_202502", "sku"))
        # A unique index over equal values fails half way, and stays behind invalid.
        put(store, [line(2, sku="x"), line(3, sku="x")])
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(
                sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY {} ON archive.line_202502 ((fields ->> 'sku'))").format(
                    broken
                )
            )
        connection.execute(
            sql.SQL(
                "CREATE INDEX {} ON archive.line_202503 (flow_key, (fields ->> 'sku'), created)"
                " WHERE fields ->> 'sku' IS NOT NULL"
            ).format(sql.Identifier(search_index("line_202503", "sku")))
        )
    built = build(store.engine, ["sku"])
    assert built.failed == {}
    assert indexes(database, "sku") == dict.fromkeys(partitions(database), True)


def test_an_index_that_cannot_be_made_is_told_and_stops_nothing(store: Store, database: str) -> None:
    """Another of that name is in the way on one partition; the others get theirs."""
    with psycopg.connect(database, autocommit=True) as connection:
        name = sql.Identifier(search_index("line_202502", "sku"))
        connection.execute(sql.SQL("CREATE INDEX {} ON archive.line_202502 (created)").format(name))
    built = build(store.engine, ["sku"])
    assert list(built.failed) == [search_index("line_202502", "sku")]
    assert built.problems()[0].endswith("(SQLSTATE 42P17)")
    assert set(indexes(database, "sku")) == partitions(database) - {"202502"}


def test_one_process_builds_at_a_time(store: Store, database: str) -> None:
    with psycopg.connect(database) as other:
        other.execute("SELECT pg_advisory_xact_lock(7226172913)")
        assert build(store.engine, ["sku"]) == ([], {})
    assert len(build(store.engine, ["sku"]).made) == len(partitions(database))


def test_writers_never_wait_for_a_build(store: Store, database: str) -> None:
    """A reader with an old snapshot keeps the build waiting; a writer goes on, and makes a partition besides."""
    put(store, [line(number, MONTHS[number % 3], sku=f"S{number}") for number in range(500)])
    with psycopg.connect(database) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        done: list[Any] = []
        builder = threading.Thread(target=lambda: done.append(build(store.engine, ["sku"])))
        builder.start()
        try:
            waiting = "SELECT count(*) FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting for%%'"
            with psycopg.connect(database, autocommit=True) as watcher:
                for _ in range(600):
                    row = watcher.execute(waiting.replace("%%", "%")).fetchone()
                    if row is not None and row[0]:
                        break
                    threading.Event().wait(0.05)
                else:
                    pytest.fail("the build never waited")
            chance = random.Random(1)
            for number in range(1000, 1100):
                put(store, [line(number, chance.choice(MONTHS), sku=f"S{number}")])
            store.partitions.ensure(["2024-10"])
            assert done == []
        finally:
            reader.rollback()
            builder.join(60)
    assert done[0].failed == {}
    build(store.engine, ["sku"])
    assert indexes(database, "sku") == dict.fromkeys(partitions(database), True)
    with reading(store.engine) as one:
        for number in (3, 1000, 1099):
            assert [key.log_id for key in keys(one, Search([Criterion("sku", f"S{number}")]))] == [number]


def test_a_broken_field_name_in_the_configuration_is_no_sql(store: Store, database: str) -> None:
    name = "x') ; DROP TABLE archive.line; --"
    put(store, [line(1, **{name: json.dumps("y")})])
    assert build(store.engine, [name]).failed == {}
    with reading(store.engine) as reader:
        assert [key.log_id for key in keys(reader, Search([Criterion(name, '"y"')]))] == [1]
