"""What the archive gives back of the Integrator's rows, to be held against what came."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from archiver.logs import Row, render
from archiver.queries.originals import LINE, stored_line, stored_runs


def main_logs(connection: Connection, flow_key: int, *, log_ids: list[int] | None = None) -> Iterator[Row]:
    """The main logs of a flow as they came, newest first, their sub flows embedded."""
    return map(render, stored_runs(connection, flow_key, log_ids=log_ids))


def line_logs(connection: Connection, flow_key: int, run_id: str) -> Iterator[Row]:
    """The line logs of a run as they came, by id."""
    rows = connection.execute(
        text(
            f"SELECT {LINE} FROM archive.line"
            " WHERE flow_key = :flow_key AND original_filename_uuid = :run_id ORDER BY log_id"
        ),
        {"flow_key": flow_key, "run_id": run_id},
    )
    return (render(stored_line(row)) for row in rows)
