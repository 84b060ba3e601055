"""The Integrator's own rows, given back from the archive: every field, with its JSON type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from archiver.logs import Line, Run, Step, canonical, of_postgres, spell
from archiver.queries.reader import Reader

_COMMON = ", ".join(Step._fields[: Step._fields.index("extra")])
STEP = f"{_COMMON}, extra::text, position"
LINE = f"{_COMMON}, fields::text, rest::text"
"""Columns of archive.step and archive.line, for `stored_step` and `stored_line`."""

_AS_TEXT = _COMMON.replace("created, finished", "created::text AS created_text, finished::text AS finished_text")
RUN_TEXT = f"{_AS_TEXT}, extra::text"
STEP_TEXT = f"{_AS_TEXT}, extra::text, position"
LINE_TEXT = f"{_AS_TEXT}, fields::text, rest::text"
"""The same for `run_text`, `step_text` and `line_text`, in a session in UTC."""


def stored_runs(connection: Connection, flow_key: int, *, log_ids: Sequence[int] | None = None) -> Iterator[Run]:
    """The main logs of a flow, newest first, with their sub flows."""
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


def stored_step(columns: Sequence[Any]) -> Step:
    """A sub flow log from the columns STEP."""
    return Step._make(_spelled(columns))


def stored_line(columns: Sequence[Any]) -> Line:
    """A line log from the columns LINE."""
    return Line._make(_spelled(columns))


def main_log_of(reader: Reader, one: Mapping[str, Any]) -> bytes:
    """The main log of a row of reporting.run as it came, as JSON, its sub flows embedded."""
    bind = {"flow_key": one["flow_key"], "log_id": one["log_id"]}
    (run,) = reader.rows(
        f"SELECT {RUN_TEXT} FROM archive.run WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s", **bind
    )
    steps = reader.rows(
        f"SELECT {STEP_TEXT} FROM archive.step WHERE flow_key = %(flow_key)s AND run_log_id = %(log_id)s"
        " AND position IS NOT NULL ORDER BY position",
        **bind,
    )
    return run_text([*run.values()], [step_of([*step.values()]) for step in steps])


def line_logs_of(reader: Reader, one: Mapping[str, Any]) -> Iterator[bytes]:
    """The line logs of a row of reporting.run as they came, as JSON, by id."""
    rows = reader.stream(
        f"SELECT {LINE_TEXT} FROM archive.line"
        " WHERE flow_key = %(flow_key)s AND original_filename_uuid = %(run_id)s ORDER BY log_id",
        flow_key=one["flow_key"],
        run_id=one["run_id"],
    )
    return (line_text([*row.values()]) for row in rows)


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
