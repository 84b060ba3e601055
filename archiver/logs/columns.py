"""Rows with the same keys in the same order, by the column: each value is looked at once, and spelled as JSON once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import repeat
from typing import Any, NamedTuple

import orjson

from archiver.logs.rows import Row

EXACT = frozenset({str, int, bool, type(None)})  # what jsonb gives back as it is; of them, equal ones are the same

_COMMALESS = frozenset({int, float, bool, type(None)})

Values = Sequence[Any]


class Same(tuple[Any, ...]):
    """A column that has one value in all rows, which need be looked at only once."""

    __slots__ = ()


class Column(NamedTuple):
    """What rows have under one name, and of which types that is."""

    values: Values
    types: Set[type]


class Spelled(NamedTuple):
    """A column's values as JSON, or the one that all rows have. `quote`: what stands on both sides of each; of texts
    in which nothing is escaped, which are the same outside of JSON."""

    texts: Sequence[bytes] | bytes
    quote: bytes = b""


def columns_of(rows: Sequence[Row]) -> dict[str, Column]:
    """What rows with the same keys in the same order have, by name."""
    columns: dict[str, Column] = {}
    for name, values in zip(rows[0], zip(*[row.values() for row in rows], strict=True), strict=True):
        first = values[0]
        # 1 is True and 1.0, 0.0 is -0.0, and what is in a list may be as well: only a text is equal to itself alone.
        is_same = type(first) in EXACT and first == values[-1] and values.count(first) == len(values)
        types = {str} if is_same and type(first) is str else set(map(type, values))
        columns[name] = Column(Same(values) if is_same and len(types) == 1 else values, types)
    return columns


def spelled(column: Column) -> Spelled:
    """A column's values as JSON, objects with sorted keys. Raises TypeError where orjson cannot write one of them.

    What orjson returns keeps some 4 kB, however short it is; a part of it does not.
    """
    values, types = column
    if type(values) is Same:
        return Spelled(orjson.dumps(values[:1])[1:-1])
    if types <= _COMMALESS:
        return Spelled(orjson.dumps(values)[1:-1].split(b","))
    if types == {str} and b"\\" not in (joined := orjson.dumps(values)):
        return Spelled(joined[2:-2].split(b'","'), b'"')
    # In a list, so that what a whole row would nest too deeply raises here as well.
    return Spelled([orjson.dumps([value], None, orjson.OPT_SORT_KEYS)[1:-1] for value in values])


def objects(fields: Mapping[str, Spelled], number: int) -> list[bytes]:
    """The JSON text of so many objects with these fields, as orjson writes it."""
    parts: list[Sequence[bytes] | bytes] = [b"{"]
    for place, (name, (texts, quote)) in enumerate(fields.items()):
        parts += ((b"," if place else b"") + orjson.dumps(name) + b":" + quote, texts, quote)
    return woven((*parts, b"}"), number)


def woven(parts: Iterable[Sequence[bytes] | bytes], number: int) -> list[bytes]:
    """So many rows, each with what `parts` has of it in turn: texts that are in all rows, and columns of texts."""
    threads: list[Iterable[bytes]] = []
    same: list[bytes] = []  # neighbours that are the same in all rows
    for part in parts:
        if isinstance(part, bytes):
            same.append(part)
        else:
            threads += (repeat(b"".join(same), number), part)
            same = []
    threads.append(repeat(b"".join(same), number))
    return [*map(b"".join, zip(*threads, strict=True))]
