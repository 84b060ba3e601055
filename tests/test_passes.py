"""The table of passes: polls without news become one row an hour, and nothing of what is counted is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from archiver.config import Flow
from archiver.store import Store, connect, migrate

FLOWS = (Flow("prod", "p-1", "brand", "f-1", "price"), Flow("prod", "p-1", "brand", "f-2", "stock"))
INSERT = """
    INSERT INTO archive.pass (flow_key, started_at, ended_at, outcome, requests, rows_new, rows_changed, error)
    VALUES (%s, %s, %s, %s, %s, %s, 0, %s)
"""
HOUR = timedelta(hours=1)


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    engine = connect(database)
    migrate(engine)
    store = Store(engine, "test")
    store.register(FLOWS)
    yield store
    store.close()


def rows(database: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        return connection.execute(
            "SELECT flow_key, started_at, ended_at, outcome, requests, rows_new, error, turns, seconds"
            " FROM archive.pass ORDER BY flow_key, started_at"
        ).fetchall()


def sums(database: str) -> Any:
    with psycopg.connect(database) as connection:
        return connection.execute(
            "SELECT flow_key, outcome, sum(turns), sum(requests), sum(rows_new), min(started_at), max(ended_at),"
            " sum(coalesce(seconds, extract(epoch FROM ended_at - started_at)))"
            " FROM archive.pass GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()


def polled(database: str, flow_key: int, since: datetime, *, failed: int = -1, news: int = -1) -> None:
    """An hour of polls, one a minute of half a second each; one may have failed, one may have found something."""
    with psycopg.connect(database) as connection:
        for minute in range(60):
            at = since + timedelta(minutes=minute)
            outcome, error = ("failed", "it was down") if minute == failed else ("done", None)
            found = 7 if minute == news else 0
            row = (flow_key, at, at + timedelta(seconds=0.5), outcome, 1 + (found > 0), found, error)
            connection.execute(INSERT, row)


def test_polls_without_news_become_one_row_an_hour(database: str, store: Store) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    polled(database, 1, now - 5 * HOUR)
    polled(database, 1, now - 4 * HOUR, failed=10, news=20)
    polled(database, 2, now - 4 * HOUR)
    polled(database, 2, now - HOUR)
    before = sums(database)
    assert store.fold_passes() == 59 + 57 + 59
    assert sums(database) == before
    first, *others = rows(database)
    half = timedelta(seconds=0.5)
    assert first == (1, now - 5 * HOUR, now - 4 * HOUR - timedelta(minutes=1) + half, "done", 60, 0, None, 60, 30.0)
    assert [row[3:8] for row in others[:3]] == [
        ("done", 58, 0, None, 58),
        ("failed", 1, 0, "it was down", 1),
        ("done", 2, 7, None, 1),
    ]
    assert len(others) == 3 + 1 + 60, "the last hour stays as it is"
    assert store.fold_passes() == 0, "what was folded is not folded again"
    assert sums(database) == before
