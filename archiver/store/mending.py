"""Writing over what is damaged: an ordinary write believes the hashes that it finds, and leaves such rows alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from archiver.logs import Line, Run
from archiver.store import days, errors
from archiver.store.writer import Writer


class Mending(Writer):
    """A writer that trusts nothing of the rows that it is given to write. Counts are made anew from the rows."""

    def put_run(self, run: Run) -> None:
        """Store a run and its steps over whatever is there."""
        if run.log_id is None:
            return
        self._distrust("run", [run.log_id])
        self._distrust("step", [step.log_id for step in run.steps if step.log_id is not None])
        self.put_runs([run])
        self._recount(run.log_id)

    def put_lines_anew(self, lines: Sequence[Line], run: tuple[int, str, str]) -> None:
        """Store lines of a run, given as (log id, run id, created), over whatever is there."""
        times = {line.log_id: line.created or run[2] for line in lines if line.log_id is not None}
        # The same line at another time is another row to Postgres.
        self._run(
            "UPDATE archive.line l SET created = one.created"
            " FROM unnest(%(ids)s::bigint[], %(times)s::timestamptz[]) AS one(id, created)"
            " WHERE l.flow_key = %(flow_key)s AND l.log_id = one.id AND l.created <> one.created AND NOT EXISTS ("
            " SELECT FROM archive.line t WHERE t.flow_key = %(flow_key)s AND t.log_id = one.id"
            " AND t.created = one.created)",
            ids=list(times),
            times=list(times.values()),
        )
        self._distrust("line", times)
        self.put_lines(lines, run)
        self._recount(run[0])

    def drop_line(self, line: Line) -> None:
        """Delete one of a line's copies. It takes the role that owns the archive."""
        bind = {"id": line.log_id, "created": line.created, "run_id": line.original_filename_uuid}
        self._run(
            "DELETE FROM archive.line WHERE flow_key = %(flow_key)s AND log_id = %(id)s AND created = %(created)s",
            **bind,
        )
        runs = self.fetch(
            "SELECT log_id FROM archive.run WHERE flow_key = %(flow_key)s"
            " AND %(run_id)s IN (filename_uuid, original_filename_uuid)",
            **bind,
        )
        for (log_id,) in runs:
            self._recount(log_id)

    def want_again(self, log_type: int, log_id: int) -> None:
        """Want a file once more, whatever became of it; unless it was erased at a person's request."""
        self._run(
            "UPDATE archive.detail SET outcome = 'wanted', attempts = 0, next_attempt_at = now(), error = NULL"
            " WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s"
            " AND outcome <> 'erased'",
            log_type=log_type,
            log_id=log_id,
        )

    def remember(self) -> int:
        """What the flow owes and nobody would ask for any more is due again; answers how much that was."""
        runs = self._run(
            "UPDATE archive.run SET visit_at = now(), archive_state = CASE"
            " WHEN state IS DISTINCT FROM 3 AND archive_state <> 'stuck' THEN 'open'"
            " WHEN state = 3 AND archive_state IN ('open', 'stuck', 'lost') THEN 'pending' ELSE archive_state END"
            " WHERE flow_key = %(flow_key)s AND ((state IS DISTINCT FROM 3"
            " AND (archive_state NOT IN ('open', 'stuck', 'lost') OR (archive_state <> 'lost' AND visit_at IS NULL)))"
            " OR (state = 3 AND (archive_state IN ('open', 'stuck', 'lost')"
            " OR (archive_state IN ('pending', 'settling') AND visit_at IS NULL))))"
        ).rowcount
        files = self._run(
            "UPDATE archive.detail SET next_attempt_at = now()"
            " WHERE flow_key = %(flow_key)s AND outcome = 'wanted' AND next_attempt_at IS NULL"
        ).rowcount
        limits = self._run(_LIMITS).rowcount
        return runs + files + limits

    def _distrust(self, table: str, log_ids: Collection[int]) -> None:
        """Whatever comes next of these logs is news, and further than what is there."""
        self._run(
            f"UPDATE archive.{table} SET src_hash = ~src_hash, state = NULL"
            " WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s)",
            ids=list(log_ids),
        )

    def _recount(self, run_log_id: int) -> None:
        """What is counted of a run: its lines (unless some went on purpose, and their counts are history), its day, its
        kinds of errors."""
        found = self._run(
            f"SELECT {errors.MOMENT}, coalesce(filename_uuid, original_filename_uuid),"
            " lines_pruned IS NULL AND NOT EXISTS (SELECT FROM archive.tombstone t"
            " WHERE t.flow_key = r.flow_key AND t.log_type = 3)"
            " FROM archive.run r WHERE flow_key = %(flow_key)s AND log_id = %(id)s",
            id=run_log_id,
        ).fetchone()
        if found is None:
            return
        created, run_id, whole = found
        if whole and run_id is not None:
            self._run(
                "UPDATE archive.run r SET line_count = n, failed_line_count = failed"
                " FROM (SELECT count(*) AS n, count(*) FILTER (WHERE status = 3) AS failed FROM archive.line"
                " WHERE flow_key = %(flow_key)s AND original_filename_uuid = %(run_id)s) counted"
                " WHERE r.flow_key = %(flow_key)s AND r.log_id = %(id)s",
                run_id=run_id,
                id=run_log_id,
            )
        days.recount(self._cursor, self._flow_key, self._bar.counted([created]))
        if whole:
            errors.recount(self._cursor, self._flow_key, run_log_id, run_id)


# History that could not be had once, for the source listed no further, is asked for again, unless that was accepted.
_LIMITS = """
    WITH gone AS (
        SELECT concat_ws('/', g.one ->> 'from', g.one ->> 'to', g.one ->> 'reason') AS subject
        FROM archive.checkpoint c CROSS JOIN LATERAL jsonb_array_elements(c.gaps) AS g(one)
        WHERE c.flow_key = %(flow_key)s AND starts_with(g.one ->> 'reason', 'depth_limited')
        EXCEPT
        SELECT concat_ws('/', g.one ->> 'from', g.one ->> 'to', g.one ->> 'reason')
        FROM archive.checkpoint c CROSS JOIN LATERAL jsonb_array_elements(c.gaps) AS g(one)
        JOIN archive.acknowledgement a ON a.flow_key = c.flow_key AND a.gap_id = archive.gap_id(c.flow_key, 'gap',
            concat_ws('/', g.one ->> 'from', g.one ->> 'to', g.one ->> 'reason'))
        WHERE c.flow_key = %(flow_key)s
    )
    UPDATE archive.checkpoint SET source = source - 'deep' - 'depth', gaps = (
        SELECT coalesce(jsonb_agg(one ORDER BY place), '[]')
        FROM jsonb_array_elements(gaps) WITH ORDINALITY AS g(one, place)
        WHERE concat_ws('/', one ->> 'from', one ->> 'to', one ->> 'reason') NOT IN (SELECT subject FROM gone))
    WHERE flow_key = %(flow_key)s AND EXISTS (SELECT FROM gone)
"""
