"""docs/data-dictionary.md, made from the comments in the database's own catalog.

    python -m tools.dictionary          writes it, with an embedded Postgres

A test compares the file with what this makes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import psycopg

from archiver import embedded
from archiver.store import connect, migrate

FILE = Path(__file__).parent.parent / "docs" / "data-dictionary.md"

HEAD = """\
# Data dictionary

What schema `reporting` holds: the contract with BI tools and people. Made from the database's own comments by
`python -m tools.dictionary`; in a database, `\\d+ reporting.*` says the same.

- The event time of a view is its first column of type `timestamp with time zone`; `run_daily` has its day instead.
- `flow_key` joins all views; `run_id` names a run within a flow, `log_id` a log of one type within a flow.
- `error_fingerprint` with `flow_key` joins `error_group`.
- Columns that count or say yes as `0` and `1` can be summed. Null means that nobody knows, or that it does not apply.
- Views change only by new columns at their end.
"""
VIEWS = """
SELECT c.relname, obj_description(c.oid) FROM pg_class c
WHERE c.relnamespace = 'reporting'::regnamespace AND c.relkind = 'v' ORDER BY c.relname
"""
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum) FROM pg_attribute a
WHERE a.attrelid = format('reporting.%%I', %s::text)::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


def columns(connection: psycopg.Connection[Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The views by name, each with the name, type and comment of its columns, in their order."""
    names = [name for name, _ in connection.execute(VIEWS).fetchall()]
    return [(name, connection.execute(COLUMNS, (name,)).fetchall()) for name in names]


def markdown(connection: psycopg.Connection[Any]) -> str:
    """The whole page, from the catalog of a database with an archive."""
    comments = dict(connection.execute(VIEWS).fetchall())
    parts = [HEAD]
    for name, rows in columns(connection):
        parts.append(f"\n## reporting.{name}\n\n{comments[name]}\n\n| Column | Type | Meaning |\n|---|---|---|\n")
        parts += [f"| `{column}` | {kind} | {_cell(comment)} |\n" for column, kind, comment in rows]
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="archiver-dictionary-") as name:
        Path(name).chmod(0o711)
        with embedded.running(Path(name) / "postgres") as dsn:
            engine = connect(dsn)
            migrate(engine)
            engine.dispose()
            with psycopg.connect(dsn) as connection:
                FILE.write_text(markdown(connection), encoding="utf-8")


if __name__ == "__main__":
    main()
