"""curl, jq and psql in a pipe; see pipeline.sh."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import psycopg

from benchmarks.bare_loop import COLUMNS, TYPES
from benchmarks.race.contender import Skipped
from benchmarks.race.place import Integrator

PROGRAMS = ("curl", "jq", "psql")


class Shell:
    name = "curl + jq + psql"
    table = "shell.line"
    asks_again = True

    def install(self, build: Path) -> str:  # noqa: ARG002
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise Skipped(f"{', '.join(missing)}: not installed")
        said = [subprocess.run([name, "--version"], check=True, capture_output=True, text=True) for name in PROGRAMS]
        return ", ".join(" ".join(one.stdout.split()[:3]) for one in said)

    def prepare(self, dsn: str, source: Integrator, folder: Path, connections: int) -> None:  # noqa: ARG002
        columns = ", ".join(f"{name} {kind}" for name, kind in zip(COLUMNS, TYPES.split(), strict=True))
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE SCHEMA shell")
            connection.execute(f"CREATE TABLE shell.line ({columns}, PRIMARY KEY (log_id, created))")
        script = Path(__file__).with_name("pipeline.sh")
        self._command = ["bash", str(script), dsn, source.said, str(2 * connections)]

    def command(self) -> list[str]:
        return self._command

    def environ(self) -> dict[str, str]:
        return {}
