"""What an export is made of: views by flow and month, and how to tell whether one of them has changed since."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from archiver.queries.reader import Reader

# The column that says in which month a row belongs. Other views are states or short lists: they are taken whole.
MONTHLY = {
    "run": "started_at",
    "step": "started_at",
    "line": "created_at",
    "detail": "run_started_at",
    "run_daily": "day",
}

# What changes whenever a row of the view does. A line is told by the hash of its source, for they are many; of a
# detail the checksum stands for the document.
_ROW_HASH = {
    "run": "v::text",
    "step": "v::text",
    "run_daily": "v::text",
    "detail": "(v.run_id, v.log_id, v.log_type, v.flow_name, v.outcome, v.byte_size, v.sha256, v.message)::text",
}
_LINES = """
    SELECT flow_key, to_char(created AT TIME ZONE 'UTC', 'YYYY-MM') AS month, count(*) AS rows,
        concat_ws(' ', count(*), sum(src_hash), sum(error_key), count(error_key), min(f.flow_name)) AS state
    FROM archive.line JOIN archive.flow f USING (flow_key)
    WHERE (%(keys)s::int[] IS NULL OR flow_key = ANY(%(keys)s))
        AND (%(since)s::timestamptz IS NULL OR created >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR created < %(until)s)
    GROUP BY 1, 2 ORDER BY 1, 2
"""


class Month(NamedTuple):
    """The rows of a view in a month of a flow. `state` differs where they have changed."""

    flow_key: int
    month: str
    rows: int
    state: str


def reporting_views(reader: Reader) -> list[str]:
    """The names of all views for readers."""
    return [
        row["viewname"]
        for row in reader.rows("SELECT viewname FROM pg_views WHERE schemaname = 'reporting' ORDER BY viewname")
    ]


def view_columns(reader: Reader, view: str) -> list[str]:
    """The names of the columns of one of them."""
    return [
        row["attname"]
        for row in reader.rows(
            "SELECT attname FROM pg_attribute WHERE attrelid = format('reporting.%%I', %(view)s::text)::regclass"
            " AND attnum > 0 ORDER BY attnum",
            view=view,
        )
    ]


def view_months(
    reader: Reader,
    view: str,
    flow_keys: Sequence[int] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Month]:
    """The months (in UTC, as `2026-11`) of a view of MONTHLY. `since` and `until` begin months."""
    found = reader.rows(
        _LINES if view == "line" else _states(view),
        keys=None if flow_keys is None else list(flow_keys),
        since=since,
        until=until,
    )
    return [Month(row["flow_key"], row["month"], row["rows"], row["state"]) for row in found]


def _states(view: str) -> str:
    column = MONTHLY[view]
    moment = f"v.{column}" if column == "day" else f"v.{column} AT TIME ZONE 'UTC'"
    return f"""
        SELECT flow_key, to_char({moment}, 'YYYY-MM') AS month, count(*) AS rows,
            concat_ws(' ', count(*), sum(hashtextextended({_ROW_HASH[view]}, 0))) AS state
        FROM reporting.{view} v
        WHERE (%(keys)s::int[] IS NULL OR flow_key = ANY(%(keys)s))
            AND (%(since)s::timestamptz IS NULL OR v.{column} >= %(since)s)
            AND (%(until)s::timestamptz IS NULL OR v.{column} < %(until)s)
        GROUP BY 1, 2 ORDER BY 1, 2
    """


def month_statement(view: str, flow_key: int | None, month: str | None, columns: str = "*") -> str:
    """SQL for the rows of a view, of one flow and month where these are given; for a session in UTC."""
    if flow_key is None or month is None:
        return f"SELECT {columns} FROM reporting.{view}"
    year, number = int(month[:-3]), int(month[-2:])
    after = f"{year + number // 12:04}-{number % 12 + 1:02}"
    column = MONTHLY[view]
    return (
        f"SELECT {columns} FROM reporting.{view} WHERE flow_key = {flow_key:d}"
        f" AND {column} >= '{month}-01' AND {column} < '{after}-01'"
    )


def pruned_statement(view: str, flow_key: int) -> str:
    """SQL for the time before which rows of a view of a flow may have been pruned: one row, null for never."""
    return f"SELECT (pruned ->> '{view}')::timestamptz AS before FROM archive.checkpoint WHERE flow_key = {flow_key:d}"


def erased_statement(view: str, flow_key: int) -> str:
    """SQL for log type and id of the logs of which a view's row was erased, or changed, at a person's request."""
    which = {"line": "log_type = 3 AND masked IS NULL", "detail": "true"}.get(view, "cardinality(masked) > 0")
    return f"SELECT log_type, log_id FROM archive.tombstone WHERE flow_key = {flow_key:d} AND {which}"
