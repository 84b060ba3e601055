"""The Integrator's own rows, given back from the archive: every field, with its JSON type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from archiver.logs import Line, Row, Run, Step, canonical, of_postgres, render, spell

_COMMON = ", ".join(Step._fields[: Step._fields.index("extra")])
STEP = f"{_COMMON}, extra::text, position"
LINE = f"{_COMMON}, fields::text, rest::text"
"""Columns of archive.step and archive.line, for `step_log` and `line_log`."""

_AS_TEXT = _COMMON.replace("created, finished", "created::text AS created_text, finished::text AS finished_text")
RUN_TEXT = f"{_AS_TEXT}, extra::text"
STEP_TEXT = f"{_AS_TEXT}, extra::text, position"
LINE_TEXT = f"{_AS_TEXT}, fields::text, rest::text"
"""The same for `run_text`, `step_text` and `line_text`, in a session in UTC."""


def main_logs(connection: Connection, flow_key: int, *, log_ids: Sequence[int] | None = None) -> Iterator[Row]:
    """The main logs of a flow as they came, newest first, their sub flows embedded."""
    return map(render, stored_runs(connection, flow_key, log_ids=log_ids))


def stored_runs(connection: Connection, flow_key: int, *, log_ids: Sequence[int] | None = None) -> Iterator[Run]:
    """The same before they are rendered."""
    runs = connection.execute(
        text(
            f"SELECT {_COMMON}, extra::text FROM archive.run WHERE flow_key = :flow_key"
            " AND (CAST(:log_ids AS bigint[]) IS NULL OR log_id = ANY(:log_ids)) ORDER BY created DESC, log_id DESC"
        ),
        {"flow_key": flow_key, "log_ids": None if log_ids is None else list(log_ids)},
    ).all()
    steps: dict[int, list[Step]] = {}
    for *columns, run_log_id in connection.execute(
        text(
            f"SELECT {STEP}, run_log_id FROM archive.step"
            " WHERE flow_key = :flow_key AND position IS NOT NULL AND run_log_id = ANY(:runs)"
            " ORDER BY run_log_id, position"
        ),
        {"flow_key": flow_key, "runs": [run.log_id for run in runs]},
    ):
        steps.setdefault(run_log_id, []).append(stored_step(columns))
    for run in runs:
        yield Run._make((*_spelled(run), tuple(steps.get(run.log_id, ()))))


def line_logs(connection: Connection, flow_key: int, run_id: str) -> Iterator[Row]:
    """The line logs of a run as they came, by id."""
    rows = connection.execute(
        text(
            f"SELECT {LINE} FROM archive.line"
            " WHERE flow_key = :flow_key AND original_filename_uuid = :run_id ORDER BY log_id"
        ),
        {"flow_key": flow_key, "run_id": run_id},
    )
    for row in rows:
        yield line_log(row)


def stored_step(columns: Sequence[Any]) -> Step:
    """A sub flow log from the columns STEP."""
    return Step._make(_spelled(columns))


def stored_line(columns: Sequence[Any]) -> Line:
    """A line log from the columns LINE."""
    return Line._make(_spelled(columns))


def step_log(columns: Sequence[Any]) -> Row:
    """A sub flow log as it came, from the columns STEP."""
    return render(stored_step(columns))


def line_log(columns: Sequence[Any]) -> Row:
    """A line log as it came, from the columns LINE."""
    return render(stored_line(columns))


def run_text(columns: Sequence[Any], steps: Sequence[Step]) -> bytes:
    """A main log as it came, as JSON, from the columns RUN_TEXT."""
    return spell(Run._make((*_timed(columns), tuple(steps))))


def step_of(columns: Sequence[Any]) -> Step:
    """A sub flow log from the columns STEP_TEXT."""
    return Step._make(_timed(columns))


def step_text(columns: Sequence[Any]) -> bytes:
    """A sub flow log as it came, as JSON, from the columns STEP_TEXT."""
    return spell(step_of(columns))


def line_text(columns: Sequence[Any]) -> bytes:
    """A line log as it came, as JSON, from the columns LINE_TEXT."""
    return spell(Line._make(_timed(columns)))


def _timed(row: Sequence[Any]) -> tuple[Any, ...]:
    finished = row[2]
    return (row[0], of_postgres(row[1]), None if finished is None else of_postgres(finished), *row[3:])


def _spelled(row: Sequence[Any]) -> list[Any]:
    return [canonical(value) if isinstance(value, datetime) else value for value in row]
