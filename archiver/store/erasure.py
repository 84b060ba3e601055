"""Erasing what a person has: lines and files that hold a value in a field, and that field in runs and steps.

A line goes as a whole; a run or a step stays, its field masked, for others' lines hang on it; a file goes with its
document. Each leaves a tombstone that says nothing of the person: what is read again stays away (see bar.py), and the
counts by which a run is proven to be complete still hold, for they count what was archived once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, text

from archiver.detail import contents
from archiver.errors import OperatorError
from archiver.logs import FIELDS, dump_exact, load_exact
from archiver.logs.exact import holdable, pack, unpack
from archiver.redact import MASK, has, mask_fields, mentions, row_has, spellings
from archiver.store import errors
from archiver.store.engine import translated
from archiver.store.errors import LINE, RUN, STEP, TABLES, Hit
from archiver.store.ledger import Ledger
from archiver.store.rows import Cursor, cursor_of, execute

BATCH = 1000  # logs that are erased in one transaction
REASON = "erased at a person's request"
# Fields that have a column and may say something of a person. The others of FIELDS are names, numbers and times.
COLUMNS = ("process_group_name", "parent_process_group_id", "schedule", "triggered_by")


class CannotErase(OperatorError):
    """What was asked for is nothing that can be erased."""


@dataclass(slots=True)
class Found:
    """What of a flow holds the value: log ids, lines with their `created`, files by log type and id."""

    flow_key: int
    lines: list[tuple[int, Any]] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    details: list[tuple[int, int]] = field(default_factory=list)
    quarantined: list[tuple[int, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.lines, self.runs, self.steps, self.details, self.quarantined))


class Erasure:
    """Finds and erases a value of a field. Raises CannotErase for fields that nothing can be erased by."""

    def __init__(self, engine: Engine, name: str, value: str) -> None:
        if not name or not value:
            raise CannotErase("write what is to be erased as FIELD=VALUE, as in email=ayse@example.com")
        if name in FIELDS and name not in COLUMNS:
            raise CannotErase(f"{name} says nothing of a person: the archiver needs it to follow its runs")
        if not holdable(name + value):
            raise CannotErase("a field and its value have to be text that UTF-8 can hold, without NUL")
        self._engine = engine
        self._name = name
        self._value = value
        self._words = spellings(value)
        places = " || ".join(f"@ == $v{place}" for place in range(len(self._words)))
        self._bind = {
            "path": f"$.**.{json.dumps(name)} ? ({places})",
            "vars": dump_exact({f"v{place}": word for place, word in enumerate(self._words)}),
            "value": value,
        } | {f"pair{place}": dump_exact({name: word}) for place, word in enumerate([*self._words, value][:2])}

    # --- finding ---

    def find(self, flow_key: int) -> Found:
        """What there is to erase in a flow. Looks through the whole flow where no index helps."""
        found = Found(flow_key)
        with translated(), self._engine.begin() as connection:
            cursor = cursor_of(connection)
            found.lines = self._lines(cursor, flow_key)
            found.runs, found.steps = (self._logs(cursor, flow_key, table) for table in ("run", "step"))
            found.details = self._details(cursor, flow_key, [log_id for log_id, _ in found.lines])
            found.quarantined = self._quarantined(cursor, flow_key)
        return found

    def _select(self, cursor: Cursor, statement: str, flow_key: int, **bind: Any) -> list[tuple[Any, ...]]:
        return execute(cursor, statement, {**self._bind, "flow_key": flow_key, "mask": MASK, **bind}).fetchall()

    def _column(self) -> str:
        return f"{self._name} = %(value)s" if self._name in COLUMNS else "false"

    def _lines(self, cursor: Cursor, flow_key: int) -> list[tuple[int, Any]]:
        rows = self._select(
            cursor,
            "SELECT log_id, created, NULL FROM archive.line WHERE flow_key = %(flow_key)s"
            " AND (fields @> %(pair0)s::jsonb OR fields @> %(pair1)s::jsonb)"
            " UNION SELECT log_id, created, CASE WHEN rest ? '$json' THEN rest::text END FROM archive.line"
            f" WHERE flow_key = %(flow_key)s AND ({self._column()}"
            " OR jsonb_path_exists(rest, %(path)s::jsonpath, %(vars)s::jsonb) OR rest ? '$json')",
            flow_key,
        )
        # What jsonb cannot hold is looked through here.
        return list({(log_id, created) for log_id, created, rest in rows if rest is None or self._holds(rest)})

    def _holds(self, packed: str) -> bool:
        return row_has(unpack(packed), self._name, self._words)

    def _logs(self, cursor: Cursor, flow_key: int, table: str) -> list[int]:
        rows = self._select(
            cursor,
            f"SELECT log_id, CASE WHEN extra ? '$json' AND NOT ({self._column()}) IS TRUE THEN extra::text END"
            f" FROM archive.{table} WHERE flow_key = %(flow_key)s AND ({self._column()}"
            " OR jsonb_path_exists(extra, %(path)s::jsonpath, %(vars)s::jsonb) OR extra ? '$json')",
            flow_key,
        )
        return [log_id for log_id, extra in rows if extra is None or self._holds(extra)]

    def _details(self, cursor: Cursor, flow_key: int, lines: Sequence[int]) -> list[tuple[int, int]]:
        """Files whose document has it, that nobody can read but that mention it, and those of lines that go."""
        rows = self._select(
            cursor,
            "SELECT log_type, log_id, (log_type = 3 AND log_id = ANY(%(lines)s))"
            " OR jsonb_path_exists(document, %(path)s::jsonpath, %(vars)s::jsonb) IS TRUE FROM archive.detail"
            " WHERE flow_key = %(flow_key)s AND outcome <> 'erased' AND (log_type = 3 AND log_id = ANY(%(lines)s)"
            " OR jsonb_path_exists(document, %(path)s::jsonpath, %(vars)s::jsonb)"
            " OR (body IS NOT NULL AND (document IS NULL OR document_changes IS NOT NULL)))",
            flow_key,
            lines=list(lines),
        )
        return [
            (kind, log_id) for kind, log_id, sure in rows if sure or self._mentioned(cursor, flow_key, kind, log_id)
        ]

    def _mentioned(self, cursor: Cursor, flow_key: int, log_type: int, log_id: int) -> bool:
        ((body, form),) = self._select(
            cursor,
            "SELECT body, body_form FROM archive.detail"
            " WHERE flow_key = %(flow_key)s AND log_type = %(type)s AND log_id = %(id)s",
            flow_key,
            type=log_type,
            id=log_id,
        )
        return any(mentions(content, self._value) for content in contents(bytes(body), form))

    def _quarantined(self, cursor: Cursor, flow_key: int) -> list[tuple[int, int]]:
        rows = self._select(
            cursor,
            "SELECT log_type, src_hash, source FROM archive.quarantine WHERE flow_key = %(flow_key)s",
            flow_key,
        )
        return [(kind, number) for kind, number, source in rows if has(load_exact(source), self._name, self._words)]

    # --- erasing ---

    def erase(self, found: Found) -> None:
        """Erase what was found, a batch at a time, while no pass writes to the flow."""
        for start in range(0, len(found.lines), BATCH):
            with self._transaction(found.flow_key) as ledger:
                self._erase_lines(ledger, found.lines[start : start + BATCH])
        for log_type, ids in ((RUN, found.runs), (STEP, found.steps)):
            for start in range(0, len(ids), BATCH):
                with self._transaction(found.flow_key) as ledger:
                    self._mask_logs(ledger, log_type, ids[start : start + BATCH])
        for start in range(0, len(found.details), BATCH):
            with self._transaction(found.flow_key) as ledger:
                self._erase_details(ledger, found.details[start : start + BATCH])
        with self._transaction(found.flow_key) as ledger:
            ledger.execute(
                "UPDATE archive.quarantine SET source = '{}', reason = %(reason)s WHERE flow_key = %(flow_key)s"
                " AND (log_type, src_hash) IN (SELECT * FROM unnest(%(types)s::int[], %(hashes)s::bigint[]))",
                reason=REASON,
                types=[kind for kind, _ in found.quarantined],
                hashes=[number for _, number in found.quarantined],
            )

    @contextmanager
    def _transaction(self, flow_key: int) -> Iterator[_Rows]:
        with translated(), self._engine.begin() as connection:
            connection.execute(
                text("SELECT FROM archive.checkpoint WHERE flow_key = :flow_key FOR NO KEY UPDATE"),
                {"flow_key": flow_key},
            )
            rows = _Rows(cursor_of(connection), flow_key)
            yield rows
            rows.execute(
                "UPDATE archive.checkpoint c SET tombstones ="
                " (SELECT count(*) FROM archive.tombstone t WHERE t.flow_key = c.flow_key)"
                " WHERE flow_key = %(flow_key)s"
            )

    @staticmethod
    def _erase_lines(rows: _Rows, lines: Sequence[tuple[int, Any]]) -> None:
        bind = {"ids": [log_id for log_id, _ in lines], "times": [created for _, created in lines]}
        gone = rows.execute(
            "DELETE FROM archive.line l USING unnest(%(ids)s::bigint[], %(times)s::timestamptz[]) AS one(id, created)"
            " WHERE l.flow_key = %(flow_key)s AND l.log_id = one.id AND l.created = one.created"
            f" RETURNING l.log_id, l.error_key, {errors.RUN_ID[LINE].replace('original', 'l.original')},"
            f" {errors.MOMENT.replace('created', 'l.created')}",
            **bind,
        ).fetchall()
        rows.bury(LINE, bind["ids"], None)
        hits = [Hit(key, run_id, LINE, log_id, moment) for log_id, key, run_id, moment in gone if key is not None]
        errors.move(rows.cursor, rows.flow_key, hits, ())

    def _mask_logs(self, rows: _Rows, log_type: int, ids: Sequence[int]) -> None:
        table = TABLES[log_type]
        if self._name in COLUMNS:
            rows.execute(
                f"UPDATE archive.{table} SET {self._name} = %(mask)s WHERE flow_key = %(flow_key)s"
                f" AND log_id = ANY(%(ids)s) AND {self._name} IS NOT NULL",
                ids=list(ids),
                mask=MASK,
            )
        extras = rows.execute(
            f"SELECT log_id, extra::text FROM archive.{table}"
            " WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s) AND extra IS NOT NULL",
            ids=list(ids),
        ).fetchall()
        for log_id, extra in extras:
            rows.execute(
                f"UPDATE archive.{table} SET extra = %(extra)s WHERE flow_key = %(flow_key)s AND log_id = %(id)s",
                extra=pack(mask_fields(unpack(extra), [self._name])),
                id=log_id,
            )
        rows.bury(log_type, ids, [self._name])
        for log_id in ids:
            rows.ledger.recognise_again(log_type, log_id)

    @staticmethod
    def _erase_details(rows: _Rows, details: Sequence[tuple[int, int]]) -> None:
        for log_type in {kind for kind, _ in details}:
            ids = [log_id for kind, log_id in details if kind == log_type]
            rows.execute(
                "UPDATE archive.detail SET outcome = 'erased', body = NULL, body_form = NULL, sha256 = NULL,"
                " byte_size = NULL, document = NULL, document_changes = NULL, message = NULL, next_attempt_at = NULL,"
                " error = %(reason)s"
                " WHERE flow_key = %(flow_key)s AND log_type = %(type)s AND log_id = ANY(%(ids)s)",
                reason=REASON,
                type=log_type,
                ids=ids,
            )
            rows.bury(log_type, ids, [])
            for log_id in ids:
                rows.ledger.recognise_again(log_type, log_id)


class _Rows:
    """One transaction on a flow, under its lock."""

    def __init__(self, cursor: Cursor, flow_key: int) -> None:
        self.cursor = cursor
        self.flow_key = flow_key
        self.ledger = Ledger(cursor, flow_key)

    def execute(self, statement: str, **bind: Any) -> Cursor:
        return execute(self.cursor, statement, {"flow_key": self.flow_key, **bind})

    def bury(self, log_type: int, ids: Sequence[int], masked: Sequence[str] | None) -> None:
        """Tombstones: `masked` None where the log has gone, the names of fields where it stays without them."""
        self.execute(
            "INSERT INTO archive.tombstone AS t (flow_key, log_type, log_id, masked)"
            " SELECT %(flow_key)s, %(type)s, unnest(%(ids)s::bigint[]), %(masked)s::text[]"
            " ON CONFLICT (flow_key, log_type, log_id) DO UPDATE SET masked ="
            " CASE WHEN t.masked IS NOT NULL AND excluded.masked IS NOT NULL THEN"
            " ARRAY(SELECT DISTINCT m FROM unnest(t.masked || excluded.masked) m ORDER BY 1) END",
            type=log_type,
            ids=list(dict.fromkeys(ids)),
            masked=None if masked is None else list(masked),
        )
