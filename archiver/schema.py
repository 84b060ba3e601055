"""What this version knows of the database's schema without asking: its revisions, and what its indexes are called."""

from __future__ import annotations

import re
from functools import cache
from hashlib import blake2b
from pathlib import Path

from archiver.errors import NoArchive, SchemaMismatch, SchemaNewer


def folder() -> Path:
    """The migrations: inside the package in a wheel, beside it in a checkout."""
    inside = Path(__file__).parent / "migrations"
    return inside if inside.is_dir() else inside.parent.parent / "migrations"


@cache
def revisions() -> tuple[str, ...]:
    """Those that this version knows, oldest first: a chain whose files are named after them. Read from the names, for
    every command asks, and Alembic takes as long to import as a command may take to answer."""
    return tuple(sorted(file.name[:4] for file in (folder() / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")))


def newest() -> str:
    """The revision that this version of the archiver works with."""
    return revisions()[-1]


def require(have: str | None) -> None:
    """Raises SchemaMismatch where a database's revision is not the newest one."""
    refuse_newer(have)
    if have is None:
        raise NoArchive("the database holds no archive yet: run `archiver migrate`")
    if have != newest():
        raise SchemaMismatch(f"the database's schema is {have}, this version needs {newest()}: run `archiver migrate`")


def refuse_newer(have: str | None) -> None:
    """Raises SchemaMismatch for a revision that this version does not know."""
    if have is not None and have not in revisions():
        raise SchemaNewer(
            f"the database's schema is {have}, which this version of the archiver does not know ({newest()} is its"
            " newest): install the version that made it, or a newer one"
        )


def search_index(partition: str, name: str) -> str:
    """What the btree of a field that is declared for search is called, on `line` or a partition of it. Such indexes
    are the configuration's, not a migration's: `store.search_fields` makes them."""
    readable = re.sub(r"[^a-z0-9]+", "_", name.lower())[:20].strip("_")
    return f"{partition}_field_{readable}_{blake2b(name.encode(errors='replace'), digest_size=4).hexdigest()}_idx"
