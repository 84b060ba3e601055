"""Rows as COPY's text has them, in UTF-8, without the line feed at their end.

A row is rendered once, mostly by the column and in the thread that fetched it, and goes to Postgres as it is. What a
line has in it can be read back from its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from archiver.logs import Line
from archiver.logs.columns import Same, Values, woven
from archiver.logs.parse import TYPES

NULL = rb"\N"
_SPECIAL = re.compile(rb"[\\\t\n\r]")
_ESCAPES = {b"\\": rb"\\", b"\t": rb"\t", b"\n": rb"\n", b"\r": rb"\r"}
_ESCAPED = re.compile(rb"\\(.)")
_PLAIN = {escape[1:]: plain for plain, escape in _ESCAPES.items()}


def text_of(row: Iterable[Any]) -> bytes:
    """One row of texts, integers, booleans and nulls."""
    return b"\t".join(map(_value, row))


def texts_of(columns: Sequence[Values]) -> list[bytes]:
    """Rows that are given by the column, each column of one type, or null; JSON as text or in UTF-8."""
    parts: list[Sequence[bytes] | bytes] = []
    for place, column in enumerate(columns):
        parts += (b"\t" if place else b"", _value(column[0]) if type(column) is Same else _values(column))
    return woven(parts, len(columns[0]))


def line_of(text: bytes) -> Line:
    """The line that a text of all columns of `Line` was made of."""
    return Line._make(
        None if value == NULL else read(value) for read, value in zip(_READ, text.split(b"\t"), strict=True)
    )


def _value(value: Any) -> bytes:
    """A text, an integer, a boolean, null, or JSON in UTF-8."""
    if value is None:
        return NULL
    if isinstance(value, str):
        return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], value.encode())
    if isinstance(value, bytes):  # of what is special here, JSON has backslashes alone as they are
        return value.replace(b"\\", rb"\\")
    if isinstance(value, bool):
        return b"t" if value else b"f"
    return b"%d" % value


def _values(column: Values) -> Sequence[bytes]:
    """Each value of a column; all at once where it has one type, and texts no line feed."""
    types = set(map(type, column))
    if types == {int}:
        return orjson.dumps(column)[1:-1].split(b",")
    if types == {bytes} and b"\\" not in b"".join(column):
        return column
    if types != {str} or (joined := "\n".join(column).encode()).count(b"\n") >= len(column):
        return [*map(_value, column)]
    for plain, escape in _ESCAPES.items():
        if plain != b"\n":
            joined = joined.replace(plain, escape)
    return joined.split(b"\n")


def _text(value: bytes) -> str:
    return (_ESCAPED.sub(lambda match: _PLAIN[match[1]], value) if b"\\" in value else value).decode()


def _truth(value: bytes) -> bool:
    return value == b"t"


_READERS: dict[type, Callable[[bytes], Any]] = {int: int, bool: _truth, str: _text}
# TYPES for log_id to row_num; then form, src_hash, fields, rest.
_READ: tuple[Callable[[bytes], Any], ...] = (*(_READERS[kind] for kind in TYPES), int, int, _text, _text)
