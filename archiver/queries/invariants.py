"""What must hold of the archive by itself: the invariants 2 to 8, each as a question for what breaks it.

Each statement gives a row for each thing that is wrong: flow, type and id of a log where it is about one, and what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from archiver.logs import Line, Run, Step
from archiver.queries.holdings import read_only
from archiver.queries.originals import LINE, STEP, stored_line, stored_runs, stored_step

EXAMPLES = 10


class Invariant(NamedTuple):
    """`number` as in the list of them; number 1 needs the source, and is what the audit itself is about. `recent`: the
    statement for the runs since a time, where it is another one than for all."""

    number: int
    name: str
    statement: str
    recent: str = ""


class Violation(NamedTuple):
    """Something that is not as it must be. `log_id` is None where it is about the whole flow, and `flow_key` as well
    where it is about a table."""

    flow_key: int | None
    log_type: int | None
    log_id: int | None
    what: str


_FLOWS = "flow_key = ANY(:keys)"
_RUNS = f"{_FLOWS} AND (CAST(:since AS timestamptz) IS NULL OR created >= :since)"


def _with_lines(joined: str) -> str:
    """Invariant 3, by how the lines of runs `r` are counted: those of whole flows are quicker counted together."""
    return f"""SELECT flow_key, 1, log_id, 'finished, and ' || archive_state
            || CASE WHEN visit_at IS NULL THEN ', never to be visited' ELSE '' END
        FROM archive.run WHERE {_RUNS} AND state = 3
            AND (archive_state IN ('open', 'stuck', 'lost')
                OR (archive_state IN ('pending', 'settling') AND visit_at IS NULL))
        UNION ALL
        SELECT flow_key, 1, log_id, 'it has ' || have || ' lines of the ' || want || ' that were archived'
        FROM (
            SELECT flow_key, min(log_id) AS log_id, coalesce(filename_uuid, original_filename_uuid) AS run_id,
                sum(line_count) AS want, bool_or(lines_pruned IS NOT NULL) AS went
            FROM archive.run WHERE {_RUNS} AND coalesce(filename_uuid, original_filename_uuid) IS NOT NULL
            GROUP BY 1, 3
        ) r {joined}
        CROSS JOIN LATERAL (SELECT coalesce(number, 0)) counted(have)
        CROSS JOIN LATERAL (
            SELECT count(*) FROM archive.finding f WHERE f.flow_key = r.flow_key AND f.run_log_id = r.log_id
                AND f.kind = 'lost' AND f.log_type = 3 AND f.cleared_at IS NULL
        ) known(lost)
        JOIN archive.checkpoint c USING (flow_key)
        WHERE have > want OR (have < want - lost AND NOT r.went AND c.tombstones = 0)"""


INVARIANTS = (
    Invariant(
        2,
        "a run that has not finished is followed",
        f"""SELECT flow_key, 1, log_id, 'its state is ' || coalesce(state::text, 'unknown') || ', and it is '
            || archive_state || CASE WHEN visit_at IS NULL THEN ', never to be visited' ELSE '' END
        FROM archive.run WHERE {_RUNS} AND state IS DISTINCT FROM 3
            AND (archive_state NOT IN ('open', 'stuck', 'lost') OR (archive_state <> 'lost' AND visit_at IS NULL))""",
    ),
    Invariant(
        3,
        "a finished run has its lines, or owes them by name",
        _with_lines(
            f"""LEFT JOIN (
                SELECT flow_key, original_filename_uuid AS run_id, count(*) AS number FROM archive.line WHERE {_FLOWS}
                GROUP BY 1, 2
            ) l USING (flow_key, run_id)"""
        ),
        _with_lines(
            """CROSS JOIN LATERAL (
                SELECT count(*) AS number FROM archive.line l
                WHERE l.flow_key = r.flow_key AND l.original_filename_uuid = r.run_id
            ) l"""
        ),
    ),
    Invariant(
        3,
        "a line, a step and a file belong to a run",
        f"""SELECT flow_key, 3, log_id, 'there is no run ' || coalesce(original_filename_uuid, 'without an id')
        FROM archive.line l WHERE {_RUNS} AND NOT EXISTS (SELECT FROM archive.run r WHERE r.flow_key = l.flow_key
            AND l.original_filename_uuid IN (r.filename_uuid, r.original_filename_uuid))
        UNION ALL
        SELECT flow_key, 2, log_id, 'there is no run with log id ' || run_log_id
        FROM archive.step s WHERE {_RUNS} AND NOT EXISTS (SELECT FROM archive.run r WHERE r.flow_key = s.flow_key
            AND r.log_id = s.run_log_id)
        UNION ALL
        SELECT flow_key, log_type, log_id, 'there is no run with log id ' || run_log_id || ', for its file'
        FROM archive.detail d WHERE {_FLOWS} AND (CAST(:since AS timestamptz) IS NULL OR run_created >= :since)
            AND NOT EXISTS (SELECT FROM archive.run r WHERE r.flow_key = d.flow_key AND r.log_id = d.run_log_id)""",
    ),
    Invariant(
        4,
        "the frontier never goes down, and nothing is certified beyond it",
        f"""SELECT c.flow_key, NULL, NULL, 'the frontier is ' || coalesce(c.frontier::text, 'none') || ' and was '
            || a.frontier
        FROM archive.checkpoint c
        JOIN (SELECT flow_key, max(frontier) AS frontier FROM archive.audit GROUP BY 1) a USING (flow_key)
        WHERE {_FLOWS} AND a.frontier > coalesce(c.frontier, '-infinity')
        UNION ALL
        SELECT flow_key, NULL, NULL, 'certified up to ' || (i.span ->> 1) || ', beyond the frontier'
        FROM archive.checkpoint CROSS JOIN LATERAL jsonb_array_elements(intervals) AS i(span)
        WHERE {_FLOWS} AND (i.span ->> 1)::timestamptz > coalesce(frontier, '-infinity')
        UNION ALL
        SELECT flow_key, NULL, NULL, 'the certified stretch from ' || (i.span ->> 0) || ' to ' || (i.span ->> 1)
            || ' is none, or overlaps another'
        FROM archive.checkpoint CROSS JOIN LATERAL jsonb_array_elements(intervals) WITH ORDINALITY AS i(span, place)
        WHERE {_FLOWS} AND ((i.span ->> 0)::timestamptz >= (i.span ->> 1)::timestamptz
            OR (i.span ->> 1)::timestamptz >= (intervals -> i.place::int ->> 0)::timestamptz)
        UNION ALL
        SELECT flow_key, NULL, NULL, 'the frontier ' || frontier || ' lies more than a day ahead'
        FROM archive.checkpoint WHERE {_FLOWS} AND frontier > now() + interval '1 day'""",
    ),
    Invariant(
        5,
        "one row for each flow, type and id",
        f"""SELECT flow_key, 3, log_id, 'it is there ' || count(*) || ' times'
        FROM archive.line WHERE {_RUNS} GROUP BY log_id, flow_key HAVING count(*) > 1
        UNION ALL
        SELECT NULL, NULL, NULL, 'the index ' || indexrelid::regclass || ' is not valid'
        FROM pg_index WHERE indrelid IN ('archive.run'::regclass, 'archive.step'::regclass, 'archive.detail'::regclass,
            'archive.line'::regclass) AND indisprimary AND NOT (indisvalid AND indisready AND indisunique)""",
    ),
    Invariant(
        6,
        "the SHA-256 of a stored file matches its bytes",
        f"""SELECT flow_key, log_type, log_id, CASE
            WHEN body IS NULL THEN 'it is stored, and has no bytes'
            WHEN sha256 IS NULL THEN 'it has bytes, and no SHA-256' ELSE 'its length is not what was noted' END
        FROM archive.detail d WHERE {_FLOWS} AND (CAST(:since AS timestamptz) IS NULL OR run_created >= :since)
            AND ((outcome = 'stored' AND body IS NULL) OR (body IS NOT NULL AND sha256 IS NULL)
                OR length(body) <> byte_size)
            AND NOT EXISTS (SELECT FROM archive.gap g WHERE g.flow_key = d.flow_key AND g.kind = 'corrupt_file'
                AND g.log_type = d.log_type AND g.log_id = d.log_id AND g.acknowledged_at IS NOT NULL)""",
    ),
    Invariant(
        7,
        "a finished run never becomes unfinished",
        f"""SELECT flow_key, 1, log_id, 'it was finished once, and its state is ' || coalesce(state::text, 'unknown')
        FROM archive.run r WHERE {_RUNS} AND state IS DISTINCT FROM 3 AND (sealed_at IS NOT NULL
            OR archive_state IN ('pending', 'settling', 'sealed') OR source_line_count IS NOT NULL
            OR EXISTS (SELECT FROM archive.detail d WHERE d.flow_key = r.flow_key AND d.run_log_id = r.log_id))""",
    ),
    Invariant(
        8,
        "what is missing can be asked for, with its reason",
        f"""SELECT flow_key, log_type, log_id, CASE
            WHEN outcome NOT IN ('wanted', 'stored', 'unreadable', 'missing', 'too_large', 'erased')
                THEN 'its file has the unknown outcome ' || outcome
            WHEN outcome = 'wanted' THEN 'its file is wanted, and never to be fetched'
            ELSE 'its file is ' || outcome || ' without a reason' END
        FROM archive.detail WHERE {_FLOWS} AND (
            outcome NOT IN ('wanted', 'stored', 'unreadable', 'missing', 'too_large', 'erased')
            OR (outcome = 'wanted' AND next_attempt_at IS NULL)
            OR (outcome IN ('unreadable', 'missing', 'too_large') AND coalesce(error, '') = ''))
        UNION ALL
        SELECT flow_key, log_type, NULL, 'a row is in quarantine without a reason'
        FROM archive.quarantine WHERE {_FLOWS} AND reason = ''
        UNION ALL
        SELECT flow_key, NULL, NULL, 'a gap is on record without a reason'
        FROM archive.checkpoint CROSS JOIN LATERAL jsonb_array_elements(gaps) AS g(gap)
        WHERE {_FLOWS} AND coalesce(g.gap ->> 'reason', '') = ''
        UNION ALL
        SELECT flow_key, NULL, NULL, 'its turns fail without a reason'
        FROM archive.checkpoint WHERE {_FLOWS} AND failures_in_a_row > 0 AND coalesce(last_error, '') = ''
        UNION ALL
        SELECT c.flow_key, NULL, NULL, 'something of it is missing and is not listed as a gap'
        FROM archive.checkpoint c WHERE c.{_FLOWS} AND (jsonb_array_length(gaps) > 0 OR failures_in_a_row > 0)
            AND NOT EXISTS (SELECT FROM archive.gap g WHERE g.flow_key = c.flow_key AND g.is_missing)""",
    ),
)


class Damaged(Exception):
    """Postgres itself cannot read a row: its page, or its value beside the table, is damaged."""


class Selfcheck:
    """Asks one archive. `keys`: of which flows; `since`: of runs that began then or later."""

    def __init__(self, engine: Engine, keys: Sequence[int], since: datetime | None) -> None:
        self._engine = engine
        self._bind: dict[str, Any] = {"keys": list(keys), "since": since}

    def violations(self, invariant: Invariant) -> tuple[int, list[Violation]]:
        """How many there are, and the first of them."""
        statement = invariant.recent if invariant.recent and self._bind["since"] else invariant.statement
        numbered = f"SELECT *, count(*) OVER () FROM ({statement}) AS v(flow_key, log_type, log_id, what)"
        with read_only(self._engine) as connection:
            rows = connection.execute(text(f"{numbered} ORDER BY 1, 2, 3 LIMIT {EXAMPLES}"), self._bind).all()
        return (rows[0][4] if rows else 0), [Violation(*row[:4]) for row in rows]

    def accepted(self) -> frozenset[tuple[int, str, int, int]]:
        """What is damaged and was accepted: flow, kind, type and id."""
        with read_only(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"SELECT flow_key, kind, log_type, log_id FROM archive.gap WHERE {_FLOWS}"
                    " AND kind IN ('corrupt', 'corrupt_file') AND acknowledged_at IS NOT NULL"
                ),
                self._bind,
            ).all()
        return frozenset((row[0], row[1], row[2], row[3]) for row in rows)

    def _keyed(self, statement: str, after: Sequence[Any], most: int, **bind: Any) -> list[Any]:
        with read_only(self._engine) as connection:
            places = {f"a{place}": value for place, value in enumerate(after)}
            return list(connection.execute(text(statement), {**self._bind, **places, "most": most, **bind}).all())

    # --- files ---

    def file_keys(self, after: tuple[int, int, int], most: int) -> list[tuple[int, int, int]]:
        """Files with bytes: flow, type and id, behind `after`."""
        rows = self._keyed(
            f"SELECT flow_key, log_type, log_id FROM archive.detail WHERE {_FLOWS} AND sha256 IS NOT NULL"
            " AND (CAST(:since AS timestamptz) IS NULL OR run_created >= :since)"
            " AND (flow_key, log_type, log_id) > (:a0, :a1, :a2) ORDER BY 1, 2, 3 LIMIT :most",
            after,
            most,
        )
        return [tuple(row) for row in rows]

    def broken_files(self, keys: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Those of these files whose bytes have another SHA-256 by now. Raises Damaged."""
        with _readable(), read_only(self._engine) as connection:
            rows = connection.execute(
                text(
                    "SELECT flow_key, log_type, log_id FROM archive.detail WHERE (flow_key, log_type, log_id) IN"
                    " (SELECT * FROM unnest(CAST(:flows AS int[]), CAST(:types AS int[]), CAST(:ids AS bigint[])))"
                    " AND encode(sha256(body), 'hex') <> sha256"
                ),
                {
                    "flows": [key[0] for key in keys],
                    "types": [key[1] for key in keys],
                    "ids": [key[2] for key in keys],
                },
            ).all()
        return [tuple(row) for row in rows]

    # --- rows ---

    def run_keys(self, after: tuple[int, int], most: int) -> list[tuple[int, int]]:
        """Runs that can be given back whole: none with a tombstone, and none with a step in quarantine."""
        rows = self._keyed(
            f"SELECT flow_key, log_id FROM archive.run r WHERE {_RUNS} AND (flow_key, log_id) > (:a0, :a1)"
            " AND NOT EXISTS (SELECT FROM archive.tombstone t WHERE t.flow_key = r.flow_key AND t.log_type IN (1, 2)"
            " AND t.log_id IN (SELECT r.log_id UNION ALL SELECT s.log_id FROM archive.step s"
            " WHERE s.flow_key = r.flow_key AND s.run_log_id = r.log_id))"
            " AND NOT EXISTS (SELECT FROM archive.quarantine q WHERE q.flow_key = r.flow_key AND q.log_type = 2"
            " AND q.run_log_id = r.log_id) ORDER BY 1, 2 LIMIT :most",
            after,
            most,
        )
        return [(row[0], row[1]) for row in rows]

    def runs(self, keys: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Run]]:
        """These runs with their steps. Raises Damaged."""
        for flow_key in dict.fromkeys(key[0] for key in keys):
            ids = [key[1] for key in keys if key[0] == flow_key]
            with _readable(), read_only(self._engine) as connection:
                yield from [(flow_key, run) for run in stored_runs(connection, flow_key, log_ids=ids)]

    def step_keys(self, after: tuple[int, int], most: int) -> list[tuple[int, int]]:
        """Steps that were asked for by themselves; those that came with their runs are looked at with them."""
        rows = self._keyed(
            f"SELECT flow_key, log_id FROM archive.step s WHERE {_RUNS} AND (flow_key, log_id) > (:a0, :a1)"
            " AND position IS NULL AND NOT EXISTS (SELECT FROM archive.tombstone t WHERE t.flow_key = s.flow_key"
            " AND t.log_type = 2 AND t.log_id = s.log_id) ORDER BY 1, 2 LIMIT :most",
            after,
            most,
        )
        return [(row[0], row[1]) for row in rows]

    def steps(self, keys: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Step]]:
        """These steps. Raises Damaged."""
        for flow_key, *columns in self._by_keys("step", STEP, keys):
            yield flow_key, stored_step(columns)

    def line_keys(self, after: tuple[int, int], most: int) -> list[tuple[int, int]]:
        """Lines: id and flow, in the order of their index."""
        rows = self._keyed(
            f"SELECT log_id, flow_key FROM archive.line WHERE {_RUNS} AND (log_id, flow_key) > (:a0, :a1)"
            " ORDER BY 1, 2 LIMIT :most",
            after,
            most,
        )
        return [(row[0], row[1]) for row in rows]

    def lines(self, keys: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Line]]:
        """These lines, given as id and flow. Raises Damaged."""
        for flow_key, *columns in self._by_keys("line", LINE, [(key[1], key[0]) for key in keys]):
            yield flow_key, stored_line(columns)

    def _by_keys(self, table: str, columns: str, keys: Sequence[tuple[int, int]]) -> list[Any]:
        with _readable(), read_only(self._engine) as connection:
            return list(
                connection.execute(
                    text(
                        f"SELECT flow_key, {columns} FROM archive.{table} WHERE log_id = ANY(:ids)"
                        " AND (flow_key, log_id) IN"
                        " (SELECT * FROM unnest(CAST(:flows AS int[]), CAST(:ids AS bigint[])))"
                    ),
                    {"flows": [key[0] for key in keys], "ids": [key[1] for key in keys]},
                ).all()
            )


class _readable:  # noqa: N801 - reads as a word in a with statement
    """Turns what Postgres says of damaged pages and values into Damaged."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        state = getattr(exc.orig, "sqlstate", None) if isinstance(exc, DBAPIError) else None
        if state is not None and state.startswith("XX"):
            raise Damaged(f"Postgres cannot read it (SQLSTATE {state})") from exc
