"""Alerts as they are kept, for people."""

from __future__ import annotations

from archiver.queries.reader import Reader, Row

_ALERTS = """
    SELECT a.alert_id, a.kind, a.subject, a.flow_key, f.flow_name, a.title, a.detail, a.path, a.level, a.since,
        a.raised_at, a.resolved_at, a.resolution, a.told_at, a.acked_at, a.ack_reason,
        a.resolved_at IS NULL AS is_open,
        a.resolved_at IS NULL AND a.level > coalesce(a.acked_level, 0) AS wants_attention
    FROM archive.alert a LEFT JOIN archive.flow f USING (flow_key)
    WHERE a.resolved_at IS NULL OR %(every)s
    ORDER BY is_open DESC, coalesce(a.resolved_at, a.raised_at) DESC, a.alert_id DESC
"""
_WAITING = """
    SELECT message_id, made_at, title, attempts, error FROM archive.alert_message
    WHERE done_at IS NULL AND attempts > 0 ORDER BY message_id
"""


def alerts(reader: Reader, *, every: bool = False) -> list[Row]:
    """The open ones, newest first; `every`: behind them those that are over, of the last 90 days."""
    return reader.rows(_ALERTS, every=every)


def alert_columns(reader: Reader) -> list[str]:
    """The names of their columns."""
    return reader.columns(_ALERTS, every=False)


def undelivered(reader: Reader) -> list[Row]:
    """Messages that could not be delivered so far."""
    return reader.rows(_WAITING)
