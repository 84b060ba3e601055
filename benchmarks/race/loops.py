"""The bare loops: what is left of archiving when nothing is promised; see benchmarks/bare_loop.py."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.race.place import Integrator


class Loop:
    table = "bare.line"
    asks_again = True

    def __init__(self, letter: str) -> None:
        self.name = f"bare loop {letter}"
        self._letter = letter

    def install(self, build: Path) -> str:  # noqa: ARG002
        return f"Python {sys.version.split()[0]}, psycopg {version('psycopg')}, orjson {version('orjson')}"

    def prepare(self, dsn: str, source: Integrator, folder: Path, connections: int) -> None:  # noqa: ARG002
        arguments = ["--loop", self._letter, "--fetchers", str(connections)]
        self._command = [sys.executable, "-m", "benchmarks.bare_loop", dsn, source.said, *arguments]

    def command(self) -> list[str]:
        return self._command

    def environ(self) -> dict[str, str]:
        return {}
