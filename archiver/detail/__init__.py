"""What `/logs/download` gives for a log: base64 of a zip of one JSON document, or whatever comes instead.

`unpack` never raises and never loses a byte: the file itself is the truth, the document is a projection of it that
Postgres can search, with a note of whatever had to be changed in it.
"""

from archiver.detail.answer import Detail, unpack
from archiver.detail.contents import contents
from archiver.detail.limits import Limits

__all__ = ["Detail", "Limits", "contents", "unpack"]
