"""Leases are renewed while their owner lives, each by itself."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from archiver.config import Flow
from archiver.store import Store, leases

FLOWS = [Flow("prod", "p-1", "brand", f"f-{number}", f"flow-{number}") for number in range(3)]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW", 0.1)


def test_a_flow_that_somebody_has_locked_keeps_no_lease_of_others(store: Store) -> None:
    """A writer, a prune or somebody with psql may hold a flow's row for long: the others are renewed, and their rows
    are nobody's meanwhile."""
    keys = sorted(store.register(FLOWS).values())
    held = [store.leases.claim(key) for key in keys]
    assert None not in held
    left = text(
        "SELECT flow_key, extract(epoch FROM lease_until - clock_timestamp())::float8 FROM archive.checkpoint"
        " ORDER BY flow_key"
    )
    locked = text("SELECT flow_key FROM archive.checkpoint WHERE flow_key = :key FOR UPDATE")
    free = text("SELECT flow_key FROM archive.checkpoint WHERE flow_key = ANY(:keys) FOR UPDATE SKIP LOCKED")
    with store.engine.begin() as connection:
        connection.execute(locked, {"key": keys[1]})
        time.sleep(3)
        seconds: dict[int, float] = dict(iter(connection.execute(left)))
        assert seconds[keys[0]] > 15 - 2
        assert seconds[keys[2]] > 15 - 2
        assert seconds[keys[1]] < 15 - 2
        for _ in range(20):  # at most one of them is being renewed at a time
            with store.engine.begin() as other:
                assert len(other.execute(free, {"keys": [keys[0], keys[2]]}).all()) >= 1
    time.sleep(1.5)
    with store.engine.connect() as connection:
        assert all(seconds > 15 - 2 for _, seconds in connection.execute(left))


def test_leases_are_kept_while_somebody_has_locked_all_flows(store: Store) -> None:
    """As dropping a partition may, for some seconds: they are renewed right after it, for they may be about to end."""
    keys = sorted(store.register(FLOWS).values())
    for key in keys:
        assert store.leases.claim(key) is not None
    time.sleep(0.3)
    with store.engine.begin() as connection:
        connection.execute(text("SELECT flow_key FROM archive.checkpoint FOR NO KEY UPDATE"))
        time.sleep(2.2)
    time.sleep(1.0)
    with store.engine.connect() as connection:
        left = connection.execute(
            text("SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM archive.checkpoint")
        )
        assert all(seconds > 15 - 1 for seconds in left.scalars())
