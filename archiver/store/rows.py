"""Rows into tables: look up by hash, COPY what is new or changed to a staging table, insert or update from there.

Most rows that a pass reads were read before, so that the look-up comes first: an unchanged row costs no write at all.
A row that Postgres refuses does not sink its batch: the batch is halved until the row stands alone, and goes into
quarantine with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import psycopg
from psycopg import sql

from archiver.logs import Line, Run, State, Step

Cursor = psycopg.Cursor[Any]

COMMON = Step._fields[: Step._fields.index("extra")]
RUN = (*COMMON, "extra")
STEP = (*COMMON, "extra", "position", "run_log_id")
LINE = Line._fields
KEY = "error_key"  # of the few rows that have one
STATE, STATUS, SRC_HASH = (COMMON.index(name) for name in ("state", "status", "src_hash"))  # in each of these tuples

# 3, finished, is the last of states, whatever numbers an Integrator may invent for others.
_RANK = "CASE WHEN {0}.state = 3 THEN 32767 ELSE coalesce({0}.state, 0) END"
# Writers of one flow are in turn anyway (the fence); this holds also for a page that was read long ago.
_NEVER_BACK = f"{_RANK.format('excluded')} >= {_RANK.format('stored')}"


def rank(state: int | None) -> int:
    """How far a log has come, as `_RANK` has it in SQL."""
    return 32767 if state == State.FINISHED else state or 0


class Put(NamedTuple):
    """What a write did: how many rows were new, changed, or refused by Postgres."""

    new: int = 0
    changed: int = 0
    refused: int = 0


class Target(NamedTuple):
    """How rows of one kind get into their table."""

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    extra: str  # further columns of the INSERT, and the expressions that fill them
    values: str
    also: str  # further assignments where the row was there before
    guard: str

    def statement(self) -> sql.SQL:
        columns = ", ".join((*self.columns, KEY))
        updates = ", ".join(f"{one} = excluded.{one}" for one in (*self.columns, KEY) if one not in self.key)
        return sql.SQL(
            f"INSERT INTO archive.{self.table} AS stored (flow_key, {columns}{self.extra})"
            f" SELECT %(flow_key)s, {columns}{self.values} FROM staged_{self.table} staged"
            f" ORDER BY {', '.join(one for one in self.key if one != 'flow_key')}"
            f" ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {updates}{self.also}"
            f" WHERE {self.guard}"
        )


# A finished run owes its lines; one that is going on is followed.
_STATE = "CASE WHEN staged.state = 3 THEN 'pending' ELSE 'open' END"
_MOVED = "(stored.archive_state IN ('open', 'stuck', 'lost'))"
RUNS = Target(
    "run",
    RUN,
    ("flow_key", "log_id"),
    ", archive_state, visit_at, seen_at",
    f", {_STATE}, now() + CASE WHEN staged.state = 3 THEN interval '0' ELSE interval '20 s' END, now()",
    f""", seen_at = excluded.seen_at, error = NULL,
        archive_state = CASE WHEN {_MOVED} THEN excluded.archive_state ELSE stored.archive_state END,
        visits = CASE WHEN {_MOVED} AND excluded.state = 3 THEN 0 ELSE stored.visits END,
        visit_at = CASE WHEN {_MOVED} AND (excluded.state = 3 OR stored.archive_state = 'lost')
            THEN excluded.visit_at ELSE stored.visit_at END""",
    _NEVER_BACK,
)
STEPS = Target(
    "step",
    STEP,
    ("flow_key", "log_id"),
    ", seen_at",
    ", now()",
    ", seen_at = excluded.seen_at",
    _NEVER_BACK,
)
LINES = Target("line", LINE, ("log_id", "flow_key", "created"), "", "", "", _NEVER_BACK)


def put(
    cursor: Cursor,
    target: Target,
    rows: Sequence[tuple[Any, ...]],
    bind: dict[str, Any],
    refuse: Callable[[tuple[Any, ...], str], None],
    *,
    keys: Mapping[int, int],
) -> int:
    """Insert or update rows, which must be distinct by key; `keys`: the `error_key` of those that have one, by id.
    Answers how many rows Postgres refused."""
    if not rows:
        return 0
    _stage(cursor, target)
    return _halve(_Staging(cursor, target, keys, bind, refuse), sorted(rows, key=lambda row: cast(int, row[0])))


def _stage(cursor: Cursor, target: Target) -> None:
    cursor.execute(
        sql.SQL(
            f"CREATE TEMP TABLE IF NOT EXISTS staged_{target.table} ON COMMIT DROP AS"
            f" SELECT {', '.join((*target.columns, KEY))} FROM archive.{target.table} WITH NO DATA"
        )
    )


class _Staging(NamedTuple):
    """What every part of a batch is written with."""

    cursor: Cursor
    target: Target
    keys: Mapping[int, int]
    bind: dict[str, Any]
    refuse: Callable[[tuple[Any, ...], str], None]


def _halve(staging: _Staging, rows: Sequence[tuple[Any, ...]]) -> int:
    cursor, target = staging.cursor, staging.target
    try:
        with cursor.connection.transaction():
            _copy(staging, rows)
            cursor.execute(target.statement(), staging.bind)
            cursor.execute(sql.SQL(f"TRUNCATE staged_{target.table}"))
    except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded) as exc:
        if len(rows) == 1:
            # The server's own words may quote the row; its class and code do not.
            staging.refuse(rows[0], f"{type(exc).__name__} (SQLSTATE {exc.sqlstate})")
            return 1
        middle = len(rows) // 2
        return sum(_halve(staging, half) for half in (rows[:middle], rows[middle:]))
    return 0


def _copy(staging: _Staging, rows: Sequence[tuple[Any, ...]]) -> None:
    """Most rows have no `error_key`: they go as they are, and those that have one by themselves."""
    keys, columns = staging.keys, staging.target.columns
    _copy_rows(staging, columns, (row for row in rows if row[0] not in keys) if keys else rows)
    if keys:
        _copy_rows(staging, (*columns, KEY), ((*row, keys[row[0]]) for row in rows if row[0] in keys))


def _copy_rows(staging: _Staging, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    statement = sql.SQL(f"COPY staged_{staging.target.table} ({', '.join(columns)}) FROM STDIN")
    with staging.cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def run_tuple(run: Run) -> tuple[Any, ...]:
    """A run without its steps, in the order of RUN."""
    return tuple(run[:-1])


def step_tuple(step: Step, run: Run) -> tuple[Any, ...]:
    """A step in the order of STEP; one without a usable time takes its run's."""
    if step.created is None:
        step = step._replace(created=run.created)
    return (*step, run.log_id)
