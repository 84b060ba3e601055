"""A clean world whose source moves while it is archived and audited: whatever an audit says of it is a false alarm."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from archiver import config, daemon
from archiver.database import database
from archiver.demo.flows import FlowShape, flow_named
from archiver.demo.listing import Order
from archiver.demo.world import World
from archiver.verify import Scope
from tests.system.story import Story, told

LATENESS = timedelta(seconds=3)


def shapes(order: Order, seed: int) -> list[FlowShape]:
    """A flow that begins a run every other second, and one with longer runs; rows and files come late, and rows go."""
    chance = random.Random(seed)
    habits: dict[str, Any] = {
        "order": order,
        "late": timedelta(seconds=2),
        "late_share": chance.choice((0.0, 0.1, 0.3)),
        "late_lines": timedelta(seconds=1) if chance.random() < 0.5 else timedelta(0),
        "late_files": timedelta(seconds=1) if chance.random() < 0.5 else timedelta(0),
        "retention": timedelta(seconds=60) if chance.random() < 0.3 else None,
        "deleted": chance.choice((0.0, 0.05)),
        "vanishing": 0.0,
        "equal_created": chance.choice((1, 1, 3)),
        "failed": 0.2,
        "partial": 0.1,
    }
    return [
        replace(flow_named("price"), every=timedelta(seconds=2), lines=6, **habits),
        replace(flow_named("stock", "stock"), every=timedelta(seconds=8), lines=120, **habits),
    ]


def _wait_for_runs(story: Story, enough: int) -> None:
    deadline = time.monotonic() + 120
    while not story.query("SELECT to_regclass('archive.checkpoint')")[0][0] or story.query(
        f"SELECT count(*) < {enough} FROM archive.run"
    ) == [(True,)]:
        assert time.monotonic() < deadline, "nothing is archived"
        time.sleep(0.2)


def alarms_of_a_moving_world(folder: Path, dsn: str, order: Order, *, seed: int, audits: int) -> list[str]:
    """Archive without a pause, and audit so many times meanwhile; everything that the audits complain of."""
    flows = shapes(order, seed)
    world = World(lambda: datetime.now(UTC), start=datetime.now(UTC) - timedelta(seconds=100), flows=flows, seed=seed)
    alarms: list[str] = []
    with told(folder, dsn, flows=flows, world=world) as story:
        lateness = f"{LATENESS.total_seconds():g}s"
        path = story.configure(lateness=lateness, settle=lateness, details="failed")
        asked = config.load(path, {})
        stop = threading.Event()

        def archive() -> None:
            with daemon.opened(asked) as place:
                while not stop.is_set():
                    daemon.sync(place, asked.flows)
                    stop.wait(0.2)

        archiving = threading.Thread(target=archive)
        archiving.start()
        try:
            _wait_for_runs(story, 30)
            for _ in range(audits):
                time.sleep(0.5)
                with database(asked) as engine, daemon.visited(asked, engine) as place:
                    now = datetime.now(UTC)
                    result = daemon.audit_flows(
                        place, asked.flows, Scope(), lambda *_: None, now=now, asked="all", repair=False
                    )
                alarms += [f"seed {seed}: {flow.flow}: {one}" for flow in result.flows for one in flow.findings]
                alarms += [f"seed {seed}: {flow.flow}: {one}" for flow in result.flows for one in flow.errors]
                alarms += [f"seed {seed}: {one.number}: {one.examples}" for one in result.invariants if one.count]
                assert sum(sum(flow.counts.values()) for flow in result.flows) > 30
        finally:
            stop.set()
            archiving.join()
    return alarms
