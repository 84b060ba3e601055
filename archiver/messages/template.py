"""The template of a message, and its fingerprint."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from archiver.messages.fold import fold, lower
from archiver.messages.kinds import class_of

VERSION = 1  # of the rules here and in fold.py; see the package's first page
LOOKED_AT = 1000  # characters of a message
LONGEST = 300  # characters of a template

# An HTTP status says more than its number: it stays where something beside it says that it is one.
_STATUS = re.compile(
    r"\b(?:https?(?:/\d(?:\.\d)?)?|status(?: ?code)?|code|kodu?|durum(?: kodu)?|error|hata(?: kodu)?|response|yanit)"
    r"[\"']?[ :=(#-]{1,3}([45]\d\d)(?![\w.,:%-]*\d|\w)"
    r"|(?<![\w.,:%-])([45]\d\d)(?= ?[:(-]? ?(?:bad request|unauthori[sz]ed|forbidden|not found|conflict|unprocessable"
    r"|too many|internal|bad gateway|service unavailable|gateway time|(?:client|server) error))",
    re.ASCII | re.IGNORECASE,
)
_MAYBE_STATUS = re.compile(r"(?<!\d)[45]\d\d(?!\d)", re.ASCII)
_URL = re.compile(r"[a-z][a-z0-9+.-]{0,20}://[^\s\"'<>]*", re.ASCII | re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,200}", re.ASCII)
# A quote opens behind no letter and closes before none: `ERP'ye` and `doesn't` quote nothing.
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.){0,300}\"|(?<!\w)'[^']{0,300}'(?!\w)", re.ASCII)
# What stands behind the name of an identifier is one, also where it has no digit.
_NAMED = re.compile(
    r"\b((?:merchant|seller|stock|stok)?_?(?:sku|barkodu?|barcode|ean|gtin)|urun(?: kodu| no)?|product(?: code| id)?"
    r"|item(?: code| id)?|(?:stok|stock|model) (?:kodu|code)"
    r"|(?:siparis|order|fatura|invoice)(?: ?(?:no|id|number|numarasi))?"
    r"|(?:musteri|customer|cari)(?: kodu| id| code| no)?) ?[:=] ?[^\s\"'#,;)\]}]+",
    re.ASCII | re.IGNORECASE,
)
# ABC-RED-XL: three parts or more, all in capitals.
_CAPITALS = re.compile(r"(?<![\w-])[A-Z]{1,12}(?:-[A-Z]{1,12}){2,8}(?![\w-])", re.ASCII)
# Any word with a digit: a number, a date, a time, an address, an id. It begins where a word begins, so that no part of
# it is looked at more than twice. Without `*+`, which Python 3.11.2 reads wrongly.
_WORD = r"A-Za-z_./+*%\\#@&~$-"
_DIGITS = re.compile(
    rf"(?<![0-9{_WORD}])[{_WORD}]*[0-9][0-9{_WORD}]*(?:[:,](?=[0-9])[0-9{_WORD}]+)*",
    re.ASCII,
)
# `DM42'ye`, `#, # - #`: what is glued to a value, and lists of values.
_GLUED = re.compile(r"#(?:'[a-z]{1,6}\b)?(?:[\s,;:|/.x()\[\]'\"-]{0,6}#(?:'[a-z]{1,6}\b)?)*", re.ASCII)
_TRACE = re.compile(r"[\r\n]\s*(?:at |File \"|\.\.\. \d+ more|Caused by|Traceback)", re.ASCII)
# A status is put out of the way while numbers go: private characters that `fold` lets no message have.
_HIDE = str.maketrans("0123456789", "".join(chr(0xE000 + digit) for digit in range(10)))
_SHOW = {0xE000 + digit: str(digit) for digit in range(10)}
_PRIVATE = dict.fromkeys(range(0xE000, 0xE00A), "?")


class Kind(NamedTuple):
    """A kind of error. `fingerprint`: 64 bits, signed; it goes by `VERSION` and `template`. The class goes by the
    template and `CLASSES_VERSION`."""

    fingerprint: int
    template: str
    error_class: str


@lru_cache(maxsize=256)
def recognise(message: str) -> Kind:
    """The kind of error that a message tells of. An empty message is a kind, too: that of failures without a word."""
    return _kind(template(message))


@lru_cache(maxsize=512)
def _kind(words: str) -> Kind:
    digest = blake2b(f"{VERSION}:{words}".encode(), digest_size=8).digest()
    return Kind(int.from_bytes(digest, "big", signed=True), words, class_of(words))


def template(message: str) -> str:
    """A message in plain lower case, with `#` for what varies; at most 300 characters.

    Takes any string, in time that grows with its first 1,000 characters only.
    """
    text = message[:LOOKED_AT]
    if "\n" in text or "\r" in text:
        trace = _TRACE.search(text)
        text = text[: trace.start()] if trace and trace.start() else text
    text = fold(text)
    if not text.isascii():
        text = text.translate(_PRIVATE).encode("utf-8", "replace").decode()
    text = text.strip()
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and text.count(text[0]) == 2:
        text = text[1:-1]  # all of it is quoted: that is no value within a message
    if _MAYBE_STATUS.search(text):
        text = _STATUS.sub(_hidden, text)
    text = _without_values(text)
    words = " ".join(lower(text).split())
    if not words.isascii():
        words = words.translate(_SHOW)
    return words.strip(" .!,;:-")[:LONGEST].rstrip()


def _hidden(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    before = match[0][: -len(code)]
    return before + code.translate(_HIDE)


def _named(match: re.Match[str]) -> str:
    return match[1] + ": #"  # by a function: a replacement with groups is looked up anew for each message, slowly


def _without_values(text: str) -> str:
    if "://" in text:
        text = _URL.sub("#", text)
    if "@" in text:
        text = _MAIL.sub("#", text)
    if '"' in text or "'" in text:
        text = _QUOTED.sub("#", text)
    if ":" in text or "=" in text:
        text = _NAMED.sub(_named, text)
    if "-" in text:
        text = _CAPITALS.sub("#", text)
    text = _DIGITS.sub("#", text)
    return _GLUED.sub("#", text) if "#" in text else text
