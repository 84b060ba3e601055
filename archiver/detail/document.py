"""From the bytes of a document to JSON text that jsonb accepts: unchanged where possible, else with a note.

What jsonb cannot hold (measured on PostgreSQL 15 and 18): U+0000, halves of surrogate pairs, NaN and Infinity, numbers
beyond its numeric type, nesting beyond the server's stack. Of a repeated key it keeps the last value.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import NamedTuple

import orjson

from archiver.detail import numbers
from archiver.detail.limits import Limits

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

BOM = "a byte order mark was left out"
REPLACED = "bytes that are not in its encoding became U+FFFD"
PADDED = "NUL characters after its end were left out"
NUL = "NUL characters became U+FFFD"
SURROGATE = "lone surrogates became U+FFFD"
CONTROL = "control characters that stood bare in a text were escaped"
NOT_A_NUMBER = "NaN or Infinity became text"
BEYOND = "numbers beyond the range of jsonb became text"
REPEATED = "of repeated keys only the last value is there"


class Projection(NamedTuple):
    """`text` is for jsonb; without it `error` says why this is no JSON, or `changes` why jsonb cannot have it."""

    text: str | None
    changes: tuple[str, ...] = ()
    error: str | None = None


def project(content: bytes, limits: Limits) -> Projection:
    """The document in a file's content. Never raises; memory stays within `limits.memory`, roughly."""
    if _cost(content) > limits.memory:
        return Projection(None, (f"no document: its {len(content):,} bytes are too many to be checked",))
    text, changes = _utf8(content)
    if not text.strip():
        return Projection(None, tuple(changes), "is empty")
    if _depth(text) > limits.depth:
        return Projection(None, (*changes, f"no document: it is nested deeper than {limits.depth} levels"))
    try:
        if _is_clean(text):
            return Projection(text.decode(), tuple(changes))
        mended = _Mended(text)
        repeated = _has_repeated_keys(mended.skeleton)
    except orjson.JSONDecodeError as exc:
        return Projection(None, tuple(changes), f"is not JSON ({exc.msg.partition(': line')[0]})")
    if mended.digits > limits.memory // 8:
        return Projection(None, (*changes, "no document: its numbers are too long when written out"))
    changes += sorted(mended.changes) + [REPEATED] * repeated
    return Projection(mended.text.decode(), tuple(changes))


_NARROW = bytes(range(0xF0))  # what is beyond starts a character beyond U+FFFF, which makes all of its text wide


def _cost(content: bytes) -> int:
    """Bytes of memory that parsing takes, from above: CPython's sizes of dicts, lists, strings and their slots."""
    width = 1
    if not content.isascii() or b"\\u" in content:
        width = 4 if content.translate(None, _NARROW) or b"\\ud" in content or b"\\uD" in content else 2
    objects = 160 * content.count(b"{") + 72 * (content.count(b"[") + content.count(b",")) + 50 * content.count(b":")
    return objects + len(content) * (2 + 2 * width)


def _utf8(content: bytes) -> tuple[bytes, list[str]]:
    """The content in UTF-8, and what was changed for it."""
    changes = []
    encoding = None
    for mark, name in _BOMS:
        if content.startswith(mark):
            content, encoding = content[len(mark) :], name
            changes.append(BOM)
            break
    encoding = encoding or json.detect_encoding(content[:4])
    if encoding != "utf-8":
        changes.append(f"{encoding.upper()} was decoded")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode(encoding, "replace")
        changes.append(REPLACED)
    if text.endswith("\0"):
        text = text.rstrip("\0")
        changes.append(PADDED)
    return text.encode(), changes


_BRACKETS = bytes(0x5B if code in b"[{" else 0x5D if code in b"]}" else code for code in range(256))
_OTHERS = bytes(set(range(256)) - set(b'[]{}"'))
_BRACKETS_IN_TEXT = re.compile(rb'"[^"]*(?:"|\Z)')
_ROUNDS = 6


def _depth(text: bytes) -> int:
    """How deep brackets nest outside of texts; no parser is asked, for some overrun the stack."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = text.translate(_BRACKETS, _OTHERS).replace(b'""', b"")
    brackets = _BRACKETS_IN_TEXT.sub(b"", brackets)
    rounds = 0
    while brackets and rounds < _ROUNDS:  # taking the innermost pairs away lowers the depth by one
        brackets = brackets.replace(b"[]", b"")
        rounds += 1
    depth = deepest = 0
    for bracket in brackets:
        depth += 1 if bracket == 0x5B else -1
        deepest = max(deepest, depth)
    return deepest + rounds


def _is_clean(text: bytes) -> bool:
    """Whether jsonb takes the text as it is; False also means: look closer."""
    if b"\\u0000" in text or b"\\u003" in text or not numbers.plain(text):
        return False
    try:
        return not _has_repeated_keys(text)
    except orjson.JSONDecodeError:
        return False


def _has_repeated_keys(text: bytes) -> bool:
    """For JSON without an escaped colon: each key has a colon, and a key that is there twice is parsed once."""
    return orjson.dumps(orjson.loads(text)).count(b":") != text.count(b":")


_TOKEN = re.compile(
    rb'("[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z))'  # a text; also one that does not end, else this would be quadratic
    rb"|(-?\d[\d.eE+-]*+)"
    rb"|(-?(?:NaN|Infinity))",
    re.DOTALL,
)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u(?:(0000)|(003[aA])|([dD][89a-fA-F][0-9a-fA-F]{2}))"
    rb"|\\u|(?:\\[^u])++"
    rb"|([\x00-\x1f])",
    re.DOTALL,
)


def _rewritten(pattern: re.Pattern[bytes], text: bytes, mend: Callable[[re.Match[bytes]], bytes | None]) -> bytes:
    """As `pattern.sub`, which would hold every piece at once; where `mend` says None, the match stays."""
    new = bytearray()
    done = 0
    for match in pattern.finditer(text):
        mended = mend(match)
        if mended is not None:
            new += text[done : match.start()]
            new += mended
            done = match.end()
    return bytes(new + text[done:]) if done else text


class _Mended:
    """A JSON text with every token replaced that jsonb would refuse.

    `skeleton` is the same with each number as 0 or -0: a strict parser's verdict on it does not hang on numbers that
    the parser cannot hold. `digits` is how many digits the numbers with a great exponent have when written out.
    """

    def __init__(self, text: bytes) -> None:
        self.changes: set[str] = set()
        self.digits = 0
        self.text = _rewritten(_TOKEN, text, self._token)
        self.skeleton = _rewritten(_TOKEN, self.text, _without_number)

    def _token(self, match: re.Match[bytes]) -> bytes | None:
        if match[1]:
            return self._string(match[1])
        if match[2]:
            return self._number(match[2])
        self.changes.add(NOT_A_NUMBER)
        return b'"' + match[3] + b'"'

    def _string(self, token: bytes) -> bytes:
        return _rewritten(_ESCAPE, token, self._escape) if b"\\u" in token or _CONTROL.search(token) else token

    def _escape(self, match: re.Match[bytes]) -> bytes | None:
        null, colon, half, control = match.groups()
        if colon:  # the same text, but now its colons can be counted
            return b":"
        if null or control == b"\0":
            self.changes.add(NUL)
        elif half:
            self.changes.add(SURROGATE)
        elif control:
            self.changes.add(CONTROL)
            return b"\\u%04x" % control[0]
        else:
            return None
        return b"\\ufffd"

    def _number(self, token: bytes) -> bytes | None:
        if not numbers.is_number(token):
            return None  # the parser of the skeleton will object
        digits = numbers.length(token)
        if digits is None:
            self.changes.add(BEYOND)
            return b'"' + token + b'"'
        if digits > len(token) + 1000:
            self.digits += digits
        return None


def _without_number(match: re.Match[bytes]) -> bytes | None:
    if not match[2] or not numbers.is_number(match[2]):
        return None
    return b"-0" if match[2].startswith(b"-") else b"0"
