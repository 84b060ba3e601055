"""How the archive of each flow stands, and whether that is well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from archiver.queries.reader import Reader, Row

OVERDUE = timedelta(hours=1)  # nobody has polled a flow that was due this long ago: is the daemon running?

# The tables are looked through once for all flows; a flow with little to tell costs nothing more.
_HEALTH = """
    WITH runs AS (
        SELECT flow_key, count(*) FILTER (WHERE archive_state = 'lost') AS lost_runs,
            count(*) FILTER (WHERE archive_state = 'stuck') AS stuck_runs
        FROM archive.run WHERE archive_state IN ('lost', 'stuck') GROUP BY flow_key
    ), details AS (
        SELECT flow_key, count(*) FILTER (WHERE outcome = 'missing') AS missing,
            count(*) FILTER (WHERE outcome = 'unreadable') AS unreadable,
            count(*) FILTER (WHERE outcome = 'too_large') AS too_large
        FROM archive.detail WHERE outcome IN ('missing', 'unreadable', 'too_large') GROUP BY flow_key
    ), quarantined AS (
        SELECT flow_key, count(*) AS n FROM archive.quarantine GROUP BY flow_key
    )
    SELECT h.*, f.integrator, f.project_id, f.project_slug, f.flow_id,
        last.started_at AS last_run_at, last.status AS last_run_status, c.next_due_at,
        c.walk IS NOT NULL OR c.backfill IS NOT NULL AS is_walking,
        coalesce(q.n, 0) AS quarantined_rows, coalesce(r.lost_runs, 0) AS lost_runs,
        coalesce(r.stuck_runs, 0) AS stuck_runs, coalesce(d.missing, 0) AS missing_details,
        coalesce(d.unreadable, 0) AS unreadable_details, coalesce(d.too_large, 0) AS too_large_details,
        c.source ->> 'order' AS source_order, c.gaps
    FROM archive.checkpoint c
    JOIN archive.flow f USING (flow_key)
    JOIN reporting.archive_health h USING (flow_key)
    LEFT JOIN runs r USING (flow_key)
    LEFT JOIN details d USING (flow_key)
    LEFT JOIN quarantined q USING (flow_key)
    LEFT JOIN LATERAL (
        SELECT started_at, status FROM reporting.run n WHERE n.flow_key = c.flow_key
        ORDER BY started_at DESC, log_id DESC LIMIT 1
    ) last ON true
    WHERE %(keys)s::int[] IS NULL OR c.flow_key = ANY(%(keys)s)
    ORDER BY h.flow_name, c.flow_key
"""


def health(reader: Reader, flow_keys: Sequence[int] | None = None) -> list[Row]:
    """Rows of reporting.archive_health, with more columns at their end; `gaps` is JSON."""
    return reader.rows(_HEALTH, keys=None if flow_keys is None else list(flow_keys))


def health_columns(reader: Reader) -> list[str]:
    """The names of the columns of `health`: for flows that the archive has not met."""
    return reader.columns(_HEALTH, keys=[])


@dataclass(frozen=True, slots=True)
class Health:
    """A row of `health`, judged. `condition`: up to date, catching up, not polled yet, no runs, overdue, failing or
    incomplete.

    `problems` are why it is not well; `notes` are worth knowing, but nothing is wrong.
    """

    condition: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        return not self.problems


def judge(row: Row, now: datetime) -> Health:
    """Not well is what fails, what is overdue, and what is missing by name: gaps, lost runs, files, refused rows."""
    failing = _failing(row)
    overdue = _overdue(row, now)
    missing = [*_gaps(row), *_missing(row)]
    if failing:
        condition = "failing"
    elif overdue:
        condition = "overdue"
    elif missing:
        condition = "incomplete"
    elif row["checked_at"] is None and row["covered_to"] is None and row["last_run_at"] is None:
        condition = "not polled yet"
    elif row["last_run_at"] is None:
        condition = "no runs"
    elif row["is_walking"] or row["covered_to"] is None or row["pending_runs"] or row["pending_details"]:
        condition = "catching up"
    else:
        condition = "up to date"
    return Health(condition, (*failing, *overdue, *missing), tuple(_notes(row)))


def _failing(row: Row) -> list[str]:
    times = row["failures_in_a_row"]
    if not times:
        return []
    return [f"failed {'once' if times == 1 else f'{times:,} times in a row'}: {row['last_error'] or 'no reason given'}"]


def _overdue(row: Row, now: datetime) -> list[str]:
    polled = max(filter(None, (row["next_due_at"], row["checked_at"])), default=None)
    if row["next_due_at"] is None or polled is None or now - polled < OVERDUE:
        return []
    hours = (now - polled).total_seconds() / 3600
    return [f"due and not polled for {hours:,.0f} h: is `archiver run` running?"]


def _gaps(row: Row) -> list[str]:
    gaps = [gap for gap in json.loads(row["gaps"]) if not gap.get("acknowledged_at")]
    return [f"gap from {gap.get('from') or 'the beginning'} to {gap.get('to')}: {gap.get('reason')}" for gap in gaps]


def _missing(row: Row) -> list[str]:
    words = {
        "lost_runs": "that the Integrator stopped listing before they had finished",
        "missing_details": "that the Integrator announced and does not have",
        "unreadable_details": "that cannot be read; their bytes are kept",
        "too_large_details": "larger than the archiver reads",
        "quarantined_rows": "that could not be stored; archive.quarantine keeps them",
    }
    return [f"{count_of(row[name], _THING[name])} {text}" for name, text in words.items() if row[name]]


_THING = {
    "lost_runs": "run",
    "missing_details": "file",
    "unreadable_details": "file",
    "too_large_details": "file",
    "quarantined_rows": "row",
}


def count_of(number: int, thing: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _notes(row: Row) -> list[str]:
    notes = []
    if row["checked_at"] is not None and row["last_run_at"] is None:
        notes.append(f"no run was ever listed: is the flow id {row['flow_id']} right?")
    if row["stuck_runs"]:
        notes.append(f"{count_of(row['stuck_runs'], 'run')} open for more than a week, asked for once a day")
    order = row["source_order"]
    if order == "oldest first":
        notes.append("the Integrator lists this flow oldest first")
    elif order == "arbitrary":
        notes.append("the Integrator lists this flow in no order: every poll reads the whole list")
    return notes
