"""What an archive needs beside its flows is done beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from archiver.daemon import upkeep
from archiver.daemon.upkeep import Upkeep
from archiver.store import Store, connect, migrate


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    engine = connect(database)
    migrate(engine)
    store = Store(engine, "test")
    yield store
    store.close()


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def is_idle(one: Upkeep) -> bool:
    return one._thread is not None and not one._thread.is_alive()


def test_nobody_waits_for_it_and_it_is_done_once(store: Store) -> None:
    rounds: list[int] = []
    one = Upkeep(store, lambda: rounds.append(1))
    with store.engine.begin() as connection:
        connection.execute(text("LOCK archive.pass IN ACCESS EXCLUSIVE MODE"))
        began = time.monotonic()
        one.look()
        one.look()
        assert time.monotonic() - began < 1
        assert not is_idle(one)
    until(lambda: is_idle(one))
    for _ in range(3):
        one.look()
        until(lambda: is_idle(one))
    assert rounds == [1]


def test_what_fails_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once, and not only hours later."""
    rounds: list[int] = []
    one = Upkeep(store, lambda: rounds.append(1))
    with store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE archive.pass RENAME TO gone"))
    one.look()
    until(lambda: is_idle(one))
    with store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE archive.gone RENAME TO pass"))
    one.look()
    assert is_idle(one)
    assert rounds == []
    monkeypatch.setattr(upkeep, "AGAIN", 0.0)
    one.look()
    until(lambda: is_idle(one))
    assert rounds == [1]
