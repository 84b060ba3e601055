"""Downloaded files, as they came, in parts: none has to fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archiver.queries.replay.asking import Replay

CHUNK = 768 * 1024  # bytes at once; a multiple of three, so that base64 of the parts is base64 of the whole


class File(NamedTuple):
    """A stored file. `body_form`: `zip`, or `response` for an answer that was no base64 of a zip."""

    flow_key: int
    log_type: int
    log_id: int
    body_form: str
    size: int
    sha256: str


# Ids are unique within a log type only, and the question does not name it: of several files the run's comes first.
_FILE = """
    SELECT flow_key, log_type, log_id, coalesce(body_form, 'response'), octet_length(body), coalesce(sha256, '')
    FROM archive.detail WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s AND log_type = ANY(%(log_types)s)
        AND body IS NOT NULL
    ORDER BY log_type LIMIT 1
"""
_CHUNK = """
    SELECT substring(body FROM %(start)s FOR %(size)s) FROM archive.detail
    WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s
        AND coalesce(sha256, '') = %(sha256)s
"""


def file_of(replay: Replay, flow_key: int, log_id: int, log_types: Sequence[int] = (1, 2, 3)) -> File | None:
    """The file of a log, which is of one of these types; None where none was stored."""
    found = replay.rows(_FILE, flow_key=flow_key, log_id=log_id, log_types=list(log_types))
    return File(*found[0]) if found else None


def chunk_of(replay: Replay, file: File, start: int) -> bytes | None:
    """CHUNK bytes of a file, from `start` on; None where it is no longer the same file."""
    found = replay.rows(_CHUNK, **file._asdict() | {"start": start + 1, "size": CHUNK})
    return bytes(found[0][0]) if found else None
