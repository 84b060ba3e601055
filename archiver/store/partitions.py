"""Monthly partitions of `archive.line`, made before a row needs them."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg.errors import LockNotAvailable
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from archiver.postgres import DatabaseInterrupted
from archiver.store.engine import translated

# Months before this one are odd dates: they go into the default partition, so that nobody's hostile clock can make
# the archiver create thousands of tables. So do those more than AHEAD months from now.
EARLIEST = "2010-01"
AHEAD = 3
MONTHS = """
    SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
    WHERE inhparent = 'archive.line'::regclass AND relname ~ '^line_[0-9]{6}$' ORDER BY 1
"""
PATIENCE = "2s"  # for the lock on the default partition


def after(month: str) -> str:
    """The month after `2026-12` is `2027-01`."""
    year, number = int(month[:4]), int(month[5:7])
    return f"{year + number // 12:04}-{number % 12 + 1:02}"


class Partitions:
    """The months that are known to have a partition, and the way to make more."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: set[str] = set()

    def ensure(self, months: Iterable[str]) -> None:
        """Make the partitions of these months (`2026-11`) and, the first time, of the months ahead."""
        wanted = set(months)
        if not self._known or not wanted <= self._known:
            self._make(wanted)

    def ensure_ahead(self) -> None:
        """Make the partitions of this month and the next ones; those for which a lock cannot be had, another time."""
        self._make(set())

    def _make(self, wanted: set[str]) -> None:
        with translated(), self._engine.begin() as connection:
            today = connection.scalar(text("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')"))
            ahead = [str(today)]
            for _ in range(AHEAD):
                ahead.append(after(ahead[-1]))
            months = sorted(month for month in wanted | set(ahead) if EARLIEST <= month <= ahead[-1])
            missing = list(connection.scalars(text(_MISSING), {"months": months}))
        left = {month for month in missing if not self._made(month)}
        self._known |= (wanted | set(months)) - left
        if left & wanted:
            raise DatabaseInterrupted(
                f"no partition of archive.line can be made for {min(left & wanted)} while others use the table for long"
            )

    def _made(self, month: str) -> bool:
        """Make one, unless the lock on the default partition does not come soon: whoever waits for it holds all others
        up, and a dump has the table for as long as it takes."""
        try:
            with self._engine.begin() as connection:
                connection.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE}'"))
                # A function of the owner's: the archiver's own role may create nothing.
                connection.execute(
                    text("SELECT archive.make_partition(CAST(:first AS date))"), {"first": f"{month}-01"}
                )
        except DBAPIError as exc:
            if isinstance(exc.orig, LockNotAvailable):
                return False
            with translated():
                raise
        return True


_MISSING = """
    SELECT month FROM unnest(CAST(:months AS text[])) AS month
    WHERE to_regclass('archive.line_' || replace(month, '-', '')) IS NULL
"""
