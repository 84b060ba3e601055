"""The months in which lines lie, as the partitions have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PARTITIONS = """
    SELECT substring(relname FROM '_(\\d{6})$') AS month FROM pg_inherits JOIN pg_class ON oid = inhrelid
    WHERE inhparent = 'archive.line'::regclass AND relname ~ '^line_\\d{6}$' ORDER BY 1
"""


def spans(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Conditions on `l.created`: all of time, cut where the partitions are, the oldest first. `rows` are those of
    PARTITIONS."""
    starts = [f"'{month[:4]}-{month[4:]}-01 00:00+00'" for (month,) in rows]
    return [
        " AND ".join(
            [*([f"l.created >= {start}"] if start else []), *([f"l.created < {end}"] if end else [])] or ["TRUE"]
        )
        for start, end in zip(["", *starts], [*starts, ""], strict=True)
    ]
