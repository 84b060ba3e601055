# ruff: noqa: RUF001, RUF002 - this is about letters that look alike
"""One spelling for what is spelled in many ways: Turkish and other Latin letters, quotes, dashes, spaces, widths."""

from __future__ import annotations

import unicodedata

# Blocks in which every letter was there long before the oldest Python that runs this: their tables do not change.
_LATIN = (*range(0xC0, 0x250), *range(0x1E00, 0x1F00))
_CASED = range(0x370, 0x530)  # Greek and Cyrillic
_MARKS = range(0x300, 0x370)
_INVISIBLE = (0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
_SPACES = (*range(0x20), *range(0x7F, 0xA1), 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
_DIGITS = (0x660, 0x6F0, 0x966)  # where the digits of other scripts begin
_ALONE = {"ı": "i", "İ": "I", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "d", "þ": "th"}
_ALONE |= {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}
_SIGNS = {
    "'": "‘’‚‛‹›′`´",
    '"': "“”„‟«»″",
    "-": "‐‑‒–—―−",
    "...": "…",
    "?": "\ufffd",
}


def _table() -> dict[int, str]:
    table: dict[int, str] = {}
    for code in _LATIN:
        letters = unicodedata.normalize("NFD", chr(code))
        if letters[0] < "\x80":
            table[code] = letters[0]
    table |= {ord(letter): plain for letter, plain in _ALONE.items()}
    table |= {code: chr(code).lower() for code in _CASED if chr(code).lower() != chr(code)}
    table |= dict.fromkeys((*_MARKS, *_INVISIBLE), "")
    table |= dict.fromkeys(_SPACES, " ")
    table |= {ord(sign): plain for plain, signs in _SIGNS.items() for sign in signs}
    table |= {zero + digit: str(digit) for zero in _DIGITS for digit in range(10)}
    table |= {0xFF00 + code - 0x20: chr(code) for code in range(0x21, 0x7F)}
    return table


TABLE = _table()
_LOWER = {code: chr(code + 32) for code in range(ord("A"), ord("Z") + 1)}


def fold(text: str) -> str:
    """Latin letters as ASCII in the case they have, signs and digits as ASCII, other scripts in lower case.

    `İ`, `I`, `ı` and `i` are one letter but for their case: what a Turkish and an English machine make of one another.
    """
    return text.translate(TABLE)


def lower(text: str) -> str:
    """Folded text in lower case."""
    return text.lower() if text.isascii() else text.translate(_LOWER)
