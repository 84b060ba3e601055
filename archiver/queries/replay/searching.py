"""Searching lines: any number of fields, each with a value as it is spelled in a URL.

Few hits are found by the index and sorted. Many are read in their order, from the place where the page before ended.
How many there were the last time tells where to begin; every way is exact by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from archiver.logs import FIELDS
from archiver.logs.parse import FIELD_LENGTH
from archiver.logs.times import iso
from archiver.queries.criteria import Bind
from archiver.queries.originals import LINE_TEXT, line_text
from archiver.queries.replay.asking import Ask, Listing, Replay
from archiver.queries.replay.counting import Hits, count_of

WHOLE = 500  # hits that are sorted as whole lines
FEW = 10_000  # hits of which the keys are sorted
# What a value may be besides a string, in JSON. Longer numbers are no search of anybody's.
_SCALAR = re.compile(r"-?(?:0|[1-9]\d{0,39})(?:\.\d{1,40})?(?:[eE][+-]?\d{1,2})?|true|false|null", re.ASCII)

_COLUMNS = {name: "log_id" if name == "id" else name.lower() for name in FIELDS}
_NUMBERS = frozenset(
    ("id", "state", "status", "fragment_count", "process_count", "success_count", "fail_count", "log_type")
) | {"flow_order", "is_send_S3", "row_num"}
_TEXTS = frozenset(_COLUMNS) - {"created", "finished", "in_bound", "is_triggered"} - _NUMBERS
_TIMES = frozenset(("created", "finished"))
_TRUTHS = frozenset(("in_bound", "is_triggered"))


_WHOLE = f"""
    WITH hits AS MATERIALIZED (SELECT * {{found}} LIMIT {{few}})
    SELECT counted.n, page.* FROM (SELECT count(*) AS n FROM hits) counted
    LEFT JOIN LATERAL (
        SELECT created, {LINE_TEXT} FROM hits ORDER BY created DESC, log_id DESC OFFSET %(skip)s LIMIT %(limit)s
    ) page ON true ORDER BY page.created DESC, page.log_id DESC
"""
_FEW = """
    WITH hits AS MATERIALIZED (SELECT created, log_id {found} LIMIT {few})
    SELECT counted.n, page.created, page.log_id FROM (SELECT count(*) AS n FROM hits) counted
    LEFT JOIN LATERAL (
        SELECT created, log_id FROM hits ORDER BY created DESC, log_id DESC OFFSET %(skip)s LIMIT %(limit)s
    ) page ON true ORDER BY page.created DESC, page.log_id DESC
"""


def searched(replay: Replay, ask: Ask) -> Listing:
    """A page of the lines that every pair of field and value holds for."""
    bind = Bind(flow_key=ask.flow_key)
    where = ["flow_key = %(flow_key)s"]
    if ask.original_filename_uuid is not None:
        where.append(f"original_filename_uuid = {bind.add(ask.original_filename_uuid)}")
    if ask.filename_uuid is not None:
        where.append(f"filename_uuid = {bind.add(ask.filename_uuid)}")
    where += [_condition(field, value, bind.add) for field, value in ask.search]
    condition = " AND ".join(where)
    found = f"FROM archive.line WHERE {condition}"
    asked = ("size", ask._replace(page=1, limit=1))
    size = replay.memory.count(asked) or 0
    for most, ways in ((WHOLE, _whole), (FEW, _few)):
        if size <= most:
            size, page = ways(replay, ask, found, bind)
            if size <= most:
                return Listing(size, page)
            replay.memory.note_count(asked, size)
    return _many(replay, ask, condition, bind)


def _whole(replay: Replay, ask: Ask, found: str, bind: Bind) -> tuple[int, list[bytes]]:
    """How many hits there are, counted to one beyond WHOLE, and the page where there are no more."""
    statement = _WHOLE.format(found=found, few=WHOLE + 1)
    page = replay.rows(statement, **bind, skip=ask.offset, limit=ask.limit)
    return page[0][0], [line_text(row[2:]) for row in page if row[1] is not None]


def _few(replay: Replay, ask: Ask, found: str, bind: Bind) -> tuple[int, list[bytes]]:
    """The same, counted to one beyond FEW."""
    statement = _FEW.format(found=found, few=FEW + 1)
    page = replay.rows(statement, **bind, skip=ask.offset, limit=ask.limit)
    keys = [row[1:] for row in page if row[1] is not None]
    return page[0][0], _rows(replay, ask.flow_key, keys) if page[0][0] <= FEW else []


def _rows(replay: Replay, flow_key: int, keys: list[Any]) -> list[bytes]:
    if not keys:
        return []
    rows = replay.rows(
        f"SELECT {LINE_TEXT} FROM archive.line WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s)"
        " AND created BETWEEN %(oldest)s AND %(newest)s ORDER BY created DESC, log_id DESC",
        flow_key=flow_key,
        ids=[log_id for _, log_id in keys],
        oldest=keys[-1][0],
        newest=keys[0][0],
    )
    return [line_text(row) for row in rows]


def _many(replay: Replay, ask: Ask, where: str, bind: Bind) -> Listing:
    count, state = count_of(replay, ask, Hits(where, bind))
    key = (ask._replace(page=1, limit=1), state)
    if ask.offset >= count:
        return Listing(count, ())
    before, place = replay.memory.before(key, ask.offset)
    if place is not None:
        time, number = bind.add(place[0]), bind.add(place[1])
        where += f" AND (created, log_id) < ({time}, {number}) AND created <= {time}"
    skip, limit = bind.add(ask.offset - before), bind.add(ask.limit)
    rows = replay.rows(
        f"SELECT {LINE_TEXT}, created, log_id FROM archive.line WHERE {where}"
        f" ORDER BY created DESC, log_id DESC OFFSET {skip} LIMIT {limit}",
        **bind,
    )
    if rows:
        replay.memory.note(key, ask.offset + len(rows), rows[-1][-2:])
    return Listing(count, [line_text(row[:-2]) for row in rows])


def _condition(field: str, value: str, add: Callable[[Any], str]) -> str:
    """SQL that holds where the field, as text, is the value: strings bare, everything else as JSON."""
    meant = [json.dumps(value), *([value] if _SCALAR.fullmatch(value) else [])]
    documents = [f"{{{json.dumps(field)}: {one}}}" for one in meant]
    if field in _COLUMNS:
        beside = " OR ".join(f"rest @> {add(one)}::jsonb" for one in documents)
        return f"({_column(field, value, add)} OR {beside})"
    if len(value) > FIELD_LENGTH:
        return f"rest @> {add(documents[0])}::jsonb"
    return "(" + " OR ".join(f"fields @> {add(one)}::jsonb" for one in documents) + ")"


def _column(field: str, value: str, add: Callable[[Any], str]) -> str:
    name = _COLUMNS[field]
    if field == "triggered_by":  # its column goes without the line feed that it mostly ends with
        return f"triggered_by = {add(value.rstrip(chr(10)))}"
    if field in _TEXTS:
        return f"{name} = {add(value)}"
    if field in _TIMES:
        moment, exact = iso(value)
        return f"{name} = {add(moment)}::timestamptz" if exact else "false"
    if field in _TRUTHS:
        return f"{name} IS {value}" if value in ("true", "false") else "false"
    return f"{name} = {add(int(value))}" if re.fullmatch(r"-?\d{1,18}", value, re.ASCII) else "false"
