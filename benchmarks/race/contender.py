"""What all of those that run have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from benchmarks.race.place import Integrator


class Skipped(Exception):
    """It cannot be had here; the text says why."""


class Contender(Protocol):
    """`table` has the lines. `asks_again`: its second load asks for everything, so that it is its re-read as well."""

    name: str
    table: str
    asks_again: bool

    def install(self, build: Path) -> str:
        """Make sure that it is there, if need be below `build`; answers versions. Raises Skipped."""
        ...

    def prepare(self, dsn: str, source: Integrator, folder: Path, connections: int) -> None:
        """A schema in an empty database, a configuration in an empty folder: what is done once and is not measured."""
        ...

    def command(self) -> list[str]:
        """One load of what is there, as `prepare` has set it up."""
        ...

    def environ(self) -> dict[str, str]: ...
