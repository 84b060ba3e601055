"""The archiver: `archiver sync`, all indexes on, everything kept that it keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psycopg

from benchmarks.race.place import Integrator

# Every run owes its lines once more; what is stored stays.
OWED = "UPDATE archive.run SET archive_state = 'pending', visit_at = now(), lines_walk = NULL"


class Archiver:
    name = "archiver"
    table = "archive.line"
    asks_again = False

    def install(self, build: Path) -> str:  # noqa: ARG002
        packages = ("psycopg", "sqlalchemy", "requests", "urllib3", "orjson")
        return f"Python {sys.version.split()[0]}, " + ", ".join(f"{name} {version(name)}" for name in packages)

    def prepare(self, dsn: str, source: Integrator, folder: Path, connections: int) -> None:
        world = source.world
        settings = {
            "database": {"url": dsn},
            "integrators": {
                "race": {
                    **{name: world[name] for name in ("base_url", "username", "password")},
                    "requests_per_second": 10000,
                    "connections": connections,
                }
            },
            "projects": [
                {
                    "id": world["flows"][0]["project_id"],
                    "slug": world["flows"][0]["slug"],
                    "flows": [{"id": flow["id"], "name": flow["name"], "settle": "1h"} for flow in world["flows"]],
                }
            ],
        }
        self._config = folder / "config.yaml"
        self._config.write_text(json.dumps(settings))
        subprocess.run([*self._archiver(), "migrate"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _archiver(self) -> list[str]:
        return [sys.executable, "-m", "archiver", "--config", str(self._config)]

    def command(self) -> list[str]:
        return [*self._archiver(), "sync"]

    def daemon(self) -> list[str]:
        """The same, for as long as it may run."""
        return [*self._archiver(), "run"]

    def environ(self) -> dict[str, str]:
        return {}

    @staticmethod
    def forget(dsn: str) -> None:
        """Let the next load read again what is known."""
        with psycopg.connect(dsn) as connection:
            connection.execute(OWED)
