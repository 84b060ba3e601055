"""Line logs of a page, which are alike: what one column holds is looked at for all of them at once.

`parse_line` is the truth. A row is read here only where each of its values is of the plain kind that `parse_line` would
put into a column, into `fields` or into `rest` as it is; rows that are odd in anything are left to it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from hashlib import blake2b
from itertools import compress
from typing import NamedTuple

import orjson

from archiver.logs.columns import EXACT, Column, Same, Spelled, Values, columns_of, objects, spelled
from archiver.logs.exact import LARGE, RAW, RESPELLED, holdable
from archiver.logs.parse import FIELD_LENGTH, RANGES, TYPES, UUID_LENGTH, parse_line
from archiver.logs.rows import ENDED_LINE, FIELDS, Line, Row
from archiver.logs.times import CANONICAL

FEWEST = 4  # rows for which it pays
LONGEST_NAME = 200  # characters; a search in any field leaves longer ones out
LONG = 200  # characters of a value that is in `rest` for its length
ODD = f'"{RAW}"'  # in the text of a `rest` that keeps what jsonb cannot hold

_CANONICAL = re.compile(rf"(?:{CANONICAL.pattern}\n)+", re.ASCII)  # a time on each line
_NONE = type(None)
_SCALARS = frozenset({str, int, float, bool, _NONE})
_PLACE = {name: place for place, name in enumerate(FIELDS)}
_TIMES = frozenset({"created", "finished"})
_ALWAYS = frozenset({"created", "original_filename_uuid"})  # null in one of these is odd
_UUIDS = frozenset({"original_filename_uuid", "filename_uuid"})


class Block(tuple[Values, ...]):
    """Lines that are alike: the values of each field of `Line`, `fields` and `rest` in UTF-8."""

    __slots__ = ()

    def lines(self) -> Iterator[Line]:
        for *known, fields, rest in zip(*self, strict=True):
            yield Line._make((*known, fields and fields.decode(), rest and rest.decode()))

    def without(self, odd: Set[int]) -> Block:
        """The others than those at these places."""
        kept = [place not in odd for place in range(len(self[0]))]
        return Block((Same if type(values) is Same else tuple)(compress(values, kept)) for values in self)


class Columns(NamedTuple):
    """Lines by the column: those that are alike as blocks, and the odd ones as lines. `names`: of the fields that they
    have beside the columns."""

    alike: list[Block]
    odd: list[Line]
    names: set[str]


class Glimpse(NamedTuple):
    """What tells lines that are known from others: for each its id, `created` and `src_hash`."""

    ids: list[int]
    created: list[str]
    hashes: Sequence[int]


def glimpse(rows: Sequence[Row]) -> Glimpse | None:
    """Line logs as far as it takes to recognise them; None where one of them is odd in its id, time or run, or holds
    what jsonb cannot."""
    try:
        sources = [orjson.dumps(row, None, orjson.OPT_SORT_KEYS) for row in rows]
        ids, created, runs = ([row[name] for row in rows] for name in ("id", "created", "original_filename_uuid"))
        plain = _all_canonical(created)
    except (TypeError, KeyError):
        return None
    low, high = RANGES["id"]
    if not (rows and plain and set(map(type, ids)) == {int} and low <= min(ids) and max(ids) <= high):
        return None
    if set(map(type, runs)) != {str} or max(map(len, runs)) > UUID_LENGTH or _with_nul(sources):
        return None
    return Glimpse(ids, created, hashes_of(sources))


def parse_columns(rows: Sequence[Row]) -> Columns:
    """Read line logs, each as `parse_line` reads it, and leave them as columns where that can be. Raises
    PageUnreadable where values are nested some hundreds deep."""
    names: set[str] = set()
    found: list[Block] = []
    odd_places = set(range(len(rows)))
    for places in _alike(rows):
        block, odd = _read([rows[place] for place in places], names)
        if len(odd) < len(places):
            found.append(block.without(odd) if odd else block)
        odd_places.difference_update([place for number, place in enumerate(places) if number not in odd])
    lines = [parse_line(rows[place]) for place in sorted(odd_places)]
    return Columns(found, lines, names | field_names(lines))


def _alike(rows: Sequence[Row]) -> Iterator[Sequence[int]]:
    """The places of rows with the same keys in the same order, where there are enough of them."""
    alike: dict[tuple[str, ...], list[int]] = {}
    if rows and all(map([*rows[0]].__eq__, map(list, rows))):
        alike[tuple(rows[0])] = list(range(len(rows)))
    else:
        for place, row in enumerate(rows):
            alike.setdefault(tuple(row), []).append(place)
    return (places for keys, places in alike.items() if len(places) >= FEWEST and RAW not in keys)


def field_names(lines: Iterable[Line]) -> set[str]:
    """The names of all fields without a column whose values can be searched for; `$json` where there are values that
    jsonb cannot hold."""
    names: set[str] = set()
    for line in lines:
        if line.fields is not None:
            names.update(orjson.loads(line.fields))
        if line.rest is not None and (len(line.rest) > LONG or ODD in line.rest):
            names.update(name for name, value in orjson.loads(line.rest).items() if isinstance(value, str))
    return {name for name in names if len(name) <= LONGEST_NAME and name not in FIELDS}


def _read(rows: Sequence[Row], names: set[str]) -> tuple[Block, set[int]]:
    """Rows with the same keys in the same order, and the places of those that are odd: what the block has of them does
    not count."""
    number = len(rows)
    columns = columns_of(rows)
    try:
        texts = {name: spelled(columns[name]) for name in sorted(columns)}
        sources = objects(texts, number)
    except TypeError:
        return Block(), set(range(number))
    odd = _with_nul(sources)
    beside = [name for name in columns if name not in _PLACE]
    fields = [name for name in beside if _is_field(columns[name], odd)]
    rest = sorted(set(beside).difference(fields))
    known, form = _known(columns, number, odd)
    packed = [_packed(some, texts, number) for some in (fields, rest)]
    if any(not columns[name].types <= EXACT for name in rest):
        odd.update(place for place, text in enumerate(packed[1]) if RESPELLED.search(text.decode()))
    if len(odd) < number:
        names.update(name for name in fields if len(name) <= LONGEST_NAME)
        names.update(name for name in rest if len(name) <= LONGEST_NAME and str in columns[name].types)
    return Block((*known, form, hashes_of(sources), *packed)), odd


def _with_nul(sources: Sequence[bytes]) -> set[int]:
    """The places of those that hold what Postgres text cannot."""
    if b"\\" not in b"".join(sources):  # as most pages have it
        return set()
    return {place for place, source in enumerate(sources) if b"\\u0000" in source}


def hashes_of(sources: Sequence[bytes]) -> Sequence[int]:
    """`source_hash` of each of these."""
    return struct.unpack(f">{len(sources)}q", b"".join([blake2b(source, digest_size=8).digest() for source in sources]))


def _packed(names: Sequence[str], texts: Mapping[str, Spelled], number: int) -> Values:
    """The JSON text of these fields of each row."""
    return objects({name: texts[name] for name in names}, number) if names else Same((None,) * number)


def _is_field(column: Column, odd: set[int]) -> bool:
    """Whether the values of a column go into `fields`; where only most of them do, the others are odd."""
    values, types = column
    is_field = types <= _SCALARS and _longest(column) <= FIELD_LENGTH
    if not is_field:
        short = [type(value) in _SCALARS and (type(value) is not str or len(value) <= FIELD_LENGTH) for value in values]
        is_field = sum(short) * 2 > len(values)
        odd.update(place for place, one in enumerate(short) if one is not is_field)
    if is_field and float in types:
        _floats(column, odd)
    return is_field


def _longest(column: Column) -> int:
    """Characters of the longest text of a column."""
    values, types = column
    if str not in types:
        return 0
    if type(values) is Same:
        return len(values[0])
    return max(map(len, values if len(types) == 1 else [value for value in values if type(value) is str]))


def _floats(column: Column, odd: set[int]) -> None:
    """Floats that jsonb gives back as they are stay."""
    values, types = column
    floats = values if len(types) == 1 else [value for value in values if type(value) is float]
    if 0.0 in floats or not (min(floats) > -LARGE and max(floats) < LARGE):
        odd.update(place for place, value in enumerate(values) if type(value) is float and not holdable(value))


def _known(columns: Mapping[str, Column], number: int, odd: set[int]) -> tuple[list[Values], Values]:
    """The columns `log_id` to `row_num`, and `form`."""
    known: list[Values] = []
    form = sum(1 << place for place, name in enumerate(FIELDS) if name not in columns)
    nothing = Same((None,) * number)
    forms: Values = Same((form,) * number)
    for name, want in zip(FIELDS, TYPES, strict=True):
        column = columns.get(name)
        if column is None:
            known.append(nothing)
            continue
        is_same, strange = type(column.values) is Same, set[int]()
        seen = _seen(name, want, Column(column.values[:1], column.types) if is_same else column, strange)
        if name == "triggered_by":
            seen, told = _who(seen, form, strange)
            forms = Same([*told] * number) if is_same else told
        known.append(Same([*seen] * number) if is_same else seen)
        if strange:
            odd.update(range(number) if is_same else strange)
    return known, forms


def _seen(name: str, want: type, column: Column, odd: set[int]) -> Values:
    """A known column, looked at."""
    values, types = column
    if not types <= {want, _NONE} or (name in _ALWAYS and _NONE in types):
        allowed = {want} if name in _ALWAYS else {want, _NONE}
        odd.update(place for place, value in enumerate(values) if type(value) not in allowed)
        values = [value if type(value) in allowed else None for value in values]
    if name in RANGES:
        if types != {_NONE}:
            _ranged(values, *RANGES[name], odd)
    elif name in _TIMES:
        _timed(values, odd)
    elif name in _UUIDS and any(map(UUID_LENGTH.__lt__, map(len, filter(None, values)))):
        odd.update(place for place, value in enumerate(values) if value is not None and len(value) > UUID_LENGTH)
    return values


def _ranged(values: Values, low: int, high: int, odd: set[int]) -> None:
    numbers = values if None not in values else [value for value in values if value is not None]
    if min(numbers, default=low) < low or max(numbers, default=high) > high:
        odd.update(place for place, value in enumerate(values) if value is not None and not low <= value <= high)


def _timed(values: Values, odd: set[int]) -> None:
    """Times that are canonical and exist stay as they are."""
    if None in values or not _all_canonical(values):
        odd.update(place for place, value in enumerate(values) if value is not None and not _all_canonical([value]))


def _all_canonical(values: Sequence[str]) -> bool:
    """Whether these times are spelled as the archive keeps them, and exist."""
    try:
        return _CANONICAL.fullmatch("\n".join(values) + "\n") is not None and all(map(datetime.fromisoformat, values))
    except ValueError:
        return False


def _who(values: Values, form: int, odd: set[int]) -> tuple[Values, Values]:
    """`triggered_by` without the line feed that it may end with, and the `form` that tells of it."""
    bare: dict[str | None, str | None] = {}
    forms: dict[str | None, int] = {}
    for who in set(values):
        bare[who] = None if who is None else who.rstrip("\r\n")
        forms[who] = form if who == bare[who] else form | ENDED_LINE
        if who is not None and who not in (bare[who], f"{bare[who]}\n"):
            odd.update(place for place, value in enumerate(values) if value == who)
    return [bare[who] for who in values], [forms[who] for who in values]
