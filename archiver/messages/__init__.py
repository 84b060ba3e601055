# ruff: noqa: RUF002 - Turkish has a dotless i
"""What an error message says once all that varies is out of it: numbers, ids, quoted values, SKUs, dates.

    recognise("Ürün DM-1042 bulunamadı")  →  Kind(fingerprint=…, template="urun # bulunamadi", error_class="not_found")

Messages of one template are one kind of error, and share its fingerprint and class. All is decided by tables and
patterns of this package, never by the interpreter's Unicode database as it grows: the same message has the same
fingerprint on every version of Python. Who changes the rules of classes raises `CLASSES_VERSION`, and the next turn
of a flow that has anything to do tells its classes anew. Who changes what a template is raises `VERSION`, and adds a
migration that empties `archive.error_group` and `archive.error_run`, sets `error_key` to null where it stands and
`archive.flow.error_version` to null: the next turns then read the failed logs again.
"""

from archiver.messages.kinds import CLASSES, CLASSES_VERSION, class_of
from archiver.messages.sources import message_in, message_in_document, message_of, sample
from archiver.messages.template import VERSION, Kind, recognise

__all__ = [
    "CLASSES",
    "CLASSES_VERSION",
    "VERSION",
    "Kind",
    "class_of",
    "message_in",
    "message_in_document",
    "message_of",
    "recognise",
    "sample",
]
