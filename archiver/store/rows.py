"""Rows into tables: look up by hash, COPY what is new; what has changed by way of a staging table.

Most rows that a pass reads were read before, so that the look-up comes first: an unchanged row costs no write at all.
Lines that are new go straight into their table, for half the price of a staging table and an upsert.
A row that Postgres refuses does not sink its batch: the batch is halved until the row stands alone, and goes into
quarantine with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from archiver.logs import Line, Run, State, Step

Cursor = psycopg.Cursor[Any]
Bind = Mapping[str, Any]
Row = tuple[Any, ...]
Rows = Sequence[tuple[int, bytes]]

COMMON = Step._fields[: Step._fields.index("extra")]
RUN = (*COMMON, "extra")
STEP = (*COMMON, "extra", "position", "run_log_id")
LINE = Line._fields
KEY = "error_key"  # of the few rows that have one
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)
TOGETHER = 150  # rows that are handed to libpq at once: some 100 kB

# 3, finished, is the last of states, whatever numbers an Integrator may invent for others.
_RANK = "CASE WHEN {0}.state = 3 THEN 32767 ELSE coalesce({0}.state, 0) END"
# Writers of one flow are in turn anyway (the fence); this holds also for a page that was read long ago.
_NEVER_BACK = f"{_RANK.format('excluded')} >= {_RANK.format('stored')}"


def cursor_of(connection: Connection) -> Cursor:
    """The driver's own cursor on a connection, for COPY and for statements with `%(name)s`."""
    return cast("Cursor", connection.connection.cursor())


def execute(cursor: Cursor, statement: str, bind: Bind | None = None) -> Cursor:
    """Run a text of ours, never of anybody else's; without `bind`, a `%` in it stands for itself."""
    return cursor.execute(cast("sql.SQL", statement), bind)


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
        """INSERT … SELECT from the staging table; an older state never overwrites a newer one."""
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


class Batch(NamedTuple):
    """How the rows of one batch are written, each given by its id with its text for COPY. `keys`: the `error_key` of
    those that have one, by id; `refuse` hears of rows that Postgres refuses, with the reason."""

    cursor: Cursor
    target: Target
    bind: dict[str, Any]
    keys: Mapping[int, int]
    refuse: Callable[[int, str], None]

    def put(self, rows: Mapping[int, bytes]) -> None:
        """Insert or update rows."""
        if rows:
            table, columns = self.target.table, ", ".join((*self.target.columns, KEY))
            self.cursor.execute(
                sql.SQL(
                    f"CREATE TEMP TABLE IF NOT EXISTS staged_{table} ON COMMIT DROP AS"
                    f" SELECT {columns} FROM archive.{table} WITH NO DATA"
                )
            )
            self._halve(sorted(rows.items()), self._upsert)

    def insert(self, rows: Mapping[int, bytes]) -> None:
        """Insert rows. Raises UniqueViolation where one is there already, and has then written none; the transaction
        goes on."""
        if not rows:
            return
        ordered = sorted(rows.items())
        try:
            with self.cursor.connection.transaction():
                self._insert(ordered)
        except psycopg.errors.UniqueViolation:
            raise
        except REFUSALS:
            with self.cursor.connection.transaction():  # all the halves or none
                self._halve(ordered, self._insert)

    # Sorted by key, so that two writers do not meet in a deadlock and neighbours go into the same pages of the indexes.

    def _halve(self, rows: Rows, write: Callable[[Rows], None]) -> None:
        try:
            with self.cursor.connection.transaction():
                write(rows)
        except psycopg.errors.UniqueViolation:
            raise
        except REFUSALS as exc:
            if len(rows) == 1:
                # The server's own words may quote the row; its class and code do not.
                self.refuse(rows[0][0], f"{type(exc).__name__} (SQLSTATE {exc.sqlstate})")
                return
            middle = len(rows) // 2
            self._halve(rows[:middle], write)
            self._halve(rows[middle:], write)

    def _upsert(self, rows: Rows) -> None:
        table = self.target.table
        self._copy(f"staged_{table}", rows)
        self.cursor.execute(self.target.statement(), self.bind)
        self.cursor.execute(sql.SQL(f"TRUNCATE staged_{table}"))

    def _insert(self, rows: Rows) -> None:
        self._copy(f"archive.{self.target.table}", rows, **self.bind)

    def _copy(self, table: str, rows: Rows, **also: int) -> None:
        """Most rows have no `error_key`: they go as they are, and those that have one by themselves. `also`: columns
        that have the same value in all rows."""
        keys, names, first = self.keys, (*also, *self.target.columns), b"".join(b"%d\t" % one for one in also.values())
        plain = [text for one, text in rows if one not in keys] if keys else [text for _, text in rows]
        self._copy_texts(table, names, first, plain)
        failed = [text + b"\t%d" % keys[one] for one, text in rows if one in keys] if keys else []
        self._copy_texts(table, (*names, KEY), first, failed)

    def _copy_texts(self, table: str, columns: Sequence[str], first: bytes, texts: Sequence[bytes]) -> None:
        if texts:
            copied = sql.SQL(f"COPY {table} ({', '.join(columns)}) FROM STDIN (ENCODING 'UTF8')")
            with self.cursor.copy(copied) as copy:
                for start in range(0, len(texts), TOGETHER):
                    some = texts[start : start + TOGETHER]
                    copy.write(first + (b"\n" + first).join(some) + b"\n")


def run_tuple(run: Run) -> tuple[Any, ...]:
    """A run without its steps, in the order of RUN."""
    return tuple(run[:-1])


def step_tuple(step: Step, run_log_id: int, run_created: str) -> tuple[Any, ...]:
    """A step in the order of STEP; one without a usable time takes its run's."""
    if step.created is None:
        step = step._replace(created=run_created)
    return (*step, run_log_id)
