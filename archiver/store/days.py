"""A row per flow and business day: runs, lines, durations. `archive.flow_day` is exact at every commit.

A day belongs to the runs that began in it, and so do their lines, whenever they were logged: all of a row follows from
`archive.run` alone. Runs that are new or have changed have their days counted again, by index, from the day's runs;
lines that are new or have changed move the counts of their run, and of its day, by as much. Both happen in the
transaction that writes the rows, under the lock on the flow's checkpoint, so that nobody counts in between. `writes`
grows whenever a run of the day, or a line of one, was written: what somebody counted before holds while it stands.

The zone in which days are cut stands in `archive.flow.day_zone`, not in the configuration of whoever writes: two
daemons whose configurations differ cut the same days. `rezone` changes it, and cuts all days of a flow anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg
from psycopg import sql
from sqlalchemy import Engine, text

from archiver.errors import ConfigError
from archiver.store.engine import translated
from archiver.store.rows import Cursor

# What a day's row says of its runs. `finished - created` is as long as reporting.run.duration_seconds.
_COUNTS = """
    count(*), count(*) FILTER (WHERE status = 2),
    count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4),
    coalesce(sum(line_count), 0), coalesce(sum(failed_line_count), 0),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished - created)::float8),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM finished - created)::float8),
    max(extract(epoch FROM finished - created)::float8)
"""
_COLUMNS = "runs, succeeded, failed, empty, lines, failed_lines, duration_p50, duration_p95, duration_max"
_ANEW = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")) + ", writes = flow_day.writes + 1"
# The index narrows it to the hours that a day may have in some zone, the cast picks the day. A day without runs keeps a
# row of zeros.
_RECOUNT = sql.SQL(f"""
    INSERT INTO archive.flow_day (flow_key, day, {_COLUMNS}, writes)
    SELECT %(flow_key)s, touched.day, counted.*, 1
    FROM (
        SELECT DISTINCT day_zone, (moment AT TIME ZONE day_zone)::date AS day
        FROM archive.flow CROSS JOIN unnest(%(moments)s::timestamptz[]) moment WHERE flow_key = %(flow_key)s
    ) touched
    CROSS JOIN LATERAL (
        SELECT {_COUNTS} FROM archive.run
        WHERE flow_key = %(flow_key)s AND (created AT TIME ZONE touched.day_zone)::date = touched.day
            AND created >= touched.day::timestamp AT TIME ZONE 'UTC' - interval '16 hours'
            AND created < touched.day::timestamp AT TIME ZONE 'UTC' + interval '40 hours'
    ) counted
    ON CONFLICT (flow_key, day) DO UPDATE SET {_ANEW}
""")
_ADD_LINES = sql.SQL("""
    UPDATE archive.flow_day d SET lines = d.lines + more.lines, failed_lines = d.failed_lines + more.failed,
        writes = d.writes + 1
    FROM (
        SELECT (moment AT TIME ZONE day_zone)::date AS day, sum(lines) AS lines, sum(failed) AS failed
        FROM archive.flow
        CROSS JOIN unnest(%(moments)s::timestamptz[], %(lines)s::bigint[], %(failed)s::bigint[])
            AS one(moment, lines, failed)
        WHERE flow_key = %(flow_key)s GROUP BY 1
    ) more
    WHERE d.flow_key = %(flow_key)s AND d.day = more.day
""")
_LOCK = text("SELECT FROM archive.checkpoint WHERE flow_key = :flow_key FOR NO KEY UPDATE")
_CLEAR = text(f"""
    UPDATE archive.flow_day
    SET {", ".join(f"{name} = 0" for name in _COLUMNS.split(", ")[:6])},
        duration_p50 = NULL, duration_p95 = NULL, duration_max = NULL, writes = writes + 1
    WHERE flow_key = :flow_key
""")
_FILL = text(f"""
    INSERT INTO archive.flow_day (flow_key, day, {_COLUMNS}, writes)
    SELECT flow_key, (created AT TIME ZONE :zone)::date, {_COUNTS}, 1
    FROM archive.run WHERE flow_key = :flow_key GROUP BY 1, 2
    ON CONFLICT (flow_key, day) DO UPDATE SET {_ANEW}
""")


def recount(cursor: Cursor, flow_key: int, moments: Iterable[str]) -> None:
    """Count the days anew in which runs of these moments began; the runs are written already."""
    cursor.execute(_RECOUNT, {"flow_key": flow_key, "moments": list(moments)})


def add_lines(
    cursor: Cursor, flow_key: int, moments: Sequence[str], *, lines: Sequence[int], failed: Sequence[int]
) -> None:
    """So many more lines, and failed ones, of runs that began at these moments."""
    bind = {"flow_key": flow_key, "moments": moments, "lines": lines, "failed": failed}
    cursor.execute(_ADD_LINES, bind)


def rezone(engine: Engine, zone: str) -> int:
    """Cut the days of all flows in this zone; answers how many flows were cut anew, each in one transaction.

    Raises ConfigError where the database does not know the zone; then nothing has changed.
    """
    with translated(), engine.begin() as connection:
        others = connection.scalars(
            text("SELECT flow_key FROM archive.flow WHERE day_zone <> :zone ORDER BY 1"), {"zone": zone}
        ).all()
    if others:
        _require(engine, zone)
    for flow_key in others:
        bind = {"flow_key": flow_key, "zone": zone}
        with translated(), engine.begin() as connection:
            connection.execute(_LOCK, bind)
            connection.execute(text("UPDATE archive.flow SET day_zone = :zone WHERE flow_key = :flow_key"), bind)
            connection.execute(_CLEAR, bind)
            connection.execute(_FILL, bind)
    return len(others)


def _require(engine: Engine, zone: str) -> None:
    with translated(), engine.connect() as connection:
        driver = connection.connection.driver_connection
        try:
            driver.execute("SELECT now() AT TIME ZONE %s", (zone,))  # type: ignore[union-attr]
        except psycopg.errors.InvalidParameterValue as exc:
            raise ConfigError(
                [f"reporting.timezone: the database knows no time zone {zone!r}; write one that it knows, such as UTC"]
            ) from exc
