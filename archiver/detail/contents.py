"""What is inside a kept file, whether or not it is JSON."""

from __future__ import annotations

from archiver.detail.limits import Limits
from archiver.detail.zips import Unreadable, Zip


def contents(body: bytes, body_form: str | None, limits: Limits | None = None) -> list[bytes]:
    """The files of a zip, as far as they can be read, else the body itself. Never raises."""
    if body_form != "zip":
        return [body]
    try:
        zipped = Zip(body, limits or Limits())
    except Unreadable:
        return [body]
    found: list[bytes] = []
    for entry in zipped.files:
        try:
            found.append(zipped.read(entry))
        except Unreadable:
            found.append(body)
    return found
