"""What proves a run: when it was seen, and its files as they were fetched."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.queries.reader import Reader, Row


def times_of(reader: Reader, one: Row) -> Row:
    """When a row of reporting.run was seen, changed and confirmed, and how many lines the Integrator counted."""
    (row,) = reader.rows(
        "SELECT first_seen_at, seen_at, sealed_at, archive_state, line_count, source_line_count, lines_pruned,"
        " details_pruned, (SELECT count(*) FROM archive.tombstone t WHERE t.flow_key = r.flow_key AND t.log_type = 3)"
        " AS erased_lines_of_flow FROM archive.run r WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s",
        flow_key=one["flow_key"],
        log_id=one["log_id"],
    )
    return row


def files_of(reader: Reader, one: Row) -> Iterator[Row]:
    """The files of a run with the times of their fetching, without their bytes."""
    return reader.stream(
        "SELECT flow_key, CASE log_type WHEN 1 THEN 'main' WHEN 2 THEN 'sub' WHEN 3 THEN 'line'"
        " ELSE log_type::text END AS log_type, log_id, outcome, body IS NOT NULL AS has_body, body_form, byte_size,"
        " sha256, fetched_at, attempts, document_changes, error FROM archive.detail"
        " WHERE flow_key = %(flow_key)s AND run_log_id = %(log_id)s ORDER BY detail.log_type, log_id",
        flow_key=one["flow_key"],
        log_id=one["log_id"],
    )
