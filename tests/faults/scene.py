"""What most rows of the catalogue play on: a world of explicit rows, its server, and a flow archived turn by turn."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import text

from archiver import config
from archiver.archive.poll import backfill, poll
from archiver.archive.turn import Counted, FlowReport, Turn
from archiver.client import Client
from archiver.demo.api import Tokens
from archiver.demo.faults import Fault, Faults
from archiver.demo.flows import BRAND
from archiver.demo.server import USERNAME, serve
from archiver.demo.table import TableWorld
from archiver.demo.wire import Answer, Request
from archiver.errors import ArchiverError
from archiver.store import Store, connect
from tests.books import wrong
from tests.faults import canaries
from tests.originals import line_logs, main_logs
from tests.system.story import by_id, compare
from tests.test_archive import FLOW, Bench

OTHER = "flow-2"


class Telling(Fault):
    """Every answer sets a cookie and has a header that nobody may repeat."""

    def after(self, request: Request, answer: Answer) -> None:
        answer.headers["Set-Cookie"] = f"session={canaries.COOKIE}; Path=/"
        answer.headers["X-Api-Key"] = canaries.HEADER


CERTIFIED = ("frontier", "intervals", "gaps", "walk", "backfill", "source")


class Saved(NamedTuple):
    """What a checkpoint says is certified, and the walks under way."""

    frontier: datetime | None
    intervals: list[Any]
    gaps: list[Any]
    walk: Any
    backfill: Any
    source: dict[str, Any]


NOTHING = Saved(None, [], [], None, None, {})


class Scene(Bench):
    """A bench whose secrets are the canaries."""

    database: str
    folder: Path
    config: config.Config

    @classmethod
    @contextmanager
    def opened(cls, database: str, folder: Path, **serving: Any) -> Iterator[Self]:
        """`serving` goes to the server, see `serve`."""
        world = TableWorld(lambda: datetime.now(UTC))
        faults = Faults(seed=1)
        faults.add(Telling())
        credentials = {USERNAME: canaries.PASSWORD}
        with serve(world, faults, credentials=credentials, **serving) as server:
            mark(server.api.tokens)
            loaded = config.load(_written(folder, "scene.yaml", server.base_url), {})
            _written(folder, "main-alone.yaml", server.base_url, levels=["main"], settle="1h", details="none")
            store = Store(connect(database), "test")
            try:
                with Client(loaded.integrators["here"], store.hold) as client:
                    flow = loaded.flows[0]
                    scene = cls(world, server, faults, store, client, flow, store.register(loaded.flows)[flow])
                    scene.database, scene.folder, scene.config = database, folder, loaded
                    yield scene
            finally:
                store.close()

    def poll(self, **changes: Any) -> FlowReport:
        """The walk of a turn alone: new runs and history, without their lines and files."""
        lease = self.store.leases.claim(self.key)
        assert lease is not None
        report = FlowReport(self.flow.name)
        counted = Counted(self.client, lambda: False)
        turn = Turn(replace(self.flow, **changes), lease, counted, self.store, report, eager=True)
        try:
            poll(turn)
            while backfill(turn):
                pass
        except ArchiverError as exc:
            report.errors.append(str(exc))
        self.store.leases.release(lease)
        report.requests = counted.requests
        return report

    def save(self) -> Saved:
        """What is certified now."""
        (row,) = self.all(f"SELECT {', '.join(CERTIFIED)} FROM archive.checkpoint WHERE flow_key = {self.key}")
        return Saved(*row)

    def restore(self, saved: Saved, *, without: int | None = None) -> None:
        """Certified is again what was; a run is not there any more."""
        bind = {
            name: json.dumps(value) if isinstance(value, dict | list) else value
            for name, value in saved._asdict().items()
        }
        values = ", ".join(f"{name} = :{name}" for name in CERTIFIED)
        with self.store.engine.begin() as connection:
            connection.execute(text(f"UPDATE archive.checkpoint SET {values} WHERE flow_key = {self.key}"), bind)
            connection.execute(text("DELETE FROM archive.run WHERE log_id = :id"), {"id": without})

    def stored(self) -> set[int]:
        """The ids of the flow's runs in the archive."""
        return {row[0] for row in self.all(f"SELECT log_id FROM archive.run WHERE flow_key = {self.key}")}

    def shown(self) -> set[int]:
        """The ids of the flow's runs at the source."""
        return {row["id"] for row in self.world.rows(FLOW, 1)}

    def frontier(self) -> datetime | None:
        found: datetime | None = self.one(f"SELECT frontier FROM archive.checkpoint WHERE flow_key = {self.key}")
        return found

    def gaps(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = self.one(f"SELECT gaps FROM archive.checkpoint WHERE flow_key = {self.key}")
        return found

    def falsely_complete(self) -> set[int]:
        """Runs that the source shows and the archive says that it has, and has not: certified, and in no gap."""
        (row,) = self.all(f"SELECT intervals, gaps FROM archive.checkpoint WHERE flow_key = {self.key}")
        spans = [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in row[0]]
        have = self.stored()
        missing = set()
        for run in self.world.main_logs(FLOW):
            created = datetime.fromtimestamp(int(run["created"]) / 1000, UTC)
            in_gap = any(
                (gap["from"] is None or datetime.fromisoformat(gap["from"]) <= created)
                and (gap["to"] is None or created < datetime.fromisoformat(gap["to"]))
                for gap in row[1]
            )
            if run["id"] not in have and not in_gap and any(start <= created < end for start, end in spans):
                missing.add(run["id"])
        return missing

    def differences(self) -> list[str]:
        """How the archive differs from the truth: rows, files and what is counted of them."""
        with self.store.engine.connect() as connection:
            truth, have = by_id(self.world.main_logs(FLOW)), by_id(main_logs(connection, self.key))
            different = compare("run", truth, have)
            for run in truth.values():
                run_id = run["filename_uuid"]
                lines = by_id(line_logs(connection, self.key, run_id))
                different += compare(f"{run_id}: line", by_id(self.world.line_logs(FLOW, run_id)), lines)
        kept = self.all(f"SELECT log_id, outcome, body FROM archive.detail WHERE flow_key = {self.key}")
        wanted = {number: base64.b64decode(file) for (flow, number), file in self.world.files.items() if flow == FLOW}
        different += [f"file {one} is missing" for one in wanted.keys() - {row[0] for row in kept}]
        different += [f"file {row[0]} is {row[1]}" for row in kept if row[1] != "stored"]
        different += [f"file {row[0]} differs" for row in kept if row[2] != wanted.get(row[0])]
        return different + wrong(self.database)

    def sooner(self, seconds: float = 0.0) -> None:
        """Whatever waits is due now; with `seconds`, all that the archive has seen was seen so much earlier."""
        with self.store.engine.begin() as connection:
            connection.execute(text("UPDATE archive.run SET visit_at = now() WHERE visit_at IS NOT NULL"))
            if seconds:
                ago = f"interval '{seconds} seconds'"
                connection.execute(text(f"UPDATE archive.run SET first_seen_at = first_seen_at - {ago}"))


def mark(tokens: Tokens) -> None:
    """Tokens of this server contain their canary."""
    issue = tokens.issue

    def marked(username: str, expires: int) -> str:
        token = issue(username, expires)
        with tokens._lock:
            tokens._known[f"{canaries.ISSUED_TOKEN}.{token}"] = tokens._known.pop(token)
        return f"{canaries.ISSUED_TOKEN}.{token}"

    tokens.issue = marked  # type: ignore[method-assign]


def _written(folder: Path, name: str, base_url: str, **defaults: Any) -> Path:
    path = folder / name
    settings = {
        "integrators": {
            "here": {
                "base_url": base_url,
                "username": USERNAME,
                "password": canaries.PASSWORD,
                "requests_per_second": 1000,
                "timeout": "2s",
            }
        },
        "projects": [
            {
                "id": BRAND.project_id,
                "slug": BRAND.slug,
                "flows": [{"id": FLOW, "name": "price"}, {"id": OTHER, "name": "stock"}],
            }
        ],
        "defaults": {"settle": "0s", "since": "2000-01-01", **defaults},
    }
    path.write_text(json.dumps(settings))
    return path
