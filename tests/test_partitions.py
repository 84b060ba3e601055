"""Partitions of lines: made before they are needed, and never at the cost of everybody who waits behind the lock."""

from __future__ import annotations

import psycopg
import pytest

from archiver.postgres import DatabaseInterrupted
from archiver.store import Store


def months(database: str) -> set[str]:
    with psycopg.connect(database) as connection:
        return {
            name.removeprefix("line_")
            for (name,) in connection.execute(
                "SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
                " WHERE inhparent = 'archive.line'::regclass"
            )
        }


def test_a_partition_does_not_wait_for_who_reads_for_long(store: Store, database: str) -> None:
    before = months(database)
    with psycopg.connect(database) as reader:
        reader.execute("SELECT FROM archive.line_default")  # as a dump has it, until it has ended
        store.partitions.ensure_ahead()
        with pytest.raises(DatabaseInterrupted, match="made for 2019-05 while others"):
            store.partitions.ensure(["2019-05", "2019-06"])
        assert months(database) == before
    store.partitions.ensure(["2019-05", "2019-06"])
    assert len(months(database)) == len(before) + 6  # with this month and three ahead
    assert {"201905", "201906"} < months(database)


def test_odd_dates_make_no_partitions(store: Store, database: str) -> None:
    store.partitions.ensure(["1970-01", "0001-01", "2009-12", "2999-01"])
    assert len(months(database)) == 5  # the default, this month and three ahead
