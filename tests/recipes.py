"""The questions of docs/recipes.md, asked as a reader asks them, of an archive of the demo's world at a fixed moment.

python -m tests.recipes        writes the answers into the document
"""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from archiver import embedded
from archiver.access import grant_reader, revoke_reader
from archiver.access.role import address
from archiver.cli.words import clean
from archiver.demo.flows import brand_flows
from archiver.demo.world import World
from archiver.store import connect
from tests.system.story import told

DOCUMENT = Path(__file__).parent.parent / "docs" / "recipes.md"
NOW = datetime(2026, 3, 8, 8, tzinfo=UTC)
START = NOW.replace(hour=0) - timedelta(days=3)

_RECIPE = re.compile(
    r"^## (?P<title>[^\n]+)\n(?:(?!^## ).)*?^```sql\n(?P<sql>.*?)^```\n\n^```text\n(?P<answer>.*?)^```\n",
    re.MULTILINE | re.DOTALL,
)


class Recipe(NamedTuple):
    title: str
    statement: str
    answer: str


def recipes(text: str) -> list[Recipe]:
    """The recipes of a document, in their order."""
    return [Recipe(one["title"], one["sql"], one["answer"]) for one in _RECIPE.finditer(text)]


@contextmanager
def archived(folder: Path, database: str) -> Iterator[psycopg.Connection[Any]]:
    """A reader's connection to the archive of the demo's world."""
    world = World(lambda: NOW, start=START, flows=brand_flows())
    with told(folder, database, flows=brand_flows(), world=world) as story:
        done = story.run("sync")
        assert done.returncode == 0, done.stderr
    engine = connect(database)
    role = f"recipes_{uuid.uuid4().hex[:8]}"
    try:
        granted = grant_reader(engine, role)
        with psycopg.connect(address(engine, role, granted.password), autocommit=True) as connection:
            yield connection
    finally:
        revoke_reader(engine, role)
        engine.dispose()


def answer(connection: psycopg.Connection[Any], statement: str) -> str:
    """What psql would show. `now()` is the moment at which the document asks."""
    cursor = connection.execute(statement.replace("now()", f"timestamptz '{NOW}'").encode())
    names = [column.name for column in cursor.description or ()]
    rows = [[_text(value) for value in row] for row in cursor.fetchall()]
    widths = [max(len(cell) for cell in column) for column in zip(names, *rows, strict=True)]
    lines = [_line(names, widths), "-+-".join("-" * width for width in widths)]
    lines += [_line(row, widths) for row in rows]
    return "\n".join(lines) + f"\n({len(rows)} {'row' if len(rows) == 1 else 'rows'})\n"


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else clean(value)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def answered(text: str, connection: psycopg.Connection[Any]) -> str:
    """The document with its answers made anew."""

    def ask(one: re.Match[str]) -> str:
        before = one[0][: one.start("answer") - one.start()]
        return f"{before}{answer(connection, one['sql'])}```\n"

    return _RECIPE.sub(ask, text)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="archiver-recipes-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with embedded.running(folder / "postgres") as database, archived(folder, database) as connection:
            DOCUMENT.write_text(answered(DOCUMENT.read_text(encoding="utf-8"), connection), encoding="utf-8")


if __name__ == "__main__":
    main()
