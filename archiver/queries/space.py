"""How large the archive is, and how fast it grows."""

from __future__ import annotations

from pathlib import Path

from archiver.queries.reader import Reader
from archiver.signs import Space

# By the days on which the Integrator wrote them, so that history that is being read does not count as growth.
_SPACE = """
    SELECT pg_database_size(current_database()) AS size,
        sum(lines + runs)::float8 AS rows,
        (sum(lines + runs) FILTER (WHERE day < current_date AND day >= current_date - 7))::float8 / 7 AS daily
    FROM archive.flow_day
"""


def space(reader: Reader, folder: Path | None) -> Space:
    """`folder`: where the database's files are, where that is on this machine."""
    (row,) = reader.rows(_SPACE)
    growth = row["size"] / row["rows"] * (row["daily"] or 0.0) if row["rows"] else None
    return Space(row["size"], growth, None if folder is None else _free(folder))


def _free(folder: Path) -> int | None:
    import os

    try:
        found = os.statvfs(folder.resolve())
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
