"""One transaction on one flow, under its fence: rows, what they oblige to, and the state of the pass, together."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import psycopg
from psycopg import sql

from archiver.errors import LeaseLost
from archiver.logs import Line, LogType, Run, State, Step, dump_exact, from_micros, render
from archiver.store.leases import Lease
from archiver.store.rows import LINES, RUNS, STEPS, Cursor, Put, put, run_tuple, step_tuple
from archiver.store.search_fields import note_fields
from archiver.window import Interval

Json = Mapping[str, Any] | Sequence[Any] | None


def _json(value: Json) -> str | None:
    return None if value is None else json.dumps(value)


class Writer:
    """What a pass may write. Made by `Store.writing`; lives as long as its transaction."""

    def __init__(self, cursor: Cursor, lease: Lease) -> None:
        self._cursor = cursor
        self._lease = lease
        self._flow = {"flow_key": lease.flow_key}
        fence = self._one("SELECT fence FROM archive.checkpoint WHERE flow_key = %(flow_key)s FOR NO KEY UPDATE")
        if fence != lease.fence:
            raise LeaseLost(f"another process works on flow {lease.flow_key} now")

    def _run(self, statement: str, **bind: Any) -> Cursor:
        return self._cursor.execute(cast("sql.SQL", statement), self._flow | bind)

    def _one(self, statement: str, **bind: Any) -> Any:
        row = self._run(statement, **bind).fetchone()
        return row[0] if row else None

    # --- rows ---

    def known(self, log_ids: Collection[int]) -> set[int]:
        """Which of these runs the archive holds."""
        rows = self._run(
            "SELECT log_id FROM archive.run WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s)", ids=list(log_ids)
        )
        return {row[0] for row in rows}

    def quarantined(self, hashes: Collection[int]) -> set[int]:
        """Which of these runs, given by the hash of their source, are in quarantine."""
        if not hashes:
            return set()
        rows = self._run(
            "SELECT src_hash FROM archive.quarantine"
            " WHERE flow_key = %(flow_key)s AND log_type = 1 AND src_hash = ANY(%(hashes)s)",
            hashes=list(hashes),
        )
        return {row[0] for row in rows}

    def put_runs(self, runs: Iterable[Run]) -> Put:
        """Store runs and their steps. A finished run that is new, or was open, owes its lines from now on."""
        distinct, refused = self._distinct(runs)
        have = {
            log_id: (src_hash, state)
            for log_id, src_hash, state in self._run(
                "SELECT log_id, src_hash, archive_state FROM archive.run"
                " WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s)",
                ids=list(distinct),
            )
        }
        news = [run for log_id, run in distinct.items() if have.get(log_id) is None or _differs(run, *have[log_id])]
        by_id = {run.log_id: run for run in news}
        refused += put(
            self._cursor,
            RUNS,
            [run_tuple(run) for run in news],
            self._flow,
            lambda row, why: self._refuse(row, 1, by_id, why),
        )
        steps = {step.log_id: step_tuple(step, run) for run in news for step in run.steps if step.log_id is not None}
        refused += put(
            self._cursor, STEPS, list(steps.values()), self._flow, lambda row, why: self._refuse(row, 2, by_id, why)
        )
        new = sum(run.log_id not in have for run in news)
        return Put(new, len(news) - new, refused)

    def _distinct(self, runs: Iterable[Run]) -> tuple[dict[int, Run], int]:
        """By id, the most advanced of each; and how many went into quarantine, for want of a usable id or time."""
        distinct: dict[int, Run] = {}
        refused = 0
        for run in runs:
            if run.log_id is None or run.created is None:
                refused += self.quarantine(LogType.MAIN, run.src_hash, None, run, "it has no usable id and created")
            elif run.log_id not in distinct or _rank(run) >= _rank(distinct[run.log_id]):
                distinct[run.log_id] = run
        return distinct, refused

    def put_lines(self, lines: Iterable[Line], run: tuple[int, str, str]) -> Put:
        """Store lines of a run, given as (log id, run id, created). A line without a usable time takes the run's."""
        run_log_id, run_id, created = run
        distinct: dict[int, Line] = {}
        refused = 0
        for sent in lines:
            line = sent
            if sent.created is None or sent.original_filename_uuid is None:
                line = sent._replace(
                    created=sent.created or created, original_filename_uuid=sent.original_filename_uuid or run_id
                )
            if line.log_id is None:
                refused += self.quarantine(LogType.LINE, line.src_hash, run_log_id, line, "it has no usable id")
            else:
                distinct[line.log_id] = line
        if not distinct:
            return Put(refused=refused)
        have = self._line_hashes(distinct.values())
        news = [line for log_id, line in distinct.items() if have.get(log_id) != line.src_hash]
        by_id = {line.log_id: line for line in news}

        def refuse(row: tuple[Any, ...], why: str) -> None:
            self.quarantine(LogType.LINE, row[23], run_log_id, by_id[row[0]], why)

        refused_here = put(self._cursor, LINES, news, self._flow, refuse)
        note_fields(self._cursor, self._lease.flow_key, news)
        new = sum(line.log_id not in have for line in news) - refused_here
        if new:
            self._run(
                "UPDATE archive.run SET line_count = line_count + %(new)s"
                " WHERE flow_key = %(flow_key)s AND log_id = %(run)s",
                new=new,
                run=run_log_id,
            )
        return Put(new, len(news) - new - refused_here, refused + refused_here)

    def _line_hashes(self, lines: Collection[Line]) -> dict[int, int]:
        """The hashes of those lines that are stored. `created` never changes (A2), so that it finds the partitions."""
        times = [cast(str, line.created) for line in lines]
        rows = self._run(
            "SELECT log_id, src_hash FROM archive.line WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s)"
            " AND created BETWEEN %(oldest)s AND %(newest)s",
            ids=[line.log_id for line in lines],
            oldest=min(times),
            newest=max(times),
        )
        return dict(cast("Iterable[tuple[int, int]]", rows))

    def _refuse(self, row: tuple[Any, ...], log_type: int, runs: Mapping[int | None, Run], why: str) -> None:
        run = runs[row[0] if log_type == LogType.MAIN else row[-1]]
        steps = {step.log_id: step for step in run.steps}
        log = run if log_type == LogType.MAIN else steps[row[0]]
        self.quarantine(log_type, row[23], run.log_id, log, why)

    def quarantine(self, log_type: int, src_hash: int, run_log_id: int | None, log: Run | Step | Line, why: str) -> int:
        """Keep a row that cannot be stored, whole, with the reason; answers 1 if it was not there yet."""
        return self._run(
            "INSERT INTO archive.quarantine (flow_key, log_type, src_hash, run_log_id, source, reason)"
            " VALUES (%(flow_key)s, %(log_type)s, %(src_hash)s, %(run_log_id)s, %(source)s, %(why)s)"
            " ON CONFLICT DO NOTHING",
            log_type=int(log_type),
            src_hash=src_hash,
            run_log_id=run_log_id,
            source=dump_exact(render(log)),
            why=why,
        ).rowcount

    # --- what a pass knows ---

    def save_walk(self, walk: Json) -> None:
        """The state of the pass under way; None at its end."""
        self._run("UPDATE archive.checkpoint SET walk = %(walk)s WHERE flow_key = %(flow_key)s", walk=_json(walk))

    def save_backfill(self, walk: Json) -> None:
        """The state of the walk through history; None at its end."""
        self._run("UPDATE archive.checkpoint SET backfill = %(walk)s WHERE flow_key = %(flow_key)s", walk=_json(walk))

    def save_source(self, source: Mapping[str, Any]) -> None:
        """What the walks have learnt of the source: order, lateness, retention, …"""
        self._run(
            "UPDATE archive.checkpoint SET source = %(source)s WHERE flow_key = %(flow_key)s", source=_json(source)
        )

    def certify(self, intervals: Iterable[Interval], frontier: int | None = None) -> None:
        """Set the certified intervals; the frontier only ever moves up."""
        spans = [[from_micros(start), from_micros(end)] for start, end in intervals]
        self._run(
            "UPDATE archive.checkpoint SET intervals = %(intervals)s, frontier = greatest(frontier, %(frontier)s)"
            " WHERE flow_key = %(flow_key)s",
            intervals=_json(spans),
            frontier=None if frontier is None else from_micros(frontier),
        )

    def add_gap(self, start: int | None, end: int | None, reason: str) -> None:
        """Put on record that rows may be missing; a gap that is known already is not recorded twice."""
        gap = {
            "from": None if start is None else from_micros(start),
            "to": None if end is None else from_micros(end),
            "reason": reason,
        }
        self._run(
            "UPDATE archive.checkpoint SET gaps = gaps || jsonb_build_array(%(gap)s::jsonb || jsonb_build_object("
            "'noted_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"+00:00\"')))"
            " WHERE flow_key = %(flow_key)s AND NOT gaps @> jsonb_build_array(%(gap)s::jsonb)",
            gap=_json(gap),
        )

    # --- the way of one run ---

    def save_sweep(self, log_id: int, sweep: Json) -> None:
        """How far the reading of a run's lines has come."""
        self._run(
            "UPDATE archive.run SET lines_walk = %(sweep)s WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s",
            sweep=_json(sweep),
            log_id=log_id,
        )

    def line_total(self, log_id: int) -> int:
        """Distinct lines of a run that are accounted for: stored, or in quarantine by name."""
        return cast(
            int,
            self._one(
                "SELECT line_count + (SELECT count(*) FROM archive.quarantine q WHERE q.flow_key = r.flow_key"
                " AND q.log_type = 3 AND q.run_log_id = r.log_id) FROM archive.run r"
                " WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s",
                log_id=log_id,
            ),
        )

    def move(self, log_id: int, state: str, wait: float | None, *, source_lines: int | None = None) -> None:
        """Bring a run into an archive state; it is visited again after `wait` seconds, or never (None)."""
        self._run(
            "UPDATE archive.run SET archive_state = %(state)s, visit_at = now() + make_interval(secs => %(wait)s),"
            " visits = CASE WHEN archive_state = %(state)s THEN visits + 1 ELSE 0 END, error = NULL,"
            " source_line_count = coalesce(%(source_lines)s, source_line_count), lines_walk = NULL,"
            " sealed_at = CASE WHEN %(state)s = 'sealed' THEN coalesce(sealed_at, now()) END"
            " WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s",
            state=state,
            wait=wait,
            source_lines=source_lines,
            log_id=log_id,
        )

    def postpone(self, log_id: int, wait: float, error: str | None) -> None:
        """Visit a run again later, in the state in which it is; progress stays."""
        self._run(
            "UPDATE archive.run SET visit_at = now() + make_interval(secs => %(wait)s), visits = visits + 1,"
            " error = %(error)s WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s",
            wait=wait,
            error=error,
            log_id=log_id,
        )

    def want_details(self, log_ids: Collection[int], policy: str) -> int:
        """Want the files of these runs, if they have finished and the policy (failed, all, none) says so."""
        if policy == "none" or not log_ids:
            return 0
        return self._run(_WANT, ids=list(log_ids), every=policy == "all").rowcount

    # --- details ---

    def put_detail(self, log_type: int, log_id: int, values: Mapping[str, Any]) -> None:
        """Store the outcome of a download: columns of `archive.detail` by name. The next attempt, if any, is in
        `wait` seconds. A document that Postgres refuses is left out with the reason; the file itself is kept."""
        try:
            with self._cursor.connection.transaction():
                self._update_detail(log_type, log_id, values)
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as exc:
            if values.get("document") is None:
                raise
            why = f"no document: Postgres refused it ({type(exc).__name__}, SQLSTATE {exc.sqlstate})"
            self._update_detail(log_type, log_id, {**values, "document": None, "document_changes": why})

    def _update_detail(self, log_type: int, log_id: int, values: Mapping[str, Any]) -> None:
        columns = ", ".join(f"{name} = %({name})s" for name in values if name != "wait")
        self._run(
            f"UPDATE archive.detail SET {columns}, attempts = attempts + 1, fetched_at = now(),"
            " next_attempt_at = now() + make_interval(secs => %(wait)s)"
            " WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s",
            **{"wait": None, **values},
            log_type=log_type,
            log_id=log_id,
        )


def _rank(run: Run) -> int:
    """How far a run has come, as `rows.py` has it in SQL: finished is the last of states."""
    return 2**15 if run.state == State.FINISHED else run.state or 0


def _differs(run: Run, src_hash: int, state: str) -> bool:
    """Whether a stored run has to be written again: it changed, or it was given up and is shown again."""
    return run.src_hash != src_hash or state == "lost"


# A run counts as failed with its own status, or with any failed step or line (status 3).
_WANT = """
WITH wanted AS (
    SELECT r.* FROM archive.run r
    WHERE r.flow_key = %(flow_key)s AND r.log_id = ANY(%(ids)s) AND r.state = 3 AND (
        %(every)s OR r.status = 3
        OR EXISTS (SELECT FROM archive.step s
            WHERE s.flow_key = r.flow_key AND s.run_log_id = r.log_id AND s.status = 3)
        OR EXISTS (SELECT FROM archive.line l
            WHERE l.flow_key = r.flow_key AND l.original_filename_uuid = r.filename_uuid AND l.status = 3)
    )
)
INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, next_attempt_at)
SELECT flow_key, 1, log_id, log_id, created, 'wanted', now() FROM wanted WHERE is_send_s3 = 1
UNION ALL
SELECT s.flow_key, 2, s.log_id, s.run_log_id, w.created, 'wanted', now()
FROM wanted w JOIN archive.step s ON s.flow_key = w.flow_key AND s.run_log_id = w.log_id AND s.is_send_s3 = 1
UNION ALL
SELECT l.flow_key, 3, l.log_id, w.log_id, w.created, 'wanted', now()
FROM wanted w JOIN archive.line l
    ON l.flow_key = w.flow_key AND l.original_filename_uuid = w.filename_uuid AND l.is_send_s3 = 1
ON CONFLICT (flow_key, log_type, log_id) DO NOTHING
"""
