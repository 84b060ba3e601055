"""The runs of one flow as its page shows them: a page of the list, all of a period as a picture, and their figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from archiver.queries.names import STATUSES
from archiver.queries.reader import Place, Reader, Row

LOOKED_AT = 5_000  # newest runs of a period that are looked through for those that a filter means
DRAWN = 1_000  # runs of a picture; beyond, days are drawn

_TRIGGERS = {"manual": "is_triggered", "schedule": "is_triggered IS NOT TRUE"}

TRIGGERS = tuple(_TRIGGERS)


@dataclass(frozen=True, slots=True)
class FlowRuns:
    """Which runs of a flow. `since` is the first moment that counts, `until` the first that does not; `shortest` and
    `longest` are seconds; `trigger` is one of TRIGGERS; `by` is part of who triggered it. Empty and None mean all."""

    flow_key: int
    status: str = ""
    since: datetime | None = None
    until: datetime | None = None
    shortest: float | None = None
    longest: float | None = None
    trigger: str = ""
    by: str = ""
    behind: Place | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether more than the period narrows it."""
        return bool(self.status or self.trigger or self.by or self.shortest is not None or self.longest is not None)


class RunsPage(NamedTuple):
    """Rows of reporting.run, newest first; `more`: where the rest begins, None at the end. `looked_at`: the number of
    runs that were looked through, where the filter may mean others behind them."""

    rows: list[Row]
    more: Place | None
    looked_at: int | None = None


# The outer conditions have no index: so many of the newest are looked through, and no more.
_LOOKED = """
    SELECT flow_key, log_id, created, {columns} FROM (
        SELECT * FROM archive.run
        WHERE flow_key = %(flow_key)s AND {status}
            AND (%(since)s::timestamptz IS NULL OR created >= %(since)s)
            AND (%(until)s::timestamptz IS NULL OR created < %(until)s)
            AND (%(moment)s::timestamptz IS NULL OR (created, log_id) < (%(moment)s::timestamptz, %(log_id)s::bigint))
        ORDER BY created DESC, log_id DESC LIMIT {looked_at}
    ) looked WHERE {rest} ORDER BY created DESC, log_id DESC LIMIT %(limit)s
"""
_SECONDS = "extract(epoch FROM finished - created)::float8"
_EDGE = """
    SELECT created::text AS moment, log_id FROM archive.run
    WHERE flow_key = %(flow_key)s AND {status}
        AND (%(since)s::timestamptz IS NULL OR created >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR created < %(until)s)
        AND (%(moment)s::timestamptz IS NULL OR (created, log_id) < (%(moment)s::timestamptz, %(log_id)s::bigint))
    ORDER BY created DESC, log_id DESC OFFSET {looked_at} - 1 LIMIT 1
"""
_ROWS = """
    SELECT v.* FROM unnest(%(log_ids)s::bigint[]) WITH ORDINALITY AS k (log_id, place)
    JOIN reporting.run v ON v.flow_key = %(flow_key)s AND v.log_id = k.log_id ORDER BY k.place
"""


def page_of_runs(reader: Reader, which: FlowRuns, limit: int) -> RunsPage:
    """A page of the list."""
    found = reader.rows(_looked(which, "created::text AS moment"), **_bind(which), limit=limit + 1)
    shown = found[:limit]
    rows = reader.rows(_ROWS, flow_key=which.flow_key, log_ids=[row["log_id"] for row in shown])
    if len(found) > limit:
        return RunsPage(rows, Place(shown[-1]["moment"], shown[-1]["log_id"]))
    edge = []
    if which.is_filtered:
        text = _EDGE.format(status=_status(which), looked_at=LOOKED_AT)
        edge = reader.rows(text, **_bind(which))
    return RunsPage(rows, Place(**edge[0]), LOOKED_AT) if edge else RunsPage(rows, None)


class Drawn(NamedTuple):
    """A run of the picture. `epoch`: seconds when it began; `seconds`: how long it took, None while it goes on."""

    log_id: int
    epoch: float
    seconds: float | None
    status: int | None
    failed_lines: int


class Figures(NamedTuple):
    """What the runs of a period come to. Percentiles (seconds, interpolated) are None where no run has finished."""

    runs: int
    failed: int
    lines: int
    failed_lines: int
    p50: float | None
    p95: float | None
    longest: float | None


def drawn_runs(reader: Reader, which: FlowRuns) -> tuple[list[Drawn], bool]:
    """The newest DRAWN runs of the period, the oldest first; and whether there are more."""
    which = replace(which, behind=None)
    columns = f"extract(epoch FROM created)::float8 AS epoch, {_SECONDS} AS seconds, status, failed_line_count"
    rows = reader.rows(_looked(which, f"{columns} AS failed_lines"), **_bind(which), limit=DRAWN + 1)
    some = [Drawn(*(row[name] for name in Drawn._fields)) for row in rows[:DRAWN]]
    return some[::-1], len(rows) > DRAWN


_FIGURES = """
    SELECT count(*) AS runs, count(*) FILTER (WHERE status = 3) AS failed,
        coalesce(sum(line_count), 0)::bigint AS lines,
        coalesce(sum(failed_line_count), 0)::bigint AS failed_lines,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95, max(seconds) AS longest
    FROM ({looked}) runs
"""


def figures(reader: Reader, which: FlowRuns) -> Figures:
    """The figures of the newest LOOKED_AT runs of the period."""
    which = replace(which, behind=None)
    looked = _looked(which, f"status, line_count, failed_line_count, {_SECONDS} AS seconds")
    (row,) = reader.rows(_FIGURES.format(looked=looked), **_bind(which), limit=LOOKED_AT)
    return Figures(**row)


def with_days(some: Figures, days: list[Row]) -> Figures:
    """The same where a period has more runs than that: counted by its days. Percentiles stay those of the newest."""
    return some._replace(
        runs=sum(day["runs"] for day in days),
        failed=sum(day["failed"] for day in days),
        lines=sum(day["lines"] for day in days),
        failed_lines=sum(day["failed_lines"] for day in days),
        longest=max((day["duration_max_seconds"] or 0.0 for day in days), default=some.longest),
    )


def days_of(reader: Reader, flow_key: int, since: datetime | None, until: datetime | None) -> list[Row]:
    """Rows of reporting.run_daily of a period, the oldest first."""
    # A period that ends with a day is over before the next one begins.
    return reader.rows(
        "SELECT * FROM reporting.run_daily v WHERE flow_key = %(flow_key)s"
        " AND (%(since)s::timestamptz IS NULL OR day >= (%(since)s::timestamptz AT TIME ZONE"
        "  (SELECT day_zone FROM archive.flow WHERE flow_key = %(flow_key)s))::date)"
        " AND (%(until)s::timestamptz IS NULL OR day <= ((%(until)s::timestamptz - interval '1 microsecond')"
        "  AT TIME ZONE (SELECT day_zone FROM archive.flow WHERE flow_key = %(flow_key)s))::date) ORDER BY day",
        flow_key=flow_key,
        since=since,
        until=until,
    )


def _looked(which: FlowRuns, columns: str) -> str:
    rest = ["TRUE"]
    if which.shortest is not None:
        rest.append(f"{_SECONDS} >= %(shortest)s")
    if which.longest is not None:
        rest.append(f"{_SECONDS} <= %(longest)s")
    if which.trigger:
        rest.append(_TRIGGERS[which.trigger])
    if which.by:
        rest.append("strpos(lower(triggered_by), lower(%(by)s)) > 0")
    return _LOOKED.format(columns=columns, status=_status(which), rest=" AND ".join(rest), looked_at=LOOKED_AT)


def _status(which: FlowRuns) -> str:
    return "status = %(status)s" if which.status else "TRUE"


def _bind(which: FlowRuns) -> dict[str, object]:
    return {
        "flow_key": which.flow_key,
        "status": STATUSES.get(which.status),
        "since": which.since,
        "until": which.until,
        "shortest": which.shortest,
        "longest": which.longest,
        "by": which.by,
        "moment": which.behind and which.behind.moment,
        "log_id": which.behind and which.behind.log_id,
    }
