"""Finding lines by the values of their fields, among tens of millions.

Postgres cannot know how often a value occurs, and `ORDER BY created LIMIT 50` can make it walk through a whole flow for
a value that is not there. So the question is put in the bounded form: take some lines that match, and sort these. Where
there are more of them than were taken, the newest lines are looked through; where that does not yield enough, months
are asked one after the other, each in the bounded form.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from archiver.queries.criteria import Bind, Criterion, odd_values
from archiver.queries.reader import BATCH, Reader, Row
from archiver.tables import search_index

ODD = "$json"  # the name under which `rest` keeps what jsonb cannot hold: archiver.logs.exact.RAW
FEW = 500  # lines that are sorted in one go
MANY = 10_000  # of a month
# Lines that are looked through one by one; more where one of so many has the value, else an index is quicker.
RECENT = 1_000
RECENT_MORE = 8_000
WORTH_MORE = 150


_STATUSES = {"in_progress": [1], "success": [2], "failed": [3], "empty": [4]}


@dataclass(frozen=True, slots=True)
class Search:
    """Lines that meet all criteria; None and empty mean all. `since` is the first moment that counts, `until` the
    first that does not."""

    criteria: Sequence[Criterion] = ()
    flow_keys: Sequence[int] | None = None
    run_ids: Sequence[str] | None = None
    statuses: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


class Key(NamedTuple):
    """Names a line. `created` is Postgres's text, exact; `epoch` the same in seconds, to sort by."""

    epoch: float
    flow_key: int
    log_id: int
    created: str


def search(reader: Reader, which: Search, limit: int | None = None) -> Iterator[Row]:
    """Rows of reporting.line, newest first."""
    return rows_of(reader, keys(reader, which, limit))


def keys(reader: Reader, which: Search, limit: int | None = None, *, oldest_first: bool = False) -> Iterator[Key]:
    """Of which lines, in their order. `limit` takes from the newest, so that it excludes `oldest_first`."""
    hunt = _Hunt(reader, which, oldest_first=oldest_first)
    found = heapq.merge(hunt.lines(limit), hunt.odd_lines(), reverse=not oldest_first)
    return islice(found, limit)


def field_names(reader: Reader, flow_keys: Sequence[int] | None = None) -> list[str]:
    """The names of all fields without a column that lines of these flows have, or ever had."""
    rows = reader.rows(
        "SELECT DISTINCT name FROM archive.field WHERE %(keys)s::int[] IS NULL OR flow_key = ANY(%(keys)s) ORDER BY 1",
        keys=None if flow_keys is None else list(flow_keys),
    )
    return [row["name"] for row in rows if row["name"] != ODD]


_ROWS = """
    SELECT v.* FROM unnest(%(flow_keys)s::int[], %(log_ids)s::bigint[], %(created)s::timestamptz[])
        WITH ORDINALITY AS k (flow_key, log_id, created, place)
    JOIN reporting.line v ON v.flow_key = k.flow_key AND v.log_id = k.log_id AND v.created_at = k.created
    WHERE v.created_at BETWEEN %(oldest)s::timestamptz AND %(newest)s::timestamptz
    ORDER BY k.place
"""


def rows_of(reader: Reader, some: Iterator[Key]) -> Iterator[Row]:
    """The lines' rows of reporting.line, in the order of the keys."""
    while batch := list(islice(some, BATCH)):
        yield from reader.rows(
            _ROWS,
            flow_keys=[key.flow_key for key in batch],
            log_ids=[key.log_id for key in batch],
            created=[key.created for key in batch],
            oldest=min(batch).created,
            newest=max(batch).created,
        )


_KEY = "extract(epoch FROM created)::float8 AS epoch, flow_key, log_id, created::text AS moment"
_ORDER = {False: "created DESC, flow_key DESC, log_id DESC", True: "created, flow_key, log_id"}
_BOUNDED = """
    WITH matches AS MATERIALIZED (
        SELECT l.created, l.flow_key, l.log_id FROM archive.line l WHERE {where} LIMIT {bound}
    )
    SELECT {key}, count(*) OVER () AS found FROM matches ORDER BY {order} LIMIT %(most)s
"""
# The newest lines of each flow, as many of each; what is newer than the oldest of these of any flow is complete.
_RECENT = """
    WITH looked AS MATERIALIZED (
        SELECT l.created, l.flow_key, l.log_id, {where} AS found
        FROM unnest(%(keys)s::int[]) AS f (flow_key)
        CROSS JOIN LATERAL (
            SELECT * FROM archive.line l WHERE l.flow_key = f.flow_key AND {span} ORDER BY created DESC LIMIT %(each)s
        ) l
    ), edge AS (
        SELECT max(oldest) AS edge
        FROM (SELECT min(created) AS oldest FROM looked GROUP BY flow_key HAVING count(*) = %(each)s) flows
    )
    SELECT {key} FROM looked, edge WHERE found AND (edge IS NULL OR created > edge) ORDER BY {order} LIMIT %(most)s
"""
_ORDERED = """
    SELECT {key} FROM unnest(%(keys)s::int[]) AS f (flow_key)
    CROSS JOIN LATERAL (
        SELECT l.created, l.log_id FROM archive.line l WHERE l.flow_key = f.flow_key AND {where}
        ORDER BY l.created DESC, l.log_id DESC LIMIT %(most)s
    ) l
    ORDER BY {order} LIMIT %(most)s
"""
_EVERY = "SELECT {key} FROM archive.line l WHERE {where} ORDER BY {order}"
_ODD = "SELECT {key}, rest ->> '$json' AS odd, {each} FROM archive.line l WHERE {where} ORDER BY {order}"

_KNOWN = f"""
    SELECT
        ARRAY(
            SELECT flow_key FROM archive.flow
            WHERE %(keys)s::int[] IS NULL OR flow_key = ANY(%(keys)s) ORDER BY flow_key
        ) AS flows,
        EXISTS (
            SELECT FROM archive.field
            WHERE name = '{ODD}' AND (%(keys)s::int[] IS NULL OR flow_key = ANY(%(keys)s))
        ) AS may_be_odd,
        ARRAY(
            SELECT name FROM unnest(%(indexes)s::text[]) AS wanted (name)
            WHERE to_regclass('archive.' || name) IS NOT NULL
        ) AS indexed
"""


class _Hunt:
    """One search under way."""

    def __init__(self, reader: Reader, which: Search, *, oldest_first: bool) -> None:
        self._reader = reader
        self._which = which
        self._oldest_first = oldest_first
        self._bind = Bind()
        fields = {search_index("line", one.field): one.field for one in which.criteria if one.field is not None}
        (known,) = reader.rows(
            _KNOWN, keys=None if which.flow_keys is None else list(which.flow_keys), indexes=list(fields)
        )
        self._flows = known["flows"]
        self._may_be_odd = known["may_be_odd"]
        indexed = {fields[name] for name in known["indexed"]}
        names = field_names(reader, self._flows) if any(one.field is None for one in which.criteria) else []
        self._met = [
            one.condition(self._bind, names, indexed=one.field is not None and one.field in indexed)
            for one in which.criteria
        ]
        # Columns have no index of their own: what only they narrow is looked through, the newest first.
        self._selective = which.run_ids is not None or any(one.is_selective for one in which.criteria)
        self._scope = list(self._scopes())

    def _scopes(self) -> Iterator[str]:
        which, add = self._which, self._bind.add
        yield f"l.flow_key = ANY({add(self._flows)}::int[])"
        if which.run_ids is not None:
            yield f"l.original_filename_uuid = ANY({add(list(which.run_ids))}::text[])"
        if which.statuses:
            numbers = [number for word in which.statuses for number in _STATUSES.get(word, ())]
            known = f"l.status = ANY({add(numbers)}::smallint[])"
            yield f"({known} OR l.status NOT BETWEEN 1 AND 4)" if "unknown" in which.statuses else known
        if which.since is not None:
            yield f"l.created >= {add(which.since)}::timestamptz"
        if which.until is not None:
            yield f"l.created < {add(which.until)}::timestamptz"

    def lines(self, limit: int | None) -> Iterator[Key]:
        """All but those that are found by what jsonb cannot hold alone."""
        if not self._flows:
            return
        if self._selective:
            found, total = self._bounded(FEW, FEW if limit is None else min(limit, FEW))
            if total <= FEW:
                yield from found
                return
        if limit is not None and limit <= FEW:
            recent = self._recent(limit, RECENT)
            if limit > len(recent) >= RECENT // WORTH_MORE:
                recent = self._recent(limit, RECENT_MORE)
            if len(recent) == limit:
                yield from recent
                return
        yield from self._by_month(limit)

    def _by_month(self, limit: int | None) -> Iterator[Key]:
        left = limit
        for span in self._spans():
            if left is None or left > FEW:
                found = self._every(span)
            else:
                few, total = self._bounded(MANY, left, span) if self._selective else ([], MANY + 1)
                found = iter(few if total <= MANY else self._ordered(left, span))
            for key in found:
                yield key
                if left is not None:
                    left -= 1
                    if not left:
                        return

    def odd_lines(self) -> Iterator[Key]:
        """Those that meet a criterion only with a value that jsonb cannot hold; there are few of them, if any."""
        criteria = self._which.criteria
        if not criteria or not self._may_be_odd:
            return
        each = ", ".join(f"{condition} AS met_{number}" for number, condition in enumerate(self._met))
        where = self._where("l.rest ? '$json'", criteria=False)
        for row in self._reader.stream(self._text(_ODD, where=where, each=each), **self._bind):
            odd = odd_values(row["odd"] or "{}")
            met = [bool(row[f"met_{number}"]) for number in range(len(criteria))]
            if not all(met) and all(so or one.is_met_by(odd) for so, one in zip(met, criteria, strict=True)):
                yield _key(row)

    def _bounded(self, bound: int, most: int, *span: str) -> tuple[list[Key], int]:
        """The newest `most` of at most `bound` lines, which is exact where there are no more of them; how many there
        are, counted to one beyond the bound."""
        text = self._text(_BOUNDED, where=self._where(*span), bound=str(bound + 1))
        rows = self._reader.rows(text, **self._bind, most=most)
        return [_key(row) for row in rows], rows[0]["found"] if rows else 0

    def _recent(self, limit: int, count: int) -> list[Key]:
        spans = [one for one in self._scope if one.startswith("l.created")]
        text = self._text(_RECENT, where=self._where(), span=" AND ".join(spans) or "TRUE")
        each = max(50, count // len(self._flows))
        rows = self._reader.rows(text, **self._bind, keys=self._flows, each=each, most=limit)
        return [_key(row) for row in rows]

    def _ordered(self, limit: int, span: str) -> list[Key]:
        text = self._text(_ORDERED, where=self._where(span))
        return [_key(row) for row in self._reader.rows(text, **self._bind, keys=self._flows, most=limit)]

    def _every(self, span: str) -> Iterator[Key]:
        return map(_key, self._reader.stream(self._text(_EVERY, where=self._where(span)), **self._bind))

    def _where(self, *more: str, criteria: bool = True) -> str:
        return " AND ".join([*self._scope, *(self._met if criteria else ()), *more]) or "TRUE"

    def _text(self, statement: str, **parts: str) -> str:
        return statement.format(key=_KEY, order=_ORDER[self._oldest_first], **parts)

    def _spans(self) -> list[str]:
        """All of time, cut where the partitions are, in the order of this search."""
        rows = self._reader.rows(
            "SELECT substring(relname FROM '_(\\d{6})$') AS month FROM pg_inherits JOIN pg_class ON oid = inhrelid"
            " WHERE inhparent = 'archive.line'::regclass AND relname ~ '^line_\\d{6}$' ORDER BY 1"
        )
        starts = [f"'{row['month'][:4]}-{row['month'][4:]}-01 00:00+00'" for row in rows]
        spans = [
            " AND ".join(
                [*([f"l.created >= {start}"] if start else []), *([f"l.created < {end}"] if end else [])] or ["TRUE"]
            )
            for start, end in zip(["", *starts], [*starts, ""], strict=True)
        ]
        return spans if self._oldest_first else spans[::-1]


def _key(row: Row) -> Key:
    return Key(row["epoch"], row["flow_key"], row["log_id"], row["moment"])
