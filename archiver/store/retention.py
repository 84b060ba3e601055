"""Retention: letting go of what of a flow is older than it is to be kept.

Only what a run that is done with has goes (`outdated.py`). A run's lines go together, and so do its files; the run
itself, with its steps, goes when neither are left. What goes is marked first (`lines_pruned`, `details_pruned`,
`kept_from`), so that nothing that is read again brings it back, and a prune that was killed goes on.

The counts of a run (`line_count`) and of its day stay: they say how many there were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
from sqlalchemy import Engine, text

from archiver.logs import canonical, micros
from archiver.store.engine import translated
from archiver.store.outdated import COUNTS, CUT, DONE, OLD, OLD_LINES, RUN_ID, WAITING, Gone, Policy, Pruned
from archiver.store.partitions import MONTHS, after
from archiver.store.rows import Cursor, cursor_of, execute

RUNS = 200  # whose lines or files go together
ROWS = 10_000  # deleted in one transaction
PATIENCE = "5s"  # how long a partition's drop may wait for readers, who have to wait behind it


# Is there a line in a partition that has to stay?
_HELD = f"""
    SELECT EXISTS (
        SELECT FROM (SELECT DISTINCT flow_key, original_filename_uuid AS run_id FROM archive.{{name}}) l
        LEFT JOIN unnest(%(keys)s::int[], %(cuts)s::timestamptz[]) AS c(flow_key, before) USING (flow_key)
        WHERE c.before IS NULL OR l.run_id IS NULL
            OR NOT EXISTS (SELECT FROM archive.run r WHERE r.flow_key = l.flow_key AND r.filename_uuid = l.run_id)
            OR EXISTS (SELECT FROM archive.run r WHERE r.flow_key = l.flow_key AND r.filename_uuid = l.run_id
                AND NOT (r.created < c.before AND {DONE}))
    )
"""
_MARK_DROPPED = """
    UPDATE archive.run r SET lines_pruned = coalesce(r.lines_pruned, false)
    FROM (SELECT DISTINCT flow_key, original_filename_uuid AS run_id FROM archive.{name}) l
    WHERE r.flow_key = l.flow_key AND r.filename_uuid = l.run_id
"""
# How far back the rows reach that have gone, by event time: an export carries over what it has of them.
_NOTE = """
    UPDATE archive.checkpoint SET pruned = pruned || jsonb_build_object(%(view)s::text,
        to_char(greatest((pruned ->> %(view)s::text)::timestamptz, %(end)s) AT TIME ZONE 'UTC',
            'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'))
    WHERE flow_key = %(flow_key)s
"""
_KEEP_FROM = """
    UPDATE archive.checkpoint SET
        kept_from = greatest(kept_from, %(cut)s),
        intervals = (
            SELECT coalesce(jsonb_agg(
                CASE WHEN (i.span ->> 0)::timestamptz < %(cut)s THEN jsonb_build_array(%(text)s::text, i.span ->> 1)
                ELSE i.span END ORDER BY i.place), intervals)
            FROM jsonb_array_elements(intervals) WITH ORDINALITY AS i(span, place)
            WHERE (i.span ->> 1)::timestamptz > %(cut)s),
        backfill = CASE WHEN (backfill ->> 'floor')::bigint < %(micros)s
            THEN jsonb_set(backfill, '{floor}', to_jsonb(%(micros)s::bigint)) ELSE backfill END,
        walk = CASE WHEN (walk ->> 'floor')::bigint < %(micros)s
            THEN jsonb_set(walk, '{floor}', to_jsonb(%(micros)s::bigint)) ELSE walk END
    WHERE flow_key = %(flow_key)s
"""


class Retention:
    """Lets go of what is old. Each step is a short transaction under the locks of the flows concerned."""

    def __init__(self, engine: Engine, *, progress: Callable[[Gone], None] = lambda _: None) -> None:
        self._engine = engine
        self._progress = progress

    @contextmanager
    def _transaction(self, flow_key: int | None = None) -> Iterator[Cursor]:
        """A transaction in which no pass writes to the flow; None: to any."""
        with translated(), self._engine.begin() as connection:
            which = "" if flow_key is None else " WHERE flow_key = :flow_key"
            connection.execute(
                text(f"SELECT FROM archive.checkpoint{which} ORDER BY flow_key FOR NO KEY UPDATE"),
                {} if flow_key is None else {"flow_key": flow_key},
            )
            yield cursor_of(connection)

    def _one(self, statement: str, **bind: Any) -> Any:
        with translated(), self._engine.begin() as connection:
            row = execute(cursor_of(connection), statement, bind).fetchone()
            return row[0] if row else None

    def cut(self, policy: Policy) -> Policy:
        """The policy as it can be carried out: from the beginning of a day, and of what is certified only."""

        def moment(given: datetime | None) -> datetime | None:
            if given is None:
                return None
            found = cast("datetime | None", self._one(CUT, flow_key=policy.flow_key, moment=given))
            return None if found is None else found.astimezone(UTC)

        return Policy(policy.flow_key, moment(policy.runs), moment(policy.lines), moment(policy.details))

    def plan(self, policies: Sequence[Policy]) -> Pruned:
        """What a prune would do now. Nothing is changed."""
        cuts = [self.cut(policy) for policy in policies]
        plan = Pruned(partitions=[name for name in self._ripe(cuts) if not self._held(name, cuts)])
        for policy in cuts:
            gone = Gone(policy.flow_key, waiting=self._waiting(policy))
            moments = {"lines": policy.lines, "details": policy.details, "runs": policy.runs, "steps": policy.runs}
            for name, before in moments.items():
                if before is not None:
                    setattr(gone, name, self._one(COUNTS[name], flow_key=policy.flow_key, before=before))
            plan.flows.append(gone)
        return plan

    def prune(self, policies: Sequence[Policy]) -> Pruned:
        """Let go of what is older than the policies say."""
        cuts = [self.cut(policy) for policy in policies]
        gone = {policy.flow_key: Gone(policy.flow_key) for policy in cuts}
        done = Pruned(flows=list(gone.values()))
        for policy in cuts:
            gone[policy.flow_key].waiting = self._waiting(policy)
            self._keep_from(policy)
        for name in self._ripe(cuts):
            self._drop(name, cuts, gone, done)
        for policy in cuts:
            self._lines(policy, gone[policy.flow_key])
            self._details(policy, gone[policy.flow_key])
            self._runs(policy, gone[policy.flow_key])
        return done

    def keep_from(self, policies: Sequence[Policy]) -> None:
        """From now on passes do not look below what is kept; what is there stays."""
        for policy in policies:
            self._keep_from(self.cut(policy))

    def _waiting(self, policy: Policy) -> int:
        """Runs of which something is old enough to go, but that are not done with."""
        latest = max((one for one in (policy.runs, policy.lines, policy.details) if one is not None), default=None)
        return 0 if latest is None else int(self._one(WAITING, flow_key=policy.flow_key, before=latest))

    def _keep_from(self, policy: Policy) -> None:
        """From now on passes do not look below, and what they see there all the same is not stored."""
        if policy.runs is None:
            return
        with self._transaction(policy.flow_key) as cursor:
            bind = {
                "flow_key": policy.flow_key,
                "cut": policy.runs,
                "text": canonical(policy.runs),
                "micros": micros(policy.runs),
            }
            execute(cursor, _KEEP_FROM, bind)

    # --- whole months of lines ---

    def _ripe(self, cuts: Sequence[Policy]) -> list[str]:
        """Partitions of months that lie before some flow's cut."""
        latest = max((policy.lines for policy in cuts if policy.lines is not None), default=None)
        if latest is None:
            return []
        with translated(), self._engine.begin() as connection:
            names = [row[0] for row in execute(cursor_of(connection), MONTHS)]
        return [name for name in names if _end(name) <= f"{latest:%Y-%m-%dT%H:%M}"]

    def _held(self, name: str, cuts: Sequence[Policy]) -> bool:
        return bool(self._one(_HELD.format(name=name), **_arrays(cuts)))

    def _drop(self, name: str, cuts: Sequence[Policy], gone: dict[int, Gone], done: Pruned) -> None:
        """Drop a partition of which nothing has to stay. Looked at twice: the second time nobody can write."""
        if self._held(name, cuts):
            return
        counts: list[tuple[int, int]] = []
        try:
            with self._transaction() as cursor:
                if execute(cursor, _HELD.format(name=name), _arrays(cuts)).fetchall() != [(False,)]:
                    return
                execute(cursor, f"SET LOCAL lock_timeout = '{PATIENCE}'")
                counts = execute(cursor, f"SELECT flow_key, count(*) FROM archive.{name} GROUP BY 1").fetchall()
                execute(cursor, _MARK_DROPPED.format(name=name))
                for flow_key, _ in counts:
                    execute(cursor, _NOTE, {"flow_key": flow_key, "view": "line", "end": f"{_end(name)}+00"})
                try:
                    execute(cursor, f"DROP TABLE archive.{name}")
                except psycopg.errors.LockNotAvailable as exc:
                    raise _Busy from exc
        except _Busy:
            done.busy.append(name)
            return
        done.partitions.append(name)
        for flow_key, lines in counts:
            gone[flow_key].lines += lines
            self._progress(gone[flow_key])

    # --- rows ---

    def _lines(self, policy: Policy, gone: Gone) -> None:
        if policy.lines is None:
            return
        for runs in self._marked(policy.flow_key, policy.lines, "lines_pruned", OLD_LINES):
            ids = [run_id for _, run_id in runs if run_id is not None]
            while ids and (count := self._delete_lines(policy.flow_key, ids)):
                gone.lines += count
                self._progress(gone)
            with self._transaction(policy.flow_key) as cursor:
                bind = {"flow_key": policy.flow_key, "ids": [log_id for log_id, _ in runs]}
                # Lines in quarantine are lines: they go, and still count as accounted for.
                execute(
                    cursor,
                    "WITH gone AS (DELETE FROM archive.quarantine WHERE flow_key = %(flow_key)s AND log_type = 3"
                    " AND run_log_id = ANY(%(ids)s) RETURNING run_log_id)"
                    " UPDATE archive.run r SET line_count = line_count + n"
                    " FROM (SELECT run_log_id, count(*) AS n FROM gone GROUP BY 1) g"
                    " WHERE r.flow_key = %(flow_key)s AND r.log_id = g.run_log_id",
                    bind,
                )
                execute(cursor, _finish("lines_pruned"), bind)

    def _delete_lines(self, flow_key: int, run_ids: Sequence[str]) -> int:
        """Up to ROWS lines of these runs, by their places: no partition but theirs is looked at."""
        with self._transaction(flow_key) as cursor:
            places = execute(
                cursor,
                "SELECT tableoid::regclass::text, array_agg(ctid::text), max(created) FROM ("
                "SELECT tableoid, ctid, created FROM archive.line"
                " WHERE flow_key = %(flow_key)s AND original_filename_uuid = ANY(%(ids)s) LIMIT %(most)s) l GROUP BY 1",
                {"flow_key": flow_key, "ids": list(run_ids), "most": ROWS},
            ).fetchall()
            for table, some, _ in places:
                execute(cursor, f"DELETE FROM {table} WHERE ctid = ANY(%(some)s::tid[])", {"some": some})
            if places:
                _note(cursor, flow_key, "line", max(newest for *_, newest in places))
        return sum(len(some) for _, some, _ in places)

    def _details(self, policy: Policy, gone: Gone) -> None:
        if policy.details is None:
            return
        for runs in self._marked(policy.flow_key, policy.details, "details_pruned", OLD):
            bind = {"flow_key": policy.flow_key, "ids": [log_id for log_id, _ in runs], "most": ROWS}
            while count := self._delete_details(policy.flow_key, bind):
                gone.details += count
                self._progress(gone)
            with self._transaction(policy.flow_key) as cursor:
                execute(cursor, _finish("details_pruned"), bind)

    def _delete_details(self, flow_key: int, bind: dict[str, Any]) -> int:
        with self._transaction(flow_key) as cursor:
            found = execute(
                cursor,
                "DELETE FROM archive.detail WHERE ctid = ANY(ARRAY(SELECT ctid FROM archive.detail"
                " WHERE flow_key = %(flow_key)s AND run_log_id = ANY(%(ids)s) LIMIT %(most)s)) RETURNING run_created",
                bind,
            ).fetchall()
            if found:
                _note(cursor, flow_key, "detail", max(created for (created,) in found))
        return len(found)

    def _marked(self, flow_key: int, before: datetime, mark: str, which: str) -> Iterator[list[tuple[int, str | None]]]:
        """Old runs, a few at a time, marked as being pruned while nobody writes to their flow."""
        after: tuple[Any, ...] = ("-infinity", 0)
        while True:
            bind = {"flow_key": flow_key, "before": before, "time": after[0], "id": after[1], "most": RUNS}
            with self._transaction(flow_key) as cursor:
                runs = execute(
                    cursor,
                    f"UPDATE archive.run u SET {mark} = false FROM (SELECT r.log_id, r.created, {RUN_ID} AS run_id"
                    f" FROM archive.run r WHERE {which} AND r.{mark} IS NOT TRUE"
                    " AND (r.created, r.log_id) > (%(time)s::timestamptz, %(id)s::bigint)"
                    " ORDER BY r.created, r.log_id LIMIT %(most)s) o"
                    " WHERE u.flow_key = %(flow_key)s AND u.log_id = o.log_id RETURNING o.log_id, o.run_id, o.created",
                    bind,
                ).fetchall()
            if not runs:
                return
            yield [(log_id, run_id) for log_id, run_id, _ in runs]
            after = max((created, log_id) for log_id, _, created in runs)

    def _runs(self, policy: Policy, gone: Gone) -> None:
        """Runs of which nothing is left, with their steps."""
        while policy.runs is not None:
            with self._transaction(policy.flow_key) as cursor:
                bind: dict[str, Any] = {"flow_key": policy.flow_key, "before": policy.runs, "most": ROWS // 10}
                runs = execute(
                    cursor,
                    "DELETE FROM archive.run WHERE flow_key = %(flow_key)s AND log_id = ANY(ARRAY("
                    f" SELECT r.log_id FROM archive.run r WHERE {OLD_LINES} AND r.lines_pruned AND r.details_pruned"
                    " ORDER BY r.created LIMIT %(most)s)) RETURNING log_id, created",
                    bind,
                ).fetchall()
                if not runs:
                    return
                bind = {"flow_key": policy.flow_key, "ids": [log_id for log_id, _ in runs]}
                steps = execute(
                    cursor,
                    "DELETE FROM archive.step WHERE flow_key = %(flow_key)s AND run_log_id = ANY(%(ids)s)"
                    " RETURNING created",
                    bind,
                ).fetchall()
                execute(
                    cursor,
                    "DELETE FROM archive.quarantine WHERE flow_key = %(flow_key)s AND run_log_id = ANY(%(ids)s)",
                    bind,
                )
                _note(cursor, policy.flow_key, "run", max(created for _, created in runs))
                if steps:
                    _note(cursor, policy.flow_key, "step", max(created for (created,) in steps))
            gone.runs += len(runs)
            gone.steps += len(steps)
            self._progress(gone)


class _Busy(Exception):
    """Readers hold on to a partition."""


def _arrays(cuts: Sequence[Policy]) -> dict[str, Any]:
    with_lines = [policy for policy in cuts if policy.lines is not None]
    return {"keys": [one.flow_key for one in with_lines], "cuts": [one.lines for one in with_lines]}


def _end(name: str) -> str:
    """When the month of a partition ends, as text that sorts: `line_202612` ends at 2027-01-01T00:00."""
    return f"{after(f'{name[5:9]}-{name[9:11]}')}-01T00:00"


def _finish(mark: str) -> str:
    return f"UPDATE archive.run SET {mark} = true WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s)"


def _note(cursor: Cursor, flow_key: int, view: str, newest: datetime) -> None:
    execute(
        cursor,
        _NOTE.replace("%(end)s", "%(end)s::timestamptz + interval '1 microsecond'"),
        {"flow_key": flow_key, "view": view, "end": newest},
    )
