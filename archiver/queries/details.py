"""Downloaded files, by the log that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archiver.queries.reader import Reader, Row

TYPES = {"main": 1, "sub": 2, "line": 3}
OUTCOMES = {
    "wanted": "is not downloaded yet",
    "missing": "is missing: the Integrator announced it and does not have it",
    "unreadable": "cannot be read",
    "too_large": "is larger than the archiver reads",
    "stored": "is stored, but Postgres cannot hold its document",
    "erased": "was erased at a person's request",
}
"""Why no document is shown of a file: what is to be said of it."""


class Body(NamedTuple):
    """What was kept of a file. `has_body`: there are bytes, for `raw_of`, as `body_form` says; `text`: the document,
    indented."""

    body_form: str | None
    has_body: bool
    text: str | None
    document_changes: str | None
    attempts: int
    error: str | None


def details_named(
    reader: Reader, log_id: int, flow_keys: Sequence[int], types: Sequence[str] = tuple(TYPES)
) -> list[Row]:
    """Rows of reporting.detail of logs with this id, without documents: ids may meet between flows and types."""
    found = reader.rows(
        "SELECT flow_key, log_type, log_id FROM archive.detail"
        " WHERE flow_key = ANY(%(keys)s) AND log_type = ANY(%(types)s) AND log_id = %(log_id)s"
        " ORDER BY flow_key, log_type",
        keys=list(flow_keys),
        types=[TYPES[one] for one in types],
        log_id=log_id,
    )
    names = {number: name for name, number in TYPES.items()}
    keys = [{**row, "log_type": names[row["log_type"]]} for row in found]
    return [row for key in keys for row in reader.rows(_VIEW.format(_BUT_ITS_DOCUMENT), **key)]


def detail(reader: Reader, one: Row) -> Row:
    """The whole row of reporting.detail, its document too, of one that is known to be there."""
    (row,) = reader.rows(_VIEW.format("*"), **{name: one[name] for name in ("flow_key", "log_id", "log_type")})
    return row


_VIEW = """
    SELECT {} FROM reporting.detail
    WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s AND log_type = %(log_type)s
"""
_BUT_ITS_DOCUMENT = "flow_key, flow_name, run_id, log_type, log_id, outcome, byte_size"
_OF = " FROM archive.detail WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s AND log_type = %(log_type)s"


def body_of(reader: Reader, one: Row, *, with_text: bool = True) -> Body:
    """What a row of reporting.detail leaves out; the text only where it is wanted."""
    (row,) = reader.rows(
        "SELECT body_form, body IS NOT NULL AS has_body,"
        " CASE WHEN %(with_text)s THEN jsonb_pretty(document) END AS text, document_changes, attempts, error" + _OF,
        **_key(one),
        with_text=with_text,
    )
    return Body(**row)


def raw_of(reader: Reader, one: Row) -> bytes | None:
    """The file as it came, byte for byte; None where there is none."""
    (row,) = reader.rows("SELECT encode(body, 'hex') AS body" + _OF, **_key(one))
    return None if row["body"] is None else bytes.fromhex(row["body"])


def _key(one: Row) -> Row:
    return {"flow_key": one["flow_key"], "log_id": one["log_id"], "log_type": TYPES[one["log_type"]]}
