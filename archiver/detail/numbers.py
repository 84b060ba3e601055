"""Which JSON numbers jsonb can hold. Its numeric type has 131,072 digits before the point and 16,383 after it."""

from __future__ import annotations

import re

_BEFORE = 131_072
_AFTER = 16_383
_NUMBER = re.compile(rb"-?(0|[1-9]\d*)(?:\.(\d+))?(?:[eE]([+-]?\d+))?")

# A number that does not fit has a thousand digits in a row, or an exponent of four digits.
_DIGITS = bytes(0x30 if chr(code).isdigit() and code < 128 else 0x65 if code in b"eE" else 0x20 for code in range(256))
_LONG = b"0" * 1000
_EXPONENT = re.compile(rb"[\[:,\s]-?\d[\d.]*[eE][+-]?\d{4}")


def plain(text: bytes) -> bool:
    """Whether jsonb surely holds all numbers of a JSON text; quick, and sometimes wrong in saying no."""
    digits = text.translate(_DIGITS, b"+-")
    if _LONG in digits:
        return False
    # In a hexadecimal id such digits are common, so a hit is looked at again: is it a number?
    return b"0e0000" not in digits or _EXPONENT.search(b":" + text) is None


def is_number(token: bytes) -> bool:
    """Whether this is a number in JSON's grammar."""
    return _NUMBER.fullmatch(token) is not None


def length(token: bytes) -> int | None:
    """The digits that a number has when written out, or None where jsonb cannot hold it."""
    match = _NUMBER.fullmatch(token)
    if match is None or (match[3] and len(match[3]) > 8):
        return None
    exponent = int(match[3] or 0)
    before = len(match[1]) + exponent
    after = len(match[2] or b"") - exponent
    if before > _BEFORE or after > _AFTER or abs(exponent) > _BEFORE:
        return None
    return max(before, 1) + max(after, 0)
