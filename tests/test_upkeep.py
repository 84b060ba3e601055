"""What an archive needs beside its flows is done beside them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest
from sqlalchemy import text

from archiver.daemon import upkeep
from archiver.daemon.upkeep import Upkeep
from archiver.store import Store


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def rounds(one: Upkeep, number: int) -> None:
    """Look so often, each time until all is done."""
    for _ in range(number):
        one.look()
        until(lambda: one._thread is None or not one._thread.is_alive())


def change(store: Store, statement: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(statement))


def test_nobody_waits_for_it_and_it_is_done_once(store: Store) -> None:
    indexed: list[int] = []
    one = Upkeep(store, lambda: indexed.append(1))
    with store.engine.begin() as connection:
        connection.execute(text("LOCK archive.pass IN ACCESS EXCLUSIVE MODE"))
        began = time.monotonic()
        one.look()
        one.look()
        assert time.monotonic() - began < 1
        assert one._thread is not None
        assert one._thread.is_alive()
    rounds(one, 3)
    assert indexed == [1]


def test_what_fails_is_tried_again_and_keeps_nothing_else_away(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at once, and not only hours later."""
    indexed: list[int] = []
    monkeypatch.setattr(upkeep, "AGAIN", 1.0)
    one = Upkeep(store, lambda: indexed.append(1))
    change(store, "ALTER TABLE archive.pass RENAME TO gone")
    with caplog.at_level(logging.WARNING):
        rounds(one, 3)
    assert indexed == [1]
    failed = [task.due for task in one._tasks if task.due < time.monotonic() + 60]
    assert len(failed) == 2  # folding and forgetting
    change(store, "ALTER TABLE archive.gone RENAME TO pass")
    time.sleep(1.1)
    rounds(one, 1)
    assert all(task.due > time.monotonic() + 60 for task in one._tasks)
    assert indexed == [1]


def test_nothing_is_begun_where_the_process_is_to_stop(store: Store) -> None:
    indexed: list[int] = []
    one = Upkeep(store, lambda: indexed.append(1), lambda: True)
    rounds(one, 1)
    assert indexed == []
