"""The board: how each flow runs, problems first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from archiver.queries.reader import Reader, Row

RECENT = 40  # runs of a flow that are shown as bars

_BOARD = f"""
    SELECT f.*, h.last_run_at, h.last_success_at, h.last_failure_at, h.runs_24h, h.failed_24h, h.runs_7d, h.failed_7d,
        h.typical_gap_seconds, h.is_stale, h.open_runs, c.next_due_at, c.checked_at, c.failures_in_a_row, c.last_error,
        recent.durations, recent.statuses, recent.log_ids
    FROM reporting.flow f
    JOIN reporting.flow_health h USING (flow_key)
    LEFT JOIN archive.checkpoint c USING (flow_key)
    LEFT JOIN LATERAL (
        SELECT array_agg(seconds ORDER BY created, log_id) AS durations,
            array_agg(status ORDER BY created, log_id) AS statuses,
            array_agg(log_id ORDER BY created, log_id) AS log_ids
        FROM (
            SELECT created, log_id, coalesce(status, 0)::int AS status,
                extract(epoch FROM finished - created)::float8 AS seconds
            FROM archive.run r WHERE r.flow_key = f.flow_key ORDER BY created DESC, log_id DESC LIMIT {RECENT}
        ) newest
    ) recent ON true
    ORDER BY f.flow_name, f.project_slug, f.flow_key
"""


class Bar(NamedTuple):
    """One run: its status as the Integrator numbers it, and how long it took; None while it goes on."""

    status: int
    seconds: float | None
    log_id: int


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A flow as the board shows it. `state`: failed, stale, unreachable, running, ok or idle, worst first.

    `row`: columns of reporting.flow, reporting.flow_health and archive.checkpoint; `bars`: its latest runs, the oldest
    first; `is_unreachable`: it is not archived now, whatever its state; `why`: what its last finished run says went
    wrong, where that failed.
    """

    state: str
    row: Row
    bars: tuple[Bar, ...]
    is_unreachable: bool
    why: str | None = None

    @property
    def last_finished(self) -> Bar | None:
        """The newest run that has finished."""
        return next((bar for bar in reversed(self.bars) if bar.seconds is not None), None)


STATES = ("failed", "stale", "unreachable", "running", "ok", "idle")


def board(reader: Reader, now: datetime) -> list[BoardRow]:
    """Every flow, those with problems first."""
    rows = _explained(reader, [_judged(row, now) for row in reader.rows(_BOARD)])
    return sorted(rows, key=lambda one: STATES.index(one.state))


_WHY = """
    SELECT v.flow_key, v.message FROM unnest(%(flow_keys)s::int[], %(log_ids)s::bigint[]) AS k (flow_key, log_id)
    JOIN reporting.run v ON v.flow_key = k.flow_key AND v.log_id = k.log_id
"""


def _explained(reader: Reader, rows: list[BoardRow]) -> list[BoardRow]:
    failed = {one.row["flow_key"]: one.last_finished for one in rows if one.state == "failed"}
    said = reader.rows(_WHY, flow_keys=list(failed), log_ids=[bar.log_id for bar in failed.values() if bar])
    why = {row["flow_key"]: row["message"] for row in said}
    return [replace(one, why=why.get(one.row["flow_key"])) for one in rows]


def _judged(row: Row, now: datetime) -> BoardRow:
    columns = [row.pop(name) or () for name in ("statuses", "durations", "log_ids")]
    bars = tuple(Bar(*one) for one in zip(*columns, strict=True))
    is_unreachable = _is_unreachable(row, now)
    return BoardRow(_state(row, bars, is_unreachable=is_unreachable), row, bars, is_unreachable)


def _is_unreachable(row: Row, now: datetime) -> bool:
    is_overdue = row["next_due_at"] is not None and now - row["next_due_at"] > timedelta(hours=1)
    return bool(row["failures_in_a_row"]) or is_overdue


def _state(row: Row, bars: tuple[Bar, ...], *, is_unreachable: bool) -> str:
    over = [bar for bar in bars if bar.seconds is not None]
    if over and over[-1].status == 3:
        return "failed"
    if row["is_stale"]:
        return "stale"
    if is_unreachable:
        return "unreachable"
    if bars and bars[-1].seconds is None:
        return "running"
    return "ok" if bars else "idle"
