"""Finding lines by the values of their fields, among tens of millions.

Postgres cannot know how often a value occurs, and `ORDER BY created LIMIT 50` can make it walk through a whole flow for
a value that is not there. So the question is put in the bounded form: take some lines that match, and sort these. Where
there are more of them than were taken, those tell in how much time the newest should be found: that time is asked.
Where it does not hold enough, the newest lines are looked through. Where that does not yield enough, either, it tells
how far back the others may be: that time is asked, and then months one after the other, each in the bounded form.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import NamedTuple, cast

from archiver.logs.exact import RAW
from archiver.queries.criteria import Bind, Criterion, odd_values
from archiver.queries.names import STATUSES
from archiver.queries.partitions import PARTITIONS, spans
from archiver.queries.reader import BATCH, Reader, Row
from archiver.schema import search_index

FEW = 500  # lines that are sorted in one go
MANY = 10_000  # of a month
# Lines that are looked through one by one; more where one of so many has the value, else an index is quicker.
RECENT = 1_000
RECENT_MORE = 8_000
WORTH_MORE = 150
# How many times the time that seems to be needed is asked, and where that is not enough.
WIDER = 2
WIDER_STILL = 8
CENTURY = 100 * 365 * 86_400.0  # seconds


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


class _Recent(NamedTuple):
    """What the newest lines of each flow have: `edge` is how far back they go, None at the beginning; `seconds` how
    long ago that was when the newest was written."""

    keys: list[Key]
    edge: datetime | str | None
    seconds: float


class Key(NamedTuple):
    """Names a line. `created` is Postgres's text, exact; `epoch` the same in seconds, to sort by. `status` as a number:
    see `archiver.logs.Status`."""

    epoch: float
    flow_key: int
    log_id: int
    created: str
    status: int | None = None


def search(reader: Reader, which: Search, limit: int | None = None) -> Iterator[Row]:
    """Rows of reporting.line, newest first."""
    return rows_of(reader, keys(reader, which, limit))


def keys(reader: Reader, which: Search, limit: int | None = None, *, oldest_first: bool = False) -> Iterator[Key]:
    """Of which lines, in their order. `limit` takes from the newest, so that it excludes `oldest_first`."""
    hunt = _Hunt(reader, which, oldest_first=oldest_first)
    found = heapq.merge(hunt.lines(limit), hunt.odd_lines(), reverse=not oldest_first)
    return islice(found, limit)


def newest(reader: Reader, which: Search, limit: int) -> tuple[list[Key], bool]:
    """The newest lines, the newest first: all of them where there are few, else `limit`; and whether they are all."""
    hunt = _Hunt(reader, which, oldest_first=False)
    few = hunt.few()
    lines = iter(few) if few is not None else hunt.many(limit)
    found = list(islice(heapq.merge(lines, hunt.odd_lines(), reverse=True), None if few is not None else limit))
    return found, few is not None or len(found) < limit


def field_names(reader: Reader, flow_keys: Sequence[int] | None = None) -> list[str]:
    """The names of all fields without a column that lines of these flows have, or ever had."""
    rows = reader.rows(
        "SELECT DISTINCT name FROM archive.field WHERE %(keys)s::int[] IS NULL OR flow_key = ANY(%(keys)s) ORDER BY 1",
        keys=None if flow_keys is None else list(flow_keys),
    )
    return [row["name"] for row in rows if row["name"] != RAW]


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


_KEY = "extract(epoch FROM created)::float8 AS epoch, flow_key, log_id, created::text AS moment, status"
_ORDER = {False: "created DESC, flow_key DESC, log_id DESC", True: "created, flow_key, log_id"}
_MAY_BE_ODD = f"""
    EXISTS (
        SELECT FROM archive.field
        WHERE name = '{RAW}' AND (%(only)s::int[] IS NULL OR flow_key = ANY(%(only)s))
    ) AS may_be_odd
"""
# Always one row at least: whether lines may be found by what jsonb cannot hold is asked with it.
_BOUNDED = f"""
    WITH matches AS MATERIALIZED (
        SELECT l.created, l.flow_key, l.log_id, l.status FROM archive.line l WHERE {{where}} LIMIT {{bound}}
    )
    SELECT found.*, odd.may_be_odd FROM (SELECT {_MAY_BE_ODD}) odd
    LEFT JOIN (
        SELECT {_KEY}, count(*) OVER () AS found{{spread}} FROM matches ORDER BY {{order}} LIMIT %(most)s
    ) found ON true
"""
# Seconds from the oldest to the newest line that was taken.
_SPREAD = ", extract(epoch FROM max(created) OVER () - min(created) OVER ())::float8 AS spread"
_LAST = """
    SELECT max(l.created) AS last FROM unnest(%(keys)s::int[]) AS f (flow_key)
    CROSS JOIN LATERAL (
        SELECT created FROM archive.line l WHERE l.flow_key = f.flow_key AND {span} ORDER BY created DESC LIMIT 1
    ) l
"""
# The newest lines of each flow, as many of each; what is newer than the oldest of these of any flow is complete. Always
# one row at least, for `edge` and the time from the newest line back to it.
_RECENT = f"""
    WITH looked AS MATERIALIZED (
        SELECT l.created, l.flow_key, l.log_id, l.status, {{where}} AS found
        FROM unnest(%(keys)s::int[]) AS f (flow_key)
        CROSS JOIN LATERAL (
            SELECT * FROM archive.line l WHERE l.flow_key = f.flow_key AND {{span}} ORDER BY created DESC LIMIT %(each)s
        ) l
    ), edge AS (
        SELECT max(oldest) AS edge, max(newest) AS newest
        FROM (
            SELECT CASE WHEN count(*) = %(each)s THEN min(created) END AS oldest, max(created) AS newest
            FROM looked GROUP BY flow_key
        ) flows
    )
    SELECT edge.edge, extract(epoch FROM newest - edge.edge)::float8 AS seconds, found.* FROM edge
    LEFT JOIN (
        SELECT {_KEY} FROM looked, edge WHERE found AND (edge IS NULL OR created > edge)
        ORDER BY {{order}} LIMIT %(most)s
    ) found ON true
"""
_ORDERED = f"""
    SELECT {_KEY} FROM unnest(%(keys)s::int[]) AS f (flow_key)
    CROSS JOIN LATERAL (
        SELECT l.created, l.log_id, l.status FROM archive.line l WHERE l.flow_key = f.flow_key AND {{where}}
        ORDER BY l.created DESC, l.log_id DESC LIMIT %(most)s
    ) l
    ORDER BY {{order}} LIMIT %(most)s
"""
_EVERY = f"SELECT {_KEY} FROM archive.line l WHERE {{where}} ORDER BY {{order}}"
_ODD = f"SELECT {_KEY}, rest ->> '$json' AS odd, {{each}} FROM archive.line l WHERE {{where}} ORDER BY {{order}}"

_KNOWN = """
    SELECT
        ARRAY(
            SELECT flow_key FROM archive.flow
            WHERE %(only)s::int[] IS NULL OR flow_key = ANY(%(only)s) ORDER BY flow_key
        ) AS flows,
        ARRAY(
            SELECT name FROM unnest(%(indexes)s::text[]) AS wanted (name)
            WHERE to_regclass('archive.' || name) IS NOT NULL
        ) AS indexed
"""


class _Hunt:
    """One search under way. What it has to know of the archive it asks when that is needed: rare values are found
    without."""

    def __init__(self, reader: Reader, which: Search, *, oldest_first: bool) -> None:
        self._reader = reader
        self._which = which
        self._oldest_first = oldest_first
        self._bind = Bind(only=None if which.flow_keys is None else list(which.flow_keys))
        self._may_be_odd: bool | None = None
        self._spread: float | None = None  # seconds, of more than a few lines that match
        names = field_names(reader, which.flow_keys) if any(one.field is None for one in which.criteria) else []
        self._met = [one.condition(self._bind, names) for one in which.criteria]
        # Columns have no index of their own: what only they narrow is looked through, the newest first.
        self._selective = which.run_ids is not None or any(one.is_selective for one in which.criteria)
        self._scope = list(self._scopes())

    def _scopes(self) -> Iterator[str]:
        which, add = self._which, self._bind.add
        if which.run_ids is not None:
            yield f"l.original_filename_uuid = ANY({add(list(which.run_ids))}::text[])"
        if which.statuses:
            numbers = [STATUSES[word] for word in which.statuses if word in STATUSES]
            known = f"l.status = ANY({add(numbers)}::smallint[])"
            yield f"({known} OR l.status NOT BETWEEN 1 AND 4)" if "unknown" in which.statuses else known
        if which.since is not None:
            yield f"l.created >= {add(which.since)}::timestamptz"
        if which.until is not None:
            yield f"l.created < {add(which.until)}::timestamptz"

    @cached_property
    def _flows(self) -> list[int]:
        """The flows that are searched. From here on their indexes and those of declared fields are used."""
        criteria = self._which.criteria
        fields = {search_index("line", one.field): one.field for one in criteria if one.field is not None}
        (known,) = self._reader.rows(_KNOWN, **self._bind, indexes=list(fields))
        indexed = {fields[name] for name in known["indexed"]}
        self._met += [one.by_index(self._bind) for one in criteria if one.field in indexed and one.is_indexable]
        self._scope.insert(0, f"l.flow_key = ANY({self._bind.add(known['flows'])}::int[])")
        return cast("list[int]", known["flows"])

    def few(self, most: int | None = None) -> list[Key] | None:
        """The lines, or the first `most` of them, where they are few and an index finds them."""
        which = self._which
        if not self._selective:
            return None
        by_flow = which.flow_keys is not None or which.run_ids is not None
        if (by_flow or any(one.has_column for one in which.criteria)) and not self._flows:
            return []
        found, total, self._spread = self._bounded(FEW, FEW if most is None else min(most, FEW), spread=_SPREAD)
        return found if total <= FEW else None

    def lines(self, limit: int | None) -> Iterator[Key]:
        """All but those that are found by what jsonb cannot hold alone."""
        few = self.few(limit)
        yield from self.many(limit) if few is None else few

    def many(self, limit: int | None) -> Iterator[Key]:
        """The same where they are more than a few."""
        if self._flows:
            newest = None if limit is None or limit > FEW else self._newest(limit)
            yield from self._by_month(limit) if newest is None else newest

    def _newest(self, limit: int) -> list[Key] | None:
        """The newest lines, where they are found in the time that passed last."""
        if self._spread and (found := self._in_last(limit, self._spread / FEW)) is not None:
            return found
        recent = self._recent(limit, RECENT)
        if limit > len(recent.keys) >= RECENT // WORTH_MORE:
            recent = self._recent(limit, RECENT_MORE)
        if len(recent.keys) == limit or recent.edge is None:
            return recent.keys
        return self._in_window(limit, recent) if self._selective else None

    def _in_window(self, limit: int, recent: _Recent) -> list[Key] | None:
        """The same, in about the time in which there should be so many."""
        seconds = recent.seconds * WIDER * limit / (len(recent.keys) + 1)
        if not isinstance(recent.edge, datetime) or not 0 < seconds < CENTURY:
            return None
        for wider in (1, WIDER_STILL):
            found, total = self._after(recent.edge - timedelta(seconds=seconds * wider), limit)
            if total > MANY:
                return None
            if len(found) == limit:
                return found
        return None

    def _in_last(self, limit: int, apart: float) -> list[Key] | None:
        """The same in one try, where lines that match are so many seconds apart."""
        (row,) = self._reader.rows(self._text(_LAST, span=self._span()), **self._bind, keys=self._flows)
        seconds = apart * limit * WIDER
        if not isinstance(row["last"], datetime) or not 0 < seconds < CENTURY:
            return None
        found, total = self._after(row["last"] - timedelta(seconds=seconds), limit)
        return found if len(found) == limit and total <= MANY else None

    def _after(self, since: datetime, limit: int) -> tuple[list[Key], int]:
        found, total, _ = self._bounded(MANY, limit, f"l.created >= '{since.isoformat()}'")
        return found, total

    def _by_month(self, limit: int | None) -> Iterator[Key]:
        left = limit
        for span in self._spans():
            if left is None or left > FEW:
                found = self._every(span)
            else:
                few, total, _ = self._bounded(MANY, left, span) if self._selective else ([], MANY + 1, None)
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
        if not criteria or not self._has_odd():
            return
        each = ", ".join(f"{condition} AS met_{number}" for number, condition in enumerate(self._met[: len(criteria)]))
        where = self._where("l.rest ? '$json'", criteria=False)
        for row in self._reader.stream(self._text(_ODD, where=where, each=each), **self._bind):
            odd = odd_values(row["odd"] or "{}")
            met = [bool(row[f"met_{number}"]) for number in range(len(criteria))]
            if not all(met) and all(so or one.is_met_by(odd) for so, one in zip(met, criteria, strict=True)):
                yield _key(row)

    def _has_odd(self) -> bool:
        if self._may_be_odd is None:
            (row,) = self._reader.rows(f"SELECT {_MAY_BE_ODD}", **self._bind)
            self._may_be_odd = row["may_be_odd"]
        return bool(self._may_be_odd and self._flows)

    def _bounded(self, bound: int, most: int, *span: str, spread: str = "") -> tuple[list[Key], int, float | None]:
        """The newest `most` of at most `bound` lines, which is exact where there are no more of them; how many there
        are, counted to one beyond the bound; and how far these lie apart, where that is asked (`_SPREAD`)."""
        text = self._text(_BOUNDED, where=self._where(*span), bound=str(bound + 1), spread=spread)
        rows = self._reader.rows(text, **self._bind, most=most)
        self._may_be_odd = rows[0]["may_be_odd"]
        return self._sorted(rows), rows[0]["found"] or 0, rows[0].get("spread")

    def _recent(self, limit: int, count: int) -> _Recent:
        text = self._text(_RECENT, where=self._where(), span=self._span())
        each = max(50, count // len(self._flows))
        rows = self._reader.rows(text, **self._bind, keys=self._flows, each=each, most=limit)
        return _Recent(self._sorted(rows), rows[0]["edge"], rows[0]["seconds"])

    def _sorted(self, rows: list[Row]) -> list[Key]:
        return sorted((_key(row) for row in rows if row["log_id"] is not None), reverse=not self._oldest_first)

    def _ordered(self, limit: int, span: str) -> list[Key]:
        text = self._text(_ORDERED, where=self._where(span))
        return [_key(row) for row in self._reader.rows(text, **self._bind, keys=self._flows, most=limit)]

    def _every(self, span: str) -> Iterator[Key]:
        return map(_key, self._reader.stream(self._text(_EVERY, where=self._where(span)), **self._bind))

    def _span(self) -> str:
        return " AND ".join(one for one in self._scope if one.startswith("l.created")) or "TRUE"

    def _where(self, *more: str, criteria: bool = True) -> str:
        return " AND ".join([*self._scope, *(self._met if criteria else ()), *more]) or "TRUE"

    def _text(self, statement: str, **parts: str) -> str:
        return statement.format(order=_ORDER[self._oldest_first], **parts)

    def _spans(self) -> list[str]:
        """All of time, cut where the partitions are, in the order of this search."""
        found = spans([(row["month"],) for row in self._reader.rows(PARTITIONS)])
        return found if self._oldest_first else found[::-1]


def _key(row: Row) -> Key:
    return Key(row["epoch"], row["flow_key"], row["log_id"], row["moment"], row["status"])
