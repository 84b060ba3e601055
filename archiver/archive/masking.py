"""Files of flows with a `redact`: what is kept of them instead of the file that came."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from archiver.detail import Detail
from archiver.redact import mask_document

NAME = "masked.json"
_OLD = (1980, 1, 1, 0, 0, 0)  # the same document makes the same zip


class Masked(NamedTuple):
    """As `Detail`, for a file that cannot be kept as it came. Without a body where nothing in it could be masked."""

    body: bytes | None
    body_form: str | None
    sha256: str | None
    byte_size: int | None
    document: str | None
    document_changes: str | None
    outcome: str
    error: str | None


def masked(detail: Detail, rules: tuple[str, ...]) -> Detail | Masked:
    """The file without what the rules name: a zip of its masked document alone.

    `sha256` is then of what is kept, and `document_changes` has that of the file as it came. A file without a readable
    document is not kept at all, for nobody knows what is in it.
    """
    if not rules:
        return detail
    if detail.document is None:
        why = detail.error or detail.document_changes or "it has no document"
        return Masked(
            None, None, None, detail.byte_size, None, None, "unreadable", f"not kept, for nothing can be masked: {why}"
        )
    text, hits = mask_document(detail.document, rules)
    body = _zipped(text.encode())
    notes = [detail.document_changes, _said(hits), f"the file as it came had SHA-256 {detail.sha256}"]
    changes = "; ".join(note for note in notes if note)
    return Masked(body, "zip", sha256(body).hexdigest(), len(body), text, changes, detail.outcome, detail.error)


def _said(hits: Mapping[str, int]) -> str:
    found = ", ".join(f"{rule} ({count:,})" for rule, count in sorted(hits.items()))
    return f"masked before it was stored: {found}" if found else "nothing had to be masked"


def _zipped(document: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo(NAME, _OLD), document, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
