"""One log of a run with its file: the main log, a step or a line."""

from __future__ import annotations

from typing import NamedTuple

from archiver.queries.details import TYPES
from archiver.queries.reader import Json, Reader, Row

SHOWN = 2_000_000  # bytes of a document that are shown; a larger one can be downloaded


class LogFile(NamedTuple):
    """The file of a log. `document` is JSON text, None where there is none or it is larger than SHOWN bytes;
    `document_bytes` tells which. `has_body`: there are bytes to download."""

    outcome: str
    byte_size: int | None
    sha256: str | None
    fetched_at: object
    attempts: int
    error: str | None
    document_changes: str | None
    body_form: str | None
    has_body: bool
    document_bytes: int | None
    document: Json | None


# Bytes, before the document is made text: what is packed in storage is never much larger than what is not.
_FILE = """
    SELECT outcome, byte_size, sha256, fetched_at, attempts, error, document_changes, body_form,
        body IS NOT NULL AS has_body, octet_length(document::text) AS document_bytes,
        CASE WHEN octet_length(document::text) <= %(shown)s THEN document END AS document
    FROM archive.detail WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s
"""
_STEP = "SELECT * FROM reporting.step WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s"
# By the primary key; a line of the same id and flow in another month is another line.
_LINE = """
    SELECT * FROM reporting.line WHERE log_id = %(log_id)s AND flow_key = %(flow_key)s
    ORDER BY run_id IS DISTINCT FROM %(run_id)s, created_at DESC LIMIT 1
"""


def log_of(reader: Reader, run: Row, log_type: str, log_id: int) -> Row | None:
    """A log of a row of reporting.run, as a row of the view that it belongs to; None where the run has none such."""
    if log_type == "main":
        return run if run["log_id"] == log_id else None
    bind = {"flow_key": run["flow_key"], "log_id": log_id, "run_id": run["run_id"]}
    found = reader.rows(_STEP if log_type == "sub" else _LINE, **bind)
    return next((row for row in found if row["run_id"] == run["run_id"]), None)


def file_of(reader: Reader, flow_key: int, log_type: str, log_id: int) -> LogFile | None:
    """The file of a log; None where none was ever wanted."""
    rows = reader.rows(_FILE, flow_key=flow_key, log_type=TYPES[log_type], log_id=log_id, shown=SHOWN)
    return LogFile(**rows[0]) if rows else None


def files_of_run(reader: Reader, run: Row, limit: int) -> list[Row]:
    """The files of a run, its own first, without their documents."""
    return reader.rows(
        "SELECT CASE log_type WHEN 1 THEN 'main' WHEN 2 THEN 'sub' ELSE 'line' END AS log_type, log_id, outcome,"
        " byte_size, sha256, fetched_at, attempts, error, message FROM archive.detail"
        " WHERE flow_key = %(flow_key)s AND run_log_id = %(log_id)s ORDER BY detail.log_type, log_id LIMIT %(limit)s",
        flow_key=run["flow_key"],
        log_id=run["log_id"],
        limit=limit,
    )
