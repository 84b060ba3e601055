"""Accepting what is known to be missing: who, when and why."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, text

from archiver.store.engine import translated

_ACKNOWLEDGE = text("""
    INSERT INTO archive.acknowledgement (flow_key, gap_id, reason, acknowledged_by)
    SELECT flow_key, gap_id, :reason, :by FROM archive.gap WHERE gap_id = ANY(:ids)
    ON CONFLICT (flow_key, gap_id) DO UPDATE SET
        reason = excluded.reason, acknowledged_by = excluded.acknowledged_by, acknowledged_at = excluded.acknowledged_at
""")


def acknowledge(engine: Engine, gap_ids: Sequence[str], *, reason: str, by: str) -> int:
    """Accept these; answers how many there were. What is accepted already gets the new reason."""
    with translated(), engine.begin() as connection:
        return connection.execute(_ACKNOWLEDGE, {"ids": list(gap_ids), "reason": reason, "by": by}).rowcount
