"""How the archive of each flow stands, and whether that is well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from archiver.amounts import many
from archiver.queries.reader import Reader, Row

OVERDUE = timedelta(hours=1)  # nobody has polled a flow that was due this long ago: is the daemon running?

# What is missing is looked up once for all flows; a flow with little to tell costs nothing more.
_HEALTH = """
    WITH missing AS (
        SELECT flow_key,
            count(*) FILTER (WHERE kind = 'lost_run' AND acknowledged_at IS NULL) AS lost_runs,
            count(*) FILTER (WHERE kind = 'stuck_run') AS stuck_runs,
            count(*) FILTER (WHERE kind = 'missing_file' AND acknowledged_at IS NULL) AS missing_details,
            count(*) FILTER (WHERE kind = 'unreadable_file' AND acknowledged_at IS NULL) AS unreadable_details,
            count(*) FILTER (WHERE kind = 'too_large_file' AND acknowledged_at IS NULL) AS too_large_details,
            count(*) FILTER (WHERE kind = 'refused_row' AND acknowledged_at IS NULL) AS quarantined_rows,
            count(*) FILTER (WHERE kind IN ('lost', 'lost_file') AND acknowledged_at IS NULL) AS lost_logs,
            count(*) FILTER (WHERE kind IN ('stale', 'stale_file') AND acknowledged_at IS NULL) AS stale_logs,
            count(*) FILTER (WHERE kind IN ('corrupt', 'corrupt_file') AND acknowledged_at IS NULL) AS corrupt_logs,
            count(*) FILTER (WHERE is_missing AND acknowledged_at IS NOT NULL) AS acknowledged,
            bool_or(kind = 'uncertified' AND acknowledged_at IS NOT NULL) AS failing_acknowledged,
            jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', gap_id, 'from', time_from, 'to', time_to,
                'reason', what, 'noted_at', noted_at, 'acknowledged_at', acknowledged_at)) ORDER BY time_from)
                FILTER (WHERE kind = 'gap') AS gaps
        FROM archive.gap GROUP BY flow_key
    ), audits AS (
        SELECT flow_key, max(ended_at) AS verified_at FROM archive.audit GROUP BY flow_key
    )
    SELECT h.*, f.integrator, f.project_id, f.project_slug, f.flow_id,
        last.started_at AS last_run_at, last.status AS last_run_status, c.next_due_at,
        c.walk IS NOT NULL OR c.backfill IS NOT NULL AS is_walking,
        coalesce(m.quarantined_rows, 0) AS quarantined_rows, coalesce(m.lost_runs, 0) AS lost_runs,
        coalesce(m.stuck_runs, 0) AS stuck_runs, coalesce(m.missing_details, 0) AS missing_details,
        coalesce(m.unreadable_details, 0) AS unreadable_details, coalesce(m.too_large_details, 0) AS too_large_details,
        c.source ->> 'order' AS source_order, coalesce(m.gaps, '[]') AS gaps,
        coalesce(m.lost_logs, 0) AS lost_logs, coalesce(m.stale_logs, 0) AS stale_logs,
        coalesce(m.corrupt_logs, 0) AS corrupt_logs, coalesce(m.acknowledged, 0) AS acknowledged,
        coalesce(m.failing_acknowledged, false) AS failing_acknowledged, a.verified_at,
        CASE WHEN c.lease_until > clock_timestamp() THEN c.lease_owner END AS held_by
    FROM archive.checkpoint c
    JOIN archive.flow f USING (flow_key)
    JOIN reporting.archive_health h USING (flow_key)
    LEFT JOIN missing m USING (flow_key)
    LEFT JOIN audits a USING (flow_key)
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
    if not times or row["failing_acknowledged"]:
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
    return [
        f"gap {gap['id']} from {gap.get('from', 'the beginning')} to {gap.get('to', 'the end')}: {gap['reason']}"
        for gap in gaps
    ]


def _missing(row: Row) -> list[str]:
    words = {
        "lost_runs": "that the Integrator stopped listing before they had finished",
        "missing_details": "that the Integrator announced and does not have",
        "unreadable_details": "that cannot be read; their bytes are kept",
        "too_large_details": "larger than the archiver reads",
        "quarantined_rows": "that could not be stored; archive.quarantine keeps them",
        "lost_logs": "that the Integrator shows and the archive does not have: `archiver verify --repair`",
        "stale_logs": "that differ from what the Integrator shows: `archiver verify --repair`",
        "corrupt_logs": "that are damaged: `archiver verify --repair`",
    }
    return [f"{many(row[name], _THING[name])} {text}" for name, text in words.items() if row[name]]


_THING = {
    "lost_runs": "run",
    "missing_details": "file",
    "unreadable_details": "file",
    "too_large_details": "file",
    "quarantined_rows": "row",
    "lost_logs": "log",
    "stale_logs": "log",
    "corrupt_logs": "log",
}


def _notes(row: Row) -> list[str]:
    notes = []
    if row["checked_at"] is not None and row["last_run_at"] is None and row.get("is_configured") is not False:
        notes.append(f"no run was ever listed: is the flow id {row['flow_id']} right?")
    if row["stuck_runs"]:
        stuck = many(row["stuck_runs"], "run")
        notes.append(f"{stuck} open for longer than `stuck_after`, asked for once a day")
    if row["acknowledged"]:
        notes.append(f"{many(row['acknowledged'], 'gap')} accepted: `archiver gaps --all`")
    order = row["source_order"]
    if order == "oldest first":
        notes.append("the Integrator lists this flow oldest first")
    elif order == "arbitrary":
        notes.append("the Integrator lists this flow in no order: every poll reads the whole list")
    return notes


_SHARES = """
    SELECT integrator, owner, fraction FROM archive.rate_share WHERE held_until > clock_timestamp()
    ORDER BY integrator, owner
"""


def rate_shares(reader: Reader) -> list[Row]:
    """Which process may use which fraction of an Integrator's request rate now."""
    return reader.rows(_SHARES)
