"""Zip files from elsewhere, read without believing their headers; nothing is ever extracted."""

from __future__ import annotations

import zipfile
from io import BytesIO

from archiver.detail.limits import Limits

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # of a zip with files, of an empty one
_FREE = 4 << 20  # bytes that may come out of any zip, however small
_CHUNK = 1 << 18
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAY_BE_ENCRYPTED = 0x1 | 0x40 | 0x2000


class Unreadable(Exception):
    """A zip, or a file in it, that cannot be read; the text says why."""


class TooLarge(Unreadable):
    """More came out of a zip than is looked at."""


class Zip:
    """The files of a zip, read one by one within the limits of all together."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._left = limits.total
        self._most = max(_FREE, limits.ratio * len(data))
        if data.count(b"PK\x01\x02") > limits.entries:
            raise TooLarge(f"the zip has more than {limits.entries:,} entries")
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
        except Exception as exc:  # zipfile raises a dozen kinds on hostile bytes, and promises none
            raise Unreadable(f"the zip cannot be read ({_reason(exc)})") from exc
        self.files = [entry for entry in self._zip.infolist() if not entry.filename.endswith("/")]

    def read(self, entry: zipfile.ZipInfo) -> bytes:
        """The content of a file, its CRC checked; raises Unreadable or TooLarge."""
        if entry.flag_bits & _MAY_BE_ENCRYPTED:
            raise Unreadable("is encrypted")
        if entry.compress_type not in _METHODS:
            raise Unreadable(f"is compressed by method {entry.compress_type}, which is neither stored nor deflate")
        try:
            return self._inflate(entry)
        except TooLarge:
            raise
        except Exception as exc:  # as above
            raise Unreadable(f"cannot be read ({_reason(exc)})") from exc

    def _inflate(self, entry: zipfile.ZipInfo) -> bytes:
        content = bytearray()
        with self._zip.open(entry) as file:
            while chunk := file.read(_CHUNK):
                content += chunk
                self._left -= len(chunk)
                if self._left < 0:
                    raise TooLarge("is larger than is looked at when unpacked")
                if len(content) > self._most:
                    raise TooLarge("is compressed further than any log, as a zip bomb is")
        return bytes(content)


def _reason(exc: Exception) -> str:
    # zipfile quotes names from the file, which may hold anything.
    text = ascii(str(exc))[1:-1]
    return text[:120] or type(exc).__name__
