"""From an answer of `/logs/download` to the file, and from the file to its document."""

from __future__ import annotations

import binascii
import re
from hashlib import sha256
from typing import Literal, NamedTuple
from zipfile import ZipInfo

from archiver.detail.document import project
from archiver.detail.limits import Limits
from archiver.detail.zips import SIGNATURES, TooLarge, Unreadable, Zip

_DEFAULT = Limits()
_BLANK = b" \t\r\n\v\f"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_ESCAPED = re.compile(rb"\\(?:u00(2[bBfF]|3[dD])|(/)|[nrt])")
_NAMED = 5  # other files of a zip that are named


class Detail(NamedTuple):
    """A downloaded file as it is stored.

    `body` is the zip (`body_form` zip), or, where the answer is no base64 of one, the answer as it came (response).
    `document` is JSON text for jsonb; `document_changes` says what of it was changed or why there is none, and is None
    where it is exact. `error` says why a file is unreadable or too large.
    """

    body: bytes
    body_form: Literal["zip", "response"]
    sha256: str
    byte_size: int
    document: str | None = None
    document_changes: str | None = None
    outcome: Literal["stored", "unreadable", "too_large"] = "stored"
    error: str | None = None


def unpack(body: bytes, limits: Limits = _DEFAULT) -> Detail:
    """Unpack an answer. Never raises; the bytes are kept whatever is wrong with them."""
    try:
        file = _zip_of(body)
    except Unreadable as exc:
        return _without_zip(body, str(exc), limits)
    kept = Detail(file, "zip", sha256(file).hexdigest(), len(file))
    try:
        return _with_zip(kept, Zip(file, limits), limits)
    except Unreadable as exc:
        outcome: Literal["too_large", "unreadable"] = "too_large" if isinstance(exc, TooLarge) else "unreadable"
        return kept._replace(outcome=outcome, error=str(exc))


def _zip_of(body: bytes) -> bytes:
    """The zip in an answer; raises Unreadable where there is none."""
    if body.startswith(SIGNATURES):
        return body
    text = body.removeprefix(b"\xef\xbb\xbf").translate(None, _BLANK)
    if not text:
        raise Unreadable("the answer is empty")
    if text[:1] in b"{[":
        raise Unreadable("the answer is no zip")
    if text[:1] == b"<":
        raise Unreadable("the answer is a page of HTML or XML, not a file")
    file = _decoded(_unquoted(text))
    if not file.startswith(SIGNATURES):
        raise Unreadable("the answer is base64, but not of a zip")
    return file


def _unquoted(text: bytes) -> bytes:
    """Base64 without the quotes and escapes of a JSON string; the quote at the end may be missing."""
    quote = text[:1]
    if quote in b"\"'":
        text = text[1:].removesuffix(quote)
    return _ESCAPED.sub(_plain, text) if b"\\" in text else text


def _plain(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode()) if match[1] else match[2] or b""


def _decoded(text: bytes) -> bytes:
    digits = text.translate(_URL_SAFE).rstrip(b"=")
    if len(digits) % 4 == 1:
        raise Unreadable("the answer is no base64, or is cut")
    try:
        return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)
    except binascii.Error:
        raise Unreadable("the answer is no base64") from None


def _without_zip(body: bytes, problem: str, limits: Limits) -> Detail:
    kept = Detail(body, "response", sha256(body).hexdigest(), len(body))
    # A JSON text or number alone may be cut base64 as well; only an object or a list is believed to be the document.
    if not re.match(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\0\s]*[{\[]", body):
        return kept._replace(outcome="unreadable", error=problem)
    text, changes, error = project(body, limits)
    if error is not None:
        return kept._replace(
            outcome="unreadable", error=f"{problem}; the answer {error}", document_changes=_joined(changes)
        )
    return kept._replace(document=text, document_changes=_joined(changes))


def _with_zip(kept: Detail, zipped: Zip, limits: Limits) -> Detail:
    """The first file of the zip that is JSON is the document."""
    problems: list[str] = []
    for entry in zipped.files:
        try:
            text, changes, error = project(zipped.read(entry), limits)
        except TooLarge as exc:
            return kept._replace(outcome="too_large", error=_joined([*problems, f"{_name(entry)} {exc}"]))
        except Unreadable as exc:
            error = str(exc)
        if error is None:
            others = [other for other in zipped.files if other is not entry]
            notes = [*changes, *problems, *([_named(others)] if others else [])]
            return kept._replace(document=text, document_changes=_joined(notes))
        problems.append(f"{_name(entry)} {error}")
    return kept._replace(outcome="unreadable", error=_joined(problems) or "the zip holds no file")


def _named(others: list[ZipInfo]) -> str:
    names = ", ".join(map(_name, others[:_NAMED]))
    more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
    return f"the zip also holds {names}{more}"


def _name(entry: ZipInfo) -> str:
    """A file's name that can be printed and stored, whatever it holds."""
    name = entry.orig_filename
    return ascii(name if len(name) <= 80 else name[:77] + "...")


def _joined(notes: list[str] | tuple[str, ...]) -> str | None:
    shown = [*notes[:_NAMED], f"and {len(notes) - _NAMED:,} more"] if len(notes) > 2 * _NAMED else notes
    return "; ".join(shown) or None
