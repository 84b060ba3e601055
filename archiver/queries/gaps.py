"""What is known to be missing, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archiver.queries.reader import Reader, Row

# What each kind is called among people.
KINDS = {
    "gap": "gap",
    "uncertified": "failing",
    "late_rows": "late rows",
    "lost_run": "lost run",
    "stuck_run": "stuck run",
    "missing_file": "missing file",
    "unreadable_file": "unreadable file",
    "too_large_file": "file too large",
    "refused_row": "refused row",
    "lost": "lost log",
    "stale": "stale log",
    "corrupt": "damaged log",
    "lost_file": "lost file",
    "stale_file": "stale file",
    "corrupt_file": "damaged file",
}

_GAPS = """
    SELECT g.gap_id, g.kind, g.is_missing, g.is_missing AND g.acknowledged_at IS NULL AS is_open,
        f.flow_key, f.flow_name, g.noted_at, g.time_from, g.time_to, g.run_id,
        CASE g.log_type WHEN 1 THEN 'main' WHEN 2 THEN 'sub' WHEN 3 THEN 'line' END AS log_type, g.log_id, g.what,
        g.acknowledged_at, g.acknowledged_by, g.reason
    FROM archive.gap g JOIN archive.flow f USING (flow_key)
    WHERE (%(keys)s::int[] IS NULL OR flow_key = ANY(%(keys)s))
        AND (%(every)s OR g.acknowledged_at IS NULL)
    ORDER BY f.flow_name, flow_key, g.time_from NULLS FIRST, g.kind, g.gap_id
"""


def gaps(reader: Reader, flow_keys: Sequence[int] | None = None, *, every: bool = True) -> Iterator[Row]:
    """What is known to be missing, flow by flow, oldest first; `every`: also what somebody has accepted.

    `is_missing` is false for what is only worth knowing; `is_open` says whether it still counts.
    """
    return reader.stream(_GAPS, keys=None if flow_keys is None else list(flow_keys), every=every)
