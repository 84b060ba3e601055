"""One transaction on one flow, under its fence: rows, what they oblige to, and the state of the pass, together."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import psycopg

from archiver.errors import LeaseLost
from archiver.logs import from_micros
from archiver.messages import message_in_document, sample
from archiver.store.bar import Bar
from archiver.store.leases import Lease
from archiver.store.lines import LineLedger
from archiver.store.rows import Cursor
from archiver.window import Interval

Json = Mapping[str, Any] | Sequence[Any] | None


def _json(value: Json) -> str | None:
    return None if value is None else json.dumps(value)


class Writer(LineLedger):
    """What a pass may write. Made by `Store.writing`; lives as long as its transaction.

    What is learnt of the flow itself waits for the end, for one statement: every update is a new version of its row.
    """

    def __init__(self, cursor: Cursor, lease: Lease) -> None:
        super().__init__(cursor, lease.flow_key)
        found = self._run(
            "SELECT fence, kept_from, pruned <> '{}', tombstones FROM archive.checkpoint"
            " WHERE flow_key = %(flow_key)s FOR NO KEY UPDATE"
        ).fetchone()
        if found is None or found[0] != lease.fence:
            raise LeaseLost(f"another process works on flow {lease.flow_key} now")
        self._bar = Bar.of(lease.flow_key, *found[1:])
        self._learnt: dict[str, str | None] = {}

    # --- what a pass knows ---

    def save_walk(self, walk: Json) -> None:
        """The state of the pass under way; None at its end."""
        self._learnt["walk"] = _json(walk)

    def save_backfill(self, walk: Json) -> None:
        """The state of the walk through history; None at its end."""
        self._learnt["backfill"] = _json(walk)

    def save_source(self, source: Mapping[str, Any]) -> None:
        """What the walks have learnt of the source: order, lateness, retention, …"""
        self._learnt["source"] = _json(source)

    def certify(self, intervals: Iterable[Interval], frontier: int | None = None) -> None:
        """Set the certified intervals; the frontier only ever moves up."""
        spans = [[from_micros(start), from_micros(end)] for start, end in intervals]
        self._learnt["intervals"] = _json(spans)
        if frontier is not None:
            self._learnt["frontier"] = from_micros(frontier)

    def save_learnt(self) -> None:
        """Write what the walks have learnt, at the end of the transaction."""
        if self._learnt:
            values = {name: f"%({name})s" for name in self._learnt}
            if "frontier" in values:
                values["frontier"] = "greatest(frontier, %(frontier)s)"
            columns = ", ".join(f"{name} = {value}" for name, value in values.items())
            self._run(f"UPDATE archive.checkpoint SET {columns} WHERE flow_key = %(flow_key)s", **self._learnt)

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

    def save_sweeps(self, sweeps: Mapping[int, Json]) -> None:
        """How far the reading of these runs' lines has come, by log id."""
        if sweeps:
            self._run(
                "UPDATE archive.run r SET lines_walk = one.sweep::jsonb"
                " FROM unnest(%(ids)s::bigint[], %(sweeps)s::text[]) AS one(id, sweep)"
                " WHERE r.flow_key = %(flow_key)s AND r.log_id = one.id",
                ids=list(sweeps),
                sweeps=[_json(sweep) for sweep in sweeps.values()],
            )

    def line_totals(self, log_ids: Collection[int]) -> dict[int, int]:
        """Distinct lines of these runs that are accounted for: stored, or in quarantine by name."""
        if not log_ids:
            return {}
        rows = self._run(
            "SELECT log_id, line_count + (SELECT count(*) FROM archive.quarantine q WHERE q.flow_key = r.flow_key"
            " AND q.log_type = 3 AND q.run_log_id = r.log_id) FROM archive.run r"
            " WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s)",
            ids=list(log_ids),
        )
        return dict(rows.fetchall())

    def move(self, log_ids: Collection[int], state: str, wait: float | None) -> None:
        """Bring runs into an archive state. `wait`: seconds until the next visit; None: never."""
        self.conclude(dict.fromkeys(log_ids), state, wait)

    def conclude(self, source_lines: Mapping[int, int | None], state: str, wait: float | None) -> None:
        """Bring runs whose lines were read into an archive state. `source_lines`: log id → how many lines the source
        counts, or None. `wait`: seconds until the next visit; None: never."""
        if source_lines:
            self._run(
                "UPDATE archive.run r SET archive_state = %(state)s,"
                " visit_at = now() + make_interval(secs => %(wait)s),"
                " visits = CASE WHEN archive_state = %(state)s THEN visits + 1 ELSE 0 END, error = NULL,"
                " source_line_count = coalesce(one.lines, source_line_count), lines_walk = NULL,"
                " sealed_at = CASE WHEN %(state)s = 'sealed' THEN coalesce(sealed_at, now()) END"
                " FROM unnest(%(ids)s::bigint[], %(lines)s::bigint[]) AS one(id, lines)"
                " WHERE r.flow_key = %(flow_key)s AND r.log_id = one.id",
                state=state,
                wait=wait,
                ids=list(source_lines),
                lines=list(source_lines.values()),
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
        `wait` seconds. A document that Postgres refuses is left out with the reason; the file itself is kept.

        What the document says went wrong is kept beside it, and is the message of a failed log that has none itself.
        """
        said = message_in_document(values.get("document"))
        values = {**values, "message": None if said is None else sample(said)}
        try:
            with self._cursor.connection.transaction():
                self._update_detail(log_type, log_id, values)
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as exc:
            if values.get("document") is None:
                raise
            why = f"no document: Postgres refused it ({type(exc).__name__}, SQLSTATE {exc.sqlstate})"
            self._update_detail(log_type, log_id, {**values, "document": None, "document_changes": why})
        self.recognise_again(log_type, log_id)

    def _update_detail(self, log_type: int, log_id: int, values: Mapping[str, Any]) -> None:
        columns = ", ".join(f"{name} = %({name})s" for name in values if name != "wait")
        self._run(
            f"UPDATE archive.detail SET {columns}, attempts = attempts + 1, fetched_at = now(),"
            " next_attempt_at = now() + make_interval(secs => %(wait)s)"
            " WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s"
            " AND outcome <> 'erased'",
            **{"wait": None, **values},
            log_type=log_type,
            log_id=log_id,
        )


# A run counts as failed with its own status, or with any failed step or line (status 3).
_WANT = """
WITH wanted AS (
    SELECT r.* FROM (SELECT *, coalesce(filename_uuid, original_filename_uuid) AS run_id FROM archive.run) r
    WHERE r.flow_key = %(flow_key)s AND r.log_id = ANY(%(ids)s) AND r.state = 3 AND r.details_pruned IS NULL AND (
        %(every)s OR r.status = 3
        OR EXISTS (SELECT FROM archive.step s
            WHERE s.flow_key = r.flow_key AND s.run_log_id = r.log_id AND s.status = 3)
        OR EXISTS (SELECT FROM archive.line l
            WHERE l.flow_key = r.flow_key AND l.original_filename_uuid = r.run_id AND l.status = 3)
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
    ON l.flow_key = w.flow_key AND l.original_filename_uuid = w.run_id AND l.is_send_s3 = 1
ON CONFLICT (flow_key, log_type, log_id) DO NOTHING
"""
