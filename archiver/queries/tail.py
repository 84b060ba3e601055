"""Runs as they come: those that somebody has not seen yet, as they are now."""

from __future__ import annotations

from collections.abc import Sequence

from archiver.queries.reader import Reader, Row

NEWEST = 50  # runs of a flow that are looked at each time

# What people want to see of a run: that it is there, each state and result, and that its lines are all here.
_LOOK = f"""
    SELECT r.* FROM unnest(%(keys)s::int[]) f (flow_key) CROSS JOIN LATERAL (
        SELECT flow_key, log_id, state, status, fail_count, archive_state IN ('open', 'pending', 'stuck') AS is_unread
        FROM archive.run WHERE flow_key = f.flow_key ORDER BY created DESC, log_id DESC LIMIT {NEWEST}
    ) r
"""
_ROWS = """
    SELECT v.* FROM unnest(%(keys)s::int[], %(ids)s::bigint[]) wanted (flow_key, log_id)
    JOIN reporting.run v USING (flow_key, log_id)
    ORDER BY v.started_at, v.flow_key, v.log_id
"""


class Followed:
    """The runs of some flows, followed by one reader after the other."""

    def __init__(self, flow_keys: Sequence[int]) -> None:
        self._keys = list(flow_keys)
        self._seen: dict[tuple[int, int], Row] = {}

    def news(self, reader: Reader) -> list[Row]:
        """Rows of reporting.run that are new, or different from the last look, the oldest first."""
        looked = {(row["flow_key"], row["log_id"]): row for row in reader.rows(_LOOK, keys=self._keys)}
        changed = [key for key, row in looked.items() if self._seen.get(key) != row]
        self._seen = looked
        if not changed:
            return []
        return reader.rows(_ROWS, keys=[key for key, _ in changed], ids=[log_id for _, log_id in changed])
