"""What the archive holds of logs that somebody asks about by id: for an audit, which compares them with their source.

Every answer is read in one read-only transaction of its own: what is certified and what is stored belong together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, Engine, text

from archiver.logs import Line, LogType, Run, canonical
from archiver.queries.originals import LINE, stored_line, stored_runs


@contextmanager
def read_only(engine: Engine) -> Iterator[Connection]:
    """One state of the database. Postgres itself refuses to write in it."""
    ways = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**ways) as connection, connection.begin():
        yield connection


class Span(NamedTuple):
    """A stretch of time, its end excluded; None: without a beginning, or an end."""

    start: datetime | None
    end: datetime | None

    def has(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        return (self.start is None or self.start <= moment) and (self.end is None or moment < self.end)


class Standing(NamedTuple):
    """What the archive says of a flow: certified up to `frontier`, in these stretches, with these gaps on record."""

    frontier: datetime | None
    certified: tuple[Span, ...]
    gaps: tuple[Span, ...]
    kept_from: datetime | None

    def promises(self, moment: datetime) -> bool:
        """Whether a run that began then has to be here."""
        return any(span.has(moment) for span in self.certified) and not self.explains(moment)

    def explains(self, moment: datetime) -> bool:
        """Whether it may be missing by a gap that is on record."""
        return any(span.has(moment) for span in self.gaps)


class Held(NamedTuple):
    """A stored log. `masked`: fields that were erased in it since."""

    log: Run | Line
    masked: tuple[str, ...] = ()


class HeldRun(NamedTuple):
    """A stored run, and how the archive stands with it."""

    log: Run
    archive_state: str
    lines_pruned: bool
    details_pruned: bool
    masked: tuple[str, ...] = ()
    odd_steps: bool = False  # steps of it are in quarantine, so that it cannot be given back whole

    @property
    def run_id(self) -> str | None:
        return self.log.filename_uuid or self.log.original_filename_uuid


class SettledRun(NamedTuple):
    """A finished run whose lines were read. `created` is canonical text."""

    log_id: int
    run_id: str | None
    created: str
    archive_state: str
    lines_pruned: bool
    details_pruned: bool


class Runs(NamedTuple):
    """An answer about runs. `refused`: hashes of rows, and ids of runs, that are in quarantine."""

    standing: Standing
    held: Mapping[int, HeldRun]
    refused: frozenset[int]


class Lines(NamedTuple):
    """An answer about lines. `erased`: ids that went at a person's request; `refused`: hashes in quarantine."""

    held: Mapping[int, Held]
    erased: frozenset[int]
    refused: frozenset[int]


class HeldFile(NamedTuple):
    """A file's row. `is_whole`: its bytes are there and have the SHA-256 and the length that stand beside them."""

    log_type: int
    log_id: int
    outcome: str
    sha256: str | None
    document_changes: str | None
    has_document: bool
    is_whole: bool


class Holdings:
    """What the archive holds of one flow."""

    def __init__(self, engine: Engine, flow_key: int) -> None:
        self._engine = engine
        self.flow_key = flow_key

    def _rows(self, connection: Connection, statement: str, **bind: Any) -> Sequence[Any]:
        return connection.execute(text(statement), {"flow_key": self.flow_key, **bind}).all()

    def standing(self) -> Standing:
        """What the archive says of the flow now."""
        with read_only(self._engine) as connection:
            return self._standing(connection)

    def _standing(self, connection: Connection) -> Standing:
        ((frontier, intervals, gaps, kept_from),) = self._rows(
            connection, "SELECT frontier, intervals, gaps, kept_from FROM archive.checkpoint WHERE flow_key = :flow_key"
        )
        return Standing(
            frontier,
            tuple(Span(_time(start), _time(end)) for start, end in intervals),
            tuple(Span(_time(gap["from"]), _time(gap["to"])) for gap in gaps),
            kept_from,
        )

    def runs(self, log_ids: Collection[int], hashes: Collection[int]) -> Runs:
        """These runs, as far as they are stored; `hashes`: of their rows at the source."""
        with read_only(self._engine) as connection:
            standing = self._standing(connection)
            states = {
                row.log_id: row
                for row in self._rows(
                    connection,
                    "SELECT log_id, archive_state, lines_pruned IS NOT NULL AS lines_pruned,"
                    " details_pruned IS NOT NULL AS details_pruned FROM archive.run"
                    " WHERE flow_key = :flow_key AND log_id = ANY(:ids)",
                    ids=list(log_ids),
                )
            }
            logs = {run.log_id: run for run in stored_runs(connection, self.flow_key, log_ids=list(states))}
            masks = self._masks(connection, list(states))
            refused = self._rows(
                connection,
                "SELECT log_type, src_hash, run_log_id FROM archive.quarantine WHERE flow_key = :flow_key"
                " AND (log_type = 1 AND src_hash = ANY(:hashes) OR log_type IN (1, 2) AND run_log_id = ANY(:ids))",
                hashes=list(hashes),
                ids=list(log_ids),
            )
        odd = {row.run_log_id for row in refused if row.log_type == LogType.SUB}
        held = {
            log_id: HeldRun(
                logs[log_id],
                row.archive_state,
                row.lines_pruned,
                row.details_pruned,
                masks.get(log_id, ()),
                log_id in odd,
            )
            for log_id, row in states.items()
        }
        named = {one for row in refused if row.log_type == LogType.MAIN for one in (row.src_hash, row.run_log_id)}
        return Runs(standing, held, frozenset(named - {None}))

    def _masks(self, connection: Connection, run_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Fields that were erased in runs, or in steps of theirs."""
        found: dict[int, set[str]] = {}
        for run_log_id, masked in self._rows(
            connection,
            "SELECT CASE t.log_type WHEN 1 THEN t.log_id ELSE s.run_log_id END, t.masked FROM archive.tombstone t"
            " LEFT JOIN archive.step s ON s.flow_key = t.flow_key AND s.log_id = t.log_id AND t.log_type = 2"
            " WHERE t.flow_key = :flow_key AND (t.log_type = 1 AND t.log_id = ANY(:ids)"
            " OR t.log_type = 2 AND s.run_log_id = ANY(:ids)) AND t.masked IS NOT NULL",
            ids=list(run_ids),
        ):
            found.setdefault(run_log_id, set()).update(masked)
        return {log_id: tuple(sorted(names)) for log_id, names in found.items()}

    def lines(self, log_ids: Collection[int], hashes: Collection[int], oldest: str, newest: str) -> Lines:
        """These lines; between `oldest` and `newest` by `created`, else wherever they are."""
        where = "flow_key = :flow_key AND log_id = ANY(:ids)"
        with read_only(self._engine) as connection:
            near = f"SELECT {LINE} FROM archive.line WHERE {where} AND created BETWEEN :oldest AND :newest"
            held = self._lines(connection, near, ids=list(log_ids), oldest=oldest, newest=newest)
            missing = [one for one in log_ids if one not in held]
            erased: frozenset[int] = frozenset()
            refused: frozenset[int] = frozenset()
            if missing:
                held |= self._lines(connection, f"SELECT {LINE} FROM archive.line WHERE {where}", ids=missing)
            if missing or len(log_ids) < len(hashes):
                gone = f"SELECT log_id FROM archive.tombstone WHERE {where} AND log_type = 3 AND masked IS NULL"
                erased = frozenset(row[0] for row in self._rows(connection, gone, ids=missing))
                kept = (
                    "SELECT src_hash FROM archive.quarantine"
                    " WHERE flow_key = :flow_key AND log_type = 3 AND src_hash = ANY(:hashes)"
                )
                refused = frozenset(row[0] for row in self._rows(connection, kept, hashes=list(hashes)))
        return Lines(held, erased, refused)

    def _lines(self, connection: Connection, statement: str, **bind: Any) -> dict[int, Held]:
        return {
            cast(int, line.log_id): Held(line) for line in map(stored_line, self._rows(connection, statement, **bind))
        }

    def settled_runs(self, since: datetime | None, after: tuple[str, int] | None, most: int) -> list[SettledRun]:
        """Finished runs whose lines were read, newest first. `after`: go on behind this `created` and log id."""
        with read_only(self._engine) as connection:
            rows = self._rows(
                connection,
                "SELECT log_id, coalesce(filename_uuid, original_filename_uuid), created, archive_state,"
                " lines_pruned IS NOT NULL, details_pruned IS NOT NULL FROM archive.run"
                " WHERE flow_key = :flow_key AND archive_state IN ('settling', 'sealed')"
                " AND (CAST(:since AS timestamptz) IS NULL OR created >= :since)"
                " AND (CAST(:after_id AS bigint) IS NULL"
                " OR (created, log_id) < (CAST(:after_time AS timestamptz), CAST(:after_id AS bigint)))"
                " ORDER BY created DESC, log_id DESC LIMIT :most",
                since=since,
                after_time=after and after[0],
                after_id=after and after[1],
                most=most,
            )
        return [SettledRun(log_id, run_id, canonical(created), *rest) for log_id, run_id, created, *rest in rows]

    def count_of_runs(self, since: datetime | None) -> int:
        """How many runs are settled, for a progress bar."""
        with read_only(self._engine) as connection:
            ((count,),) = self._rows(
                connection,
                "SELECT count(*) FROM archive.run WHERE flow_key = :flow_key"
                " AND archive_state IN ('settling', 'sealed')"
                " AND (CAST(:since AS timestamptz) IS NULL OR created >= :since)",
                since=since,
            )
        return int(count)

    def run_ids(self, since: datetime | None, seen_before: datetime) -> Iterator[int]:
        """The ids of all runs that were stored by then, a few thousand in memory at a time."""
        last = -(2**63)
        while True:
            with read_only(self._engine) as connection:
                rows = self._rows(
                    connection,
                    "SELECT log_id FROM archive.run WHERE flow_key = :flow_key AND log_id > :last"
                    " AND first_seen_at < :before AND (CAST(:since AS timestamptz) IS NULL OR created >= :since)"
                    " ORDER BY log_id LIMIT 5000",
                    last=last,
                    before=seen_before,
                    since=since,
                )
            if not rows:
                return
            yield from (row[0] for row in rows)
            last = rows[-1][0]

    def line_count(self, run_id: str) -> int:
        """How many lines of a run are stored."""
        with read_only(self._engine) as connection:
            ((count,),) = self._rows(
                connection,
                "SELECT count(*) FROM archive.line WHERE flow_key = :flow_key AND original_filename_uuid = :run_id",
                run_id=run_id,
            )
        return int(count)

    def copies(self, most: int = 1000) -> list[list[Line]]:
        """Lines that are there more than once, at other times."""
        with read_only(self._engine) as connection:
            rows = self._rows(
                connection,
                f"SELECT {LINE} FROM archive.line WHERE flow_key = :flow_key AND log_id IN (SELECT log_id"
                " FROM archive.line WHERE flow_key = :flow_key GROUP BY log_id HAVING count(*) > 1 LIMIT :most)",
                most=most,
            )
        found: dict[int, list[Line]] = {}
        for line in map(stored_line, rows):
            found.setdefault(cast(int, line.log_id), []).append(line)
        return list(found.values())

    def files(self, run_log_id: int, policy: str) -> tuple[list[HeldFile], list[tuple[int, int]]]:
        """The files of a settled run, and the logs (type and id) that should have one by the policy and do not."""
        with read_only(self._engine) as connection:
            files = self._rows(
                connection,
                "SELECT log_type, log_id, outcome, sha256, document_changes, document IS NOT NULL,"
                " coalesce(encode(sha256(body), 'hex') = sha256 AND length(body) = byte_size, false)"
                " FROM archive.detail WHERE flow_key = :flow_key AND run_log_id = :run ORDER BY 1, 2",
                run=run_log_id,
            )
            missing = (
                [] if policy == "none" else self._rows(connection, _UNWANTED, run=run_log_id, every=policy == "all")
            )
        return [HeldFile(*row) for row in files], [(row[0], row[1]) for row in missing]

    def has_document(self, log_type: int, log_id: int, document: str) -> bool:
        """Whether the stored document says what this JSON text says."""
        with read_only(self._engine) as connection:
            rows = self._rows(
                connection,
                "SELECT document = CAST(:document AS jsonb) FROM archive.detail"
                " WHERE flow_key = :flow_key AND log_type = :log_type AND log_id = :log_id",
                document=document,
                log_type=log_type,
                log_id=log_id,
            )
        return bool(rows and rows[0][0])


# Which logs of a run announce a file that is not even wanted. A run counts as failed with any failed step or line.
_UNWANTED = """
WITH r AS (
    SELECT * FROM archive.run r WHERE r.flow_key = :flow_key AND r.log_id = :run AND r.state = 3
        AND r.details_pruned IS NULL
), logs AS (
    SELECT 1 AS log_type, log_id, status, is_send_s3 FROM r
    UNION ALL
    SELECT 2, s.log_id, s.status, s.is_send_s3 FROM archive.step s JOIN r ON s.flow_key = r.flow_key
        AND s.run_log_id = r.log_id
    UNION ALL
    SELECT 3, l.log_id, l.status, l.is_send_s3 FROM archive.line l JOIN r ON l.flow_key = r.flow_key
        AND l.original_filename_uuid = coalesce(r.filename_uuid, r.original_filename_uuid)
)
SELECT log_type, log_id FROM logs
WHERE is_send_s3 = 1 AND (:every OR EXISTS (SELECT FROM logs f WHERE f.status = 3)) AND NOT EXISTS (
    SELECT FROM archive.detail d
    WHERE d.flow_key = :flow_key AND d.log_type = logs.log_type AND d.log_id = logs.log_id)
ORDER BY 1, 2
"""


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
