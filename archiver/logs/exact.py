"""JSON to the last digit, and into jsonb and back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any, cast

import orjson

from archiver.errors import PageUnreadable
from archiver.logs.rows import Row

LARGE = 1e16  # from here on a float is spelled with an exponent, which jsonb writes out: it comes back as an integer
# What may be a number that comes back from jsonb as another one: minus zero, or a large float, as orjson spells them.
RESPELLED = re.compile(r"(?:^|[:\[,])-?(?:[0-9.]+e\+?[0-9]|(?<=-)0\.0(?![0-9]))")
RAW = "$json"  # under this key: JSON text of what jsonb cannot hold
DEEPEST = 200  # lists in lists; orjson writes no more than 254


def load_exact(text: str) -> Any:
    """Read JSON with every digit of every number, lone surrogates, and what some writers emit all the same: NaN,
    Infinity, and control characters that are not escaped. Raises ValueError, RecursionError."""
    return json.loads(text, parse_float=_number, parse_int=_integer, parse_constant=Decimal, strict=False)


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < 4000 else Decimal(text)  # int() refuses 4,300 digits


def _number(text: str) -> float | Decimal:
    try:
        value, exact = float(text), Decimal(text)
    except InvalidOperation:
        raise ValueError("an exponent of more than eighteen digits") from None
    return value if math.isfinite(value) and Decimal(repr(value)) == exact else exact


def source_of(row: Mapping[str, Any]) -> bytes | str:
    """A row's JSON with sorted keys: bytes where jsonb and text columns can hold all of it, else text.

    Raises PageUnreadable where values are in one another some hundreds of times.
    """
    try:
        source = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
        if b"\\u0000" not in source:
            return source
    except TypeError:  # a lone surrogate, a Decimal, an integer beyond 64 bits, lists in lists in lists
        pass
    try:
        return dump_exact(row)
    except RecursionError:
        raise PageUnreadable("lists or objects in it are nested too deeply") from None


def holdable(value: Any, levels: int = DEEPEST) -> bool:
    """Whether jsonb (and text, for a string) can hold a value and give it back."""
    if not levels:
        return False
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        return all(holdable(key) and holdable(item, levels - 1) for key, item in value.items())
    if isinstance(value, list):
        return all(holdable(item, levels - 1) for item in value)
    if isinstance(value, Decimal):
        return False
    if isinstance(value, float):
        return -LARGE < value < LARGE and (value != 0 or math.copysign(1, value) > 0)
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def pack(others: Row) -> str | None:
    """JSON text for jsonb of the fields beside the columns; None where there are none."""
    if not others:
        return None
    if RAW not in others:
        source = source_of(others)
        if isinstance(source, bytes) and not RESPELLED.search(text := source.decode()):
            return text
    held = {name: value for name, value in others.items() if name != RAW and holdable(name) and holdable(value)}
    raw = {name: value for name, value in others.items() if name not in held}
    return orjson.dumps(held | {RAW: dump_exact(raw)} if raw else held, option=orjson.OPT_SORT_KEYS).decode()


def unpack(text: str | None) -> Row:
    """What `pack` was given."""
    if text is None:
        return {}
    others = cast(Row, load_exact(text))
    raw = others.pop(RAW, None)
    return others if raw is None else others | cast(Row, load_exact(raw))


def dump_exact(value: Any) -> str:
    """ASCII JSON with sorted keys, also of what orjson refuses: Decimal, long integers, lone surrogates."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{dump_exact(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump_exact, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def source_hash(source: bytes | str) -> int:
    """64 bits of blake2b of a row's canonical JSON: tells a changed row from an unchanged one."""
    data = source if isinstance(source, bytes) else source.encode("ascii")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)
