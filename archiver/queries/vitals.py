"""How the archiving goes: for those that supervise it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from archiver.queries.reader import Reader


class FlowVitals(NamedTuple):
    """How one flow stands. `lag_seconds` None: nothing is certain yet. `overdue_seconds`: due, and nobody works on it.

    `behind_seconds`: how far the frontier was behind when the last good turn ended. `is_walking`: a pass through its
    list is under way over several turns. `lateness_seconds`: what the flow's lateness was raised to, or 0.
    """

    flow_key: int
    flow: str
    lag_seconds: float | None
    behind_seconds: float | None
    overdue_seconds: float
    failures: int
    is_walking: bool
    lateness_seconds: float


class PassVitals(NamedTuple):
    """One pass that has ended; or several that were folded into one row: `turns` says how many."""

    flow: str
    outcome: str
    seconds: float
    requests: int
    rows_new: int
    rows_changed: int
    turns: int


class Vitals(NamedTuple):
    """All of it but the files. `runs`: flow, state, number; `passes`: that ended since the last look, which was at
    `looked_at`."""

    flows: list[FlowVitals]
    runs: list[tuple[str, str, int]]
    passes: list[PassVitals]
    looked_at: datetime
    refusals: int


_LABEL = "coalesce(nullif(f.project_slug, '') || '/', '') || f.flow_name"
_FLOWS = f"""
    SELECT c.flow_key, {_LABEL} AS flow,
        extract(epoch FROM now() - c.frontier)::float8 AS lag_seconds,
        extract(epoch FROM c.checked_at - c.frontier)::float8 AS behind_seconds,
        CASE WHEN c.lease_until > now() THEN 0
            ELSE greatest(0, coalesce(extract(epoch FROM now() - c.next_due_at), 0)) END::float8 AS overdue_seconds,
        c.failures_in_a_row AS failures, c.walk IS NOT NULL AS is_walking,
        coalesce((c.source ->> 'lateness')::float8, 0) / 1000000 AS lateness_seconds
    FROM archive.checkpoint c JOIN archive.flow f USING (flow_key) ORDER BY 1
"""
# By the index of runs that are visited again: sealed ones are not looked at.
_RUNS = f"""
    SELECT {_LABEL} AS flow, archive_state, count(*) AS n
    FROM archive.run r JOIN archive.flow f USING (flow_key) WHERE r.visit_at IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
_DETAILS = f"""
    SELECT {_LABEL} AS flow, outcome, sum(n)::bigint AS n
    FROM (SELECT flow_key, outcome, count(*) AS n FROM archive.detail GROUP BY 1, 2) d
    JOIN archive.flow f USING (flow_key)
    GROUP BY 1, 2 ORDER BY 1, 2
"""
_PASSES = f"""
    SELECT {_LABEL} AS flow, coalesce(outcome, '') AS outcome,
        coalesce(seconds, greatest(0, extract(epoch FROM ended_at - started_at)))::float8 AS seconds, requests,
        rows_new, rows_changed, turns
    FROM archive.pass p JOIN archive.flow f USING (flow_key)
    WHERE ended_at > %(after)s AND ended_at <= %(until)s AND started_at > %(after)s - interval '6 hours'
    ORDER BY ended_at DESC LIMIT 10000
"""


def flow_vitals(reader: Reader) -> list[FlowVitals]:
    """How each flow stands."""
    return [FlowVitals(**row) for row in reader.rows(_FLOWS)]


def vitals(reader: Reader, after: datetime | None) -> Vitals:
    """All of it; of the passes those that ended after `after` (None: from now on)."""
    (clock,) = reader.rows("SELECT now() AS until")
    passes = [] if after is None else reader.rows(_PASSES, after=after, until=clock["until"])
    (held,) = reader.rows(
        "SELECT coalesce(sum(refusals), 0)::bigint AS n FROM archive.login_hold WHERE held_until > now()"
    )
    return Vitals(
        flow_vitals(reader),
        [tuple(row.values()) for row in reader.rows(_RUNS)],
        [PassVitals(**row) for row in passes],
        clock["until"],
        held["n"],
    )


class DaemonRow(NamedTuple):
    """A daemon that works on the archive. `owner` as in leases; `config_error`: why it did not take its file over."""

    owner: str
    started_at: datetime
    seen_at: datetime
    flows: int
    config_path: str | None
    config_read_at: datetime
    config_error: str | None


def process_of(owner: str) -> str:
    """Host and process of an owner, as leases and shares name it: without what tells apart those of one process."""
    return ":".join(owner.split(":")[:2])


def host_of(owner: str) -> str:
    """The host alone."""
    return owner.split(":", maxsplit=1)[0]


def daemons(reader: Reader) -> list[DaemonRow]:
    """The daemons that showed themselves within the last minute."""
    names = ", ".join(DaemonRow._fields)
    statement = f"SELECT {names} FROM archive.daemon WHERE seen_at > now() - interval '1 minute' ORDER BY owner"
    return [DaemonRow(**row) for row in reader.rows(statement)]


def files_by_outcome(reader: Reader) -> list[tuple[str, str, int]]:
    """Flow, outcome, and how many files. Reads the whole table: not to be asked for every few seconds."""
    return [tuple(row.values()) for row in reader.rows(_DETAILS)]
