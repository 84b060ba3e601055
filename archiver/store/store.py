"""The archive's memory: what the passes read before they decide, and the transactions in which they write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from psycopg.rows import namedtuple_row
from sqlalchemy import Engine, text

from archiver.config import Flow
from archiver.errors import ArchiverError
from archiver.logs import SUB_FLOWS, canonical, micros
from archiver.messages import VERSION
from archiver.postgres import DatabaseFull
from archiver.store.daemons import Presence
from archiver.store.engine import translated
from archiver.store.hold import LoginHold
from archiver.store.leases import Lease, Leases
from archiver.store.mending import Mending
from archiver.store.partitions import Partitions
from archiver.store.rows import cursor_of
from archiver.store.shares import Shares
from archiver.store.writer import Writer
from archiver.window import Interval

PAUSE = 15.0  # seconds at the least, while the database has no room


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is certified of a flow, and the walks under way. Times are microseconds since 1970.

    `now` is the database's clock.
    """

    frontier: int | None
    intervals: tuple[Interval, ...]
    walk: Mapping[str, Any] | None
    backfill: Mapping[str, Any] | None
    source: Mapping[str, Any]
    gaps: Sequence[Mapping[str, Any]]
    now: int
    newest_run: int | None
    newer_runs: int  # than the frontier less the lateness, counted up to 100
    owes: bool  # runs to look after, files to fetch, kinds of errors to recognise: perhaps, to be looked at
    kept_from: int | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """A run that wants attention. `created` is canonical text, `age` seconds since it was first seen."""

    log_id: int
    run_id: str | None
    created: str
    archive_state: str
    state: int | None
    is_failed: bool
    sweep: Mapping[str, Any] | None
    visits: int
    age: float
    source_line_count: int | None
    line_count: int
    was_sealed: bool
    error: str | None
    lacks_steps: bool  # it does not show its steps itself, and none are stored
    is_due: bool  # also for callers that are not eager


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to download."""

    log_type: int
    log_id: int
    run_created: datetime
    attempts: int


_CHECKPOINT = """
SELECT frontier, intervals, walk, backfill, source, gaps, kept_from, now() AS now,
    (SELECT max(created) FROM archive.run r WHERE r.flow_key = c.flow_key) AS newest_run,
    (SELECT count(*) FROM (SELECT FROM archive.run r WHERE r.flow_key = c.flow_key AND r.created >= c.frontier
        - greatest(%(lateness)s, (c.source ->> 'lateness')::bigint) * interval '1 microsecond' LIMIT 100) newer)
        AS newer_runs,
    (EXISTS (SELECT FROM archive.run r WHERE r.flow_key = c.flow_key AND r.visit_at IS NOT NULL
        AND (r.visit_at <= now() OR (%(eager)s AND r.archive_state IN ('open', 'stuck', 'pending'))))
    OR EXISTS (SELECT FROM archive.detail d WHERE d.flow_key = c.flow_key AND d.outcome = 'wanted'
        AND (d.next_attempt_at <= now() OR %(eager)s))
    OR (SELECT error_version FROM archive.flow f WHERE f.flow_key = c.flow_key) IS DISTINCT FROM %(version)s) AS owes
FROM archive.checkpoint c WHERE flow_key = %(flow_key)s
"""
_VISITS = """
SELECT log_id, coalesce(filename_uuid, original_filename_uuid) AS run_id, created, archive_state, state,
    (status = 3 OR failed_line_count > 0 OR EXISTS (SELECT FROM archive.step s
        WHERE s.flow_key = r.flow_key AND s.run_log_id = r.log_id AND s.status = 3)) IS TRUE AS is_failed,
    lines_walk AS sweep, visits, extract(epoch FROM now() - first_seen_at)::float8 AS age, source_line_count,
    line_count, sealed_at IS NOT NULL AS was_sealed, error,
    form & %(no_steps)s <> 0 AND NOT EXISTS (SELECT FROM archive.step s
        WHERE s.flow_key = r.flow_key AND s.run_log_id = r.log_id) AS lacks_steps,
    visit_at <= now() AS is_due
FROM archive.run r
WHERE flow_key = %(flow_key)s AND visit_at IS NOT NULL AND archive_state = ANY(%(states)s)
    AND (visit_at <= now() OR (%(eager)s AND archive_state IN ('open', 'stuck', 'pending')))
    AND (%(after_id)s::bigint IS NULL OR (created, log_id) < (%(after_time)s::timestamptz, %(after_id)s::bigint))
ORDER BY created DESC, log_id DESC
LIMIT %(most)s
"""
_WANTED = """
SELECT log_type, log_id, run_created, attempts FROM archive.detail
WHERE flow_key = %(flow_key)s AND outcome = 'wanted' AND (next_attempt_at <= now() OR %(eager)s)
    AND (%(after_id)s::bigint IS NULL OR (run_created, log_type, log_id)
        < (%(after_time)s::timestamptz, %(after_type)s::smallint, %(after_id)s::bigint))
ORDER BY run_created DESC, log_type DESC, log_id DESC
LIMIT %(most)s
"""


class Store:
    """The archive in one Postgres, for one process. `owner` names the process in leases."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self.engine = engine
        # A question is one statement: a transaction around it would be two more ways to the database and back.
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.leases = Leases(engine, owner)
        self.shares = Shares(engine, owner)
        self.hold = LoginHold(engine)
        self.partitions = Partitions(engine)
        self.presence = Presence(engine, owner)

    def close(self) -> None:
        """Stop renewing leases, and let go of all connections."""
        self.release()
        self.engine.dispose()

    def release(self) -> None:
        """Stop renewing leases, and leave the Integrators' rates to others."""
        self.leases.close()
        self.shares.close()

    def register(self, flows: Iterable[Flow]) -> dict[Flow, int]:
        """Make the flows of the configuration known, with their names of now; answers their keys."""
        keys: dict[Flow, int] = {}
        with translated(), self.engine.begin() as connection:
            for flow in sorted(flows, key=lambda one: (one.integrator, one.project_id, one.flow_id)):
                keys[flow] = self._register(connection, flow)
        return keys

    @staticmethod
    def _register(connection: Any, flow: Flow) -> int:
        bind = {
            "integrator": flow.integrator,
            "project_id": flow.project_id,
            "flow_id": flow.flow_id,
            "slug": flow.project_slug,
            "name": flow.name,
        }
        known = connection.execute(
            text(
                "SELECT flow_key, project_slug IS NOT DISTINCT FROM :slug AND flow_name = :name FROM archive.flow"
                " WHERE integrator = :integrator AND project_id = :project_id AND flow_id = :flow_id"
            ),
            bind,
        ).one_or_none()
        if known is not None and known[1]:
            return cast(int, known[0])
        key = connection.scalar(
            text(
                "INSERT INTO archive.flow (integrator, project_id, flow_id, project_slug, flow_name)"
                " VALUES (:integrator, :project_id, :flow_id, :slug, :name)"
                " ON CONFLICT (integrator, project_id, flow_id) DO UPDATE"
                " SET project_slug = excluded.project_slug, flow_name = excluded.flow_name RETURNING flow_key"
            ),
            bind,
        )
        connection.execute(
            text("INSERT INTO archive.checkpoint (flow_key) VALUES (:key) ON CONFLICT DO NOTHING"), {"key": key}
        )
        return cast(int, key)

    @contextmanager
    def writing(self, lease: Lease) -> Iterator[Writer]:
        """One transaction on the lease's flow: all that is written in it is committed together at its end, or not at
        all. Raises LeaseLost where another process has taken the flow over."""
        with translated(), self.engine.begin() as connection:
            writer = Writer(cursor_of(connection), lease)
            yield writer
            writer.save_learnt()

    @contextmanager
    def mending(self, lease: Lease) -> Iterator[Mending]:
        """A transaction as `writing` gives it, for a repair that writes over damaged rows. Raises LeaseLost."""
        with translated(), self.engine.begin() as connection:
            yield Mending(cursor_of(connection), lease)

    def _rows(self, statement: str, bind: Mapping[str, Any]) -> Sequence[Any]:
        with translated(), self._reading.connect() as connection:
            driver = cast(Any, connection.connection.driver_connection)
            with driver.cursor(row_factory=namedtuple_row) as cursor:
                return cast("Sequence[Any]", cursor.execute(statement, bind).fetchall())

    def checkpoint(self, flow_key: int, *, lateness: int = 0, eager: bool = False) -> Checkpoint:
        """What is certified of a flow, and whether it owes anything; `eager` as in `visits`. `lateness`: microseconds,
        where none greater was learnt."""
        bind = {"flow_key": flow_key, "lateness": lateness, "eager": eager, "version": VERSION}
        (row,) = self._rows(_CHECKPOINT, bind)
        return Checkpoint(
            frontier=_micros(row.frontier),
            intervals=tuple(Interval(micros(start), micros(end)) for start, end in row.intervals),
            walk=row.walk,
            backfill=row.backfill,
            source=row.source,
            gaps=row.gaps,
            now=micros(row.now),
            newest_run=_micros(row.newest_run),
            newer_runs=row.newer_runs,
            owes=row.owes,
            kept_from=_micros(row.kept_from),
        )

    def visits(
        self, flow_key: int, states: Sequence[str], *, eager: bool, after: Visit | None = None, most: int = 500
    ) -> list[Visit]:
        """Runs in one of these archive states that are due, newest first. `eager` ignores the pauses between tries,
        though not settle times. `after`: go on behind this one."""
        bind = {
            "flow_key": flow_key,
            "states": list(states),
            "no_steps": SUB_FLOWS,
            "eager": eager,
            "after_id": after.log_id if after else None,
            "after_time": after.created if after else None,
            "most": most,
        }
        return [Visit(**row._asdict() | {"created": canonical(row.created)}) for row in self._rows(_VISITS, bind)]

    def has_unfinished_lines(self, flow_key: int, run_id: str) -> bool:
        """Whether lines of a run are stored that were still going on when they were read."""
        (row,) = self._rows(
            "SELECT EXISTS (SELECT FROM archive.line WHERE flow_key = %(flow_key)s"
            " AND original_filename_uuid = %(run_id)s AND state <> 3) AS found",
            {"flow_key": flow_key, "run_id": run_id},
        )
        return cast(bool, row.found)

    def wanted(self, flow_key: int, *, eager: bool, after: Wanted | None = None, most: int = 100) -> list[Wanted]:
        """Files to download, of the newest runs first. `after`: go on behind this one."""
        bind = {
            "flow_key": flow_key,
            "eager": eager,
            "after_time": after.run_created if after else None,
            "after_type": after.log_type if after else None,
            "after_id": after.log_id if after else None,
            "most": most,
        }
        return [Wanted(*row) for row in self._rows(_WANTED, bind)]

    def due(self, flow_keys: Iterable[int], within: float | None = None) -> dict[int, float]:
        """Seconds until each flow is due, by the database's clock; negative where it is overdue. One that somebody
        works on is not due before the lease on it ends. `within`: only those that are due in so many seconds."""
        rows = self._rows(
            "SELECT flow_key, seconds FROM (SELECT flow_key, coalesce(extract(epoch FROM"
            " greatest(next_due_at, lease_until) - clock_timestamp()), 0)::float8 AS seconds"
            " FROM archive.checkpoint WHERE flow_key = ANY(%(keys)s)) waits"
            " WHERE %(within)s::float8 IS NULL OR seconds <= %(within)s",
            {"keys": list(flow_keys), "within": within},
        )
        return {row.flow_key: row.seconds for row in rows}

    def end_pass(
        self, lease: Lease, report: Mapping[str, Any], *, next_due: float | None, broken_off: bool = False
    ) -> None:
        """Write down what a turn did, when the next one is due
        (in seconds from now; None leaves that as it is), and give the lease back.

        `report`: outcome, error, login_refused, seconds, requests, rows_new, rows_changed. A turn without an error is
        a good one, unless it was `broken_off`: that one says nothing of the flow. Raises DatabaseFull where the pass
        could not be written down; the checkpoint, which changes in its place, says so then, and the flow has a pause.
        """
        self.leases.forget(lease)
        checked = {
            "flow_key": lease.flow_key,
            "fence": lease.fence,
            "error": report["error"],
            "login_refused": report["login_refused"],
            "next_due": next_due,
            "says_nothing": broken_off and report["error"] is None,
        }
        try:
            with translated(), self.engine.begin() as connection:
                connection.execute(_PASS, {**report, "flow_key": lease.flow_key, "pass_id": lease.pass_id})
                connection.execute(_CHECKED, checked)
        except DatabaseFull as exc:
            pause = None if next_due is None else max(next_due, PAUSE)
            unwell = {"error": report["error"] or str(exc), "says_nothing": False, "next_due": pause}
            with suppress(ArchiverError), translated(), self.engine.begin() as connection:
                connection.execute(_CHECKED, checked | unwell)
            raise

    def fold_passes(self) -> int:
        """Make one row of those passes of an hour in which a flow had no news, an hour after it is over; answers how
        many rows that saved. A thousand flows that are polled every minute pass 130 million times in 90 days."""
        with translated(), self.engine.begin() as connection:
            return connection.execute(_FOLD).rowcount

    def forget_old_passes(self, days: int = 90) -> int:
        """Passes are kept for a while only."""
        with translated(), self.engine.begin() as connection:
            return connection.execute(
                text("DELETE FROM archive.pass WHERE started_at < now() - make_interval(days => :days)"), {"days": days}
            ).rowcount


_PASS = text("""
    INSERT INTO archive.pass
        (pass_id, flow_key, started_at, ended_at, outcome, requests, rows_new, rows_changed, error)
    OVERRIDING SYSTEM VALUE
    VALUES (:pass_id, :flow_key, now() - make_interval(secs => :seconds), now(), :outcome, :requests, :rows_new,
        :rows_changed, :error)
""")
# The first pass of an hour becomes the row for all of them. An hour that was folded has one such row left, and stays.
_FOLD = text("""
    WITH idle AS (
        SELECT pass_id, flow_key, started_at, ended_at, requests, turns, seconds,
            first_value(pass_id) OVER hour AS first_id, count(*) OVER hour AS together
        FROM archive.pass
        WHERE started_at >= now() - interval '2 days' AND started_at < date_trunc('hour', now()) - interval '1 hour'
            AND outcome = 'done' AND rows_new = 0 AND rows_changed = 0 AND error IS NULL AND ended_at IS NOT NULL
        WINDOW hour AS (PARTITION BY flow_key, date_trunc('hour', started_at) ORDER BY started_at, pass_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ), folded AS (
        UPDATE archive.pass p SET ended_at = sums.ended_at, requests = sums.requests, turns = sums.turns,
            seconds = sums.seconds
        FROM (
            SELECT first_id, max(ended_at) AS ended_at, sum(requests) AS requests, sum(turns) AS turns,
                sum(coalesce(seconds, extract(epoch FROM ended_at - started_at))) AS seconds
            FROM idle WHERE together > 1 GROUP BY 1
        ) sums
        WHERE p.pass_id = sums.first_id
    )
    DELETE FROM archive.pass p USING idle WHERE p.pass_id = idle.pass_id AND idle.pass_id <> idle.first_id
""")
_CHECKED = text("""
    UPDATE archive.checkpoint SET
        failures_in_a_row = CASE WHEN :says_nothing THEN failures_in_a_row WHEN CAST(:error AS text) IS NULL THEN 0
            ELSE failures_in_a_row + 1 END,
        last_error = CASE WHEN :says_nothing THEN last_error ELSE :error END,
        login_refused = CASE WHEN :says_nothing THEN login_refused ELSE :login_refused END,
        checked_at = CASE WHEN :says_nothing OR CAST(:error AS text) IS NOT NULL THEN checked_at ELSE now() END,
        next_due_at = coalesce(now() + make_interval(secs => CAST(:next_due AS float8)), next_due_at),
        lease_owner = NULL, lease_until = NULL
    WHERE flow_key = :flow_key AND fence = :fence
""")


def _micros(moment: Any) -> int | None:
    return None if moment is None else micros(moment)
