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


_OUTRUN = """
    SELECT flow_key, flow_name, (source ->> 'retention')::float8 / 1e6 / 86400
        - extract(epoch FROM now() - frontier)::float8 / 86400 AS days
    FROM archive.checkpoint JOIN archive.flow USING (flow_key)
    WHERE source ->> 'retention' IS NOT NULL AND frontier IS NOT NULL
"""


def outrun(reader: Reader) -> dict[int, tuple[str, float]]:
    """By flow: its name, and the days after which the Integrator would drop runs that nobody has read, were the flow
    not polled any more. Of how long it keeps them only what it has shown is known."""
    return {row["flow_key"]: (row["flow_name"], row["days"]) for row in reader.rows(_OUTRUN)}


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
