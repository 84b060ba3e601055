"""What the dashboard shows, whatever the tool: its panels, the measures on the views, and the story of one item."""

from __future__ import annotations

from typing import NamedTuple

HISTORY = "item_history"  # the one dataset that is no view: lines with the fields that people search by
HISTORY_COLUMNS = (
    "created_at", "flow_key", "flow_name", "status", "is_failed", "message", "run_id", "log_id", "step_name",
)  # fmt: skip


class Measure(NamedTuple):
    """A number over the rows of a view, in SQL."""

    name: str
    label: str
    sql: str


class Panel(NamedTuple):
    """One picture. `kind`: number, table, bars or lines; `time`: the column that the chosen period applies to, None
    where the panel shows the present; `by`: one series for each value; `wide`: of 12; `high`: in pixels."""

    key: str
    title: str
    text: str
    kind: str
    view: str
    wide: int
    high: int
    time: str | None = None
    measures: tuple[str, ...] = ()
    by: str | None = None
    columns: tuple[str, ...] = ()
    order: str | None = None


MEASURES: dict[str, tuple[Measure, ...]] = {
    "flow_health": (
        Measure("runs_24h", "Runs", "sum(runs_24h)"),
        Measure("failed_24h", "Failed", "sum(failed_24h)"),
        Measure("stale_flows", "Flows", "count(*) FILTER (WHERE is_stale)"),
        Measure("open_runs", "Open runs", "sum(open_runs)"),
    ),
    "run_daily": (
        Measure("succeeded_runs", "Succeeded", "sum(succeeded)"),
        Measure("failed_runs", "Failed", "sum(failed)"),
        Measure("empty_runs", "Empty", "sum(empty)"),
        Measure("failed_line_count", "Failed lines", "sum(failed_lines)"),
        Measure("duration_p50", "Median, s", "max(duration_p50_seconds)"),
        Measure("duration_p95", "95th percentile, s", "max(duration_p95_seconds)"),
    ),
    "error_group": (Measure("occurrence_count", "Occurrences", "sum(occurrences)"),),
    "archive_health": (Measure("lag", "Seconds", "max(lag_seconds)"),),
    HISTORY: (Measure("line_total", "Lines", "count(*)"),),
}

TITLE = "Akinon Integrator"

ROWS: tuple[tuple[Panel, ...], ...] = (
    (
        Panel("runs", "Runs, last 24 hours", "", "number", "flow_health", 3, 150, measures=("runs_24h",)),
        Panel("failed", "Failed runs, last 24 hours", "", "number", "flow_health", 3, 150, measures=("failed_24h",)),
        Panel(
            "stale", "Silent flows", "Flows without a run for far longer than usual.", "number", "flow_health", 3, 150,
            measures=("stale_flows",),
        ),
        Panel("open", "Runs in progress", "", "number", "flow_health", 3, 150, measures=("open_runs",)),
    ),
    (
        Panel(
            "health", "Flow health", "Each flow now: when it last ran, and how often it failed.", "table",
            "flow_health", 12, 280,
            columns=(
                "flow_name", "last_run_at", "last_success_at", "last_failure_at", "runs_24h", "failed_24h", "runs_7d",
                "failed_7d", "is_stale", "open_runs",
            ),
            order="failed_7d",
        ),
    ),
    (
        Panel(
            "failures", "Failed runs by day", "Runs that failed, by flow and business day.", "bars", "run_daily", 6,
            340, time="day", measures=("failed_runs",), by="flow_name",
        ),
        Panel(
            "failed_lines", "Failed lines by day", "Line logs that failed, by flow and business day.", "bars",
            "run_daily", 6, 340, time="day", measures=("failed_line_count",), by="flow_name",
        ),
    ),
    (
        Panel(
            "outcomes", "Runs by result", "All flows: how the runs of a day ended.", "bars", "run_daily", 6, 340,
            time="day", measures=("succeeded_runs", "failed_runs", "empty_runs"),
        ),
        Panel(
            "durations", "Duration, 95th percentile (seconds)",
            "Seconds that 95 of 100 runs of a day did not exceed, by flow.",
            "lines", "run_daily", 6, 340, time="day", measures=("duration_p95",), by="flow_name",
        ),
    ),
    (
        Panel(
            "errors", "Kinds of errors", "Messages without what varies in them, the most frequent first.", "table",
            "error_group", 12, 420, time="last_seen_at",
            columns=(
                "flow_name", "error_class", "occurrences", "runs_hit", "first_seen_at", "last_seen_at", "sample",
            ),
            order="occurrences",
        ),
    ),
    (
        Panel(
            "history", "Item history", "What happened to one item over all flows, the newest first: choose it above.",
            "table", HISTORY, 12, 460, time="created_at",
            columns=("created_at", "flow_name", "status", "message", "run_id"), order="created_at",
        ),
    ),
    (
        Panel(
            "archive", "The archive itself", "Up to when each flow is archived, and what is left to do.", "table",
            "archive_health", 12, 280,
            columns=(
                "flow_name", "checked_at", "covered_from", "covered_to", "lag_seconds", "open_runs", "pending_runs",
                "pending_details", "failures_in_a_row", "last_error",
            ),
            order="lag_seconds",
        ),
    ),
)  # fmt: skip


def panels() -> list[Panel]:
    """All of them, in reading order."""
    return [panel for row in ROWS for panel in row]


def history_sql(fields: tuple[str, ...]) -> str:
    """The lines with these fields as columns of their own; a name may hold anything."""
    extra = "".join(f",\n    fields::jsonb ->> {_literal(one)} AS {identifier(one)}" for one in own(fields))
    return f"SELECT {', '.join(HISTORY_COLUMNS)}{extra}\nFROM reporting.line"


def own(fields: tuple[str, ...], columns: tuple[str, ...] = HISTORY_COLUMNS) -> list[str]:
    """Those that are not there yet: a field that is called as a column is that column."""
    return [one for one in fields if one not in columns]


def measure(view: str, name: str) -> Measure:
    """The measure of that name."""
    return next(one for one in MEASURES[view] if one.name == name)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def identifier(text: str) -> str:
    """A name as SQL."""
    return '"' + text.replace('"', '""') + '"'
