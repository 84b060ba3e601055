"""What whole stories need: a make-believe Integrator, a configuration, the archiver as a process of its own, and the
comparison of the archive with the truth."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from archiver.demo.faults import Faults
from archiver.demo.flows import BRAND, FlowShape, flow_named
from archiver.demo.server import PASSWORD, USERNAME, Server, serve
from archiver.demo.world import World
from archiver.logs import Row
from archiver.store import connect
from tests.books import wrong
from tests.originals import line_logs, main_logs

DAYS = 2
SMALL = {"lines": 30, "spread": 0.3, "failed": 0.15, "runs": 25}


def small_flows(*kinds: str, **habits: Any) -> list[FlowShape]:
    """Flows with a few dozen runs of a few dozen lines."""
    return [replace(flow_named(kind, kind), **{**SMALL, **habits}) for kind in kinds or ("price", "stock")]


@dataclass
class Story:
    """One make-believe Integrator that a process of the archiver archives into one database."""

    world: Any
    server: Server
    folder: Path
    database: str | None
    flows: Sequence[FlowShape]
    settings: dict[str, Any] = field(default_factory=dict)

    def configure(self, **defaults: Any) -> Path:
        """Write the configuration: quick to settle, and no other limit than the Integrator's own."""
        path = self.folder / "config.yaml"
        config = {
            **({"database": {"url": self.database}} if self.database else {}),
            "integrators": {
                "make-believe": {
                    "base_url": self.server.base_url,
                    "username": USERNAME,
                    "password": PASSWORD,
                    "requests_per_second": 1000,
                    "timeout": "5s",
                    **self.settings,
                }
            },
            "projects": [
                {
                    "id": BRAND.project_id,
                    "slug": BRAND.slug,
                    "flows": [{"id": flow.flow_id, "name": flow.name} for flow in self.flows],
                }
            ],
            "defaults": {"every": "1s", "settle": "0s", "since": "2000-01-01", **defaults},
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The archiver as a process of its own, with an empty HOME."""
        command = [sys.executable, "-m", "archiver", "--config", str(self.folder / "config.yaml"), *arguments]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ARCHIVER_", "COLUMNS"))}
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**env, "HOME": str(home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*arguments, **environment)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        assert self.database is not None
        with psycopg.connect(self.database) as connection:
            return connection.execute(statement.encode()).fetchall()

    # --- the truth ---

    def differences(self) -> list[str]:
        """How the archive differs from what the Integrator shows: nothing, if all is well."""
        assert self.database is not None
        engine = connect(self.database)
        found: list[str] = []
        try:
            with engine.connect() as connection:
                for flow in self.flows:
                    key = connection.exec_driver_sql(
                        "SELECT flow_key FROM archive.flow WHERE flow_id = %s", (flow.flow_id,)
                    ).scalar_one()
                    truth = by_id(self.world.main_logs(flow.flow_id))
                    have = by_id(main_logs(connection, key))
                    found += compare(f"{flow.name}: run", truth, have)
                    for run in truth.values():
                        run_id = run["filename_uuid"]
                        lines = by_id(self.world.line_logs(flow.flow_id, run_id))
                        if run["state"] == 3:
                            found += compare(
                                f"{flow.name}: run {run_id}: line", lines, by_id(line_logs(connection, key, run_id))
                            )
                    found += self._files(connection, key)
        finally:
            engine.dispose()
        return found + wrong(self.database)

    def _files(self, connection: Any, key: int) -> list[str]:
        rows = connection.exec_driver_sql(
            "SELECT log_id, outcome, body, sha256 FROM archive.detail WHERE flow_key = %s", (key,)
        ).all()
        found = [f"file of {row.log_id} is {row.outcome}" for row in rows if row.outcome != "stored"]
        for row in rows:
            sent = self.world.download(row.log_id)
            if row.outcome == "stored" and sent is not None:
                file = base64.b64decode(sent)
                if file != bytes(row.body) or hashlib.sha256(file).hexdigest() != row.sha256:
                    found.append(f"file of {row.log_id} differs")
        return found

    def wanted_files(self) -> int:
        """How many files the failed runs of the world have."""
        wanted = 0
        for flow in self.flows:
            for run in self.world.main_logs(flow.flow_id):
                logs = [run, *run["sub_flows"], *self.world.line_logs(flow.flow_id, run["filename_uuid"])]
                if run["state"] == 3 and any(log["status"] == 3 for log in logs):
                    wanted += sum(log["is_send_S3"] == 1 for log in logs)
        return wanted


def by_id(rows: Any) -> dict[int, Row]:
    """Rows by id; an id that comes twice is a failure of the archive."""
    found: dict[int, Row] = {}
    for row in rows:
        assert row["id"] not in found, f"id {row['id']} twice"
        found[row["id"]] = row
    return found


def compare(what: str, truth: dict[int, Row], have: dict[int, Row]) -> list[str]:
    missing, extra = truth.keys() - have.keys(), have.keys() - truth.keys()
    changed = [one for one in truth.keys() & have.keys() if truth[one] != have[one]]
    return [
        f"{what} {one} is {how}"
        for how, ones in (("missing", missing), ("extra", extra), ("different", changed))
        for one in sorted(ones)
    ]


@contextmanager
def told(
    folder: Path,
    database: str | None,
    *,
    flows: Sequence[FlowShape] | None = None,
    faults: Faults | None = None,
    now: datetime | None = None,
    world: Any = None,
    **serving: Any,
) -> Iterator[Story]:
    """A story on a world whose clock stands still at `now`, or goes on if there is none."""
    flows = small_flows() if flows is None else flows
    if world is None:
        stands = datetime.now(UTC) if now is None else now
        clock = (lambda: datetime.now(UTC)) if now is None else (lambda: stands)
        world = World(clock, start=stands - timedelta(days=DAYS), flows=flows)
    with serve(world, faults, **serving) as server:
        story = Story(world, server, folder, database, flows)
        story.configure()
        yield story
