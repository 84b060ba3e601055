"""One kind of error, and how it goes: by day, and the newest logs that have it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from archiver.queries.kinds import key_of_kind
from archiver.queries.reader import Reader, Row

COUNTED = 100_000  # newest failures of a kind that are counted by day


# By the index on failed logs alone. Steps, and then runs, repeat what their lines say: they count where no line does.
_BY_DAY = """
    SELECT k.flow_key, k.key, t.place, (t.created AT TIME ZONE 'UTC')::date::text AS day, count(*) AS n
    FROM unnest(%(flow_keys)s::int[], %(keys)s::bigint[]) AS k (flow_key, key)
    CROSS JOIN LATERAL (
        (SELECT 1 AS place, created FROM archive.line WHERE flow_key = k.flow_key AND error_key = k.key AND status = 3
            AND created >= %(since)s ORDER BY created DESC LIMIT {counted})
        UNION ALL
        (SELECT 2, created FROM archive.step WHERE flow_key = k.flow_key AND error_key = k.key AND status = 3
            AND created >= %(since)s ORDER BY created DESC LIMIT {counted})
        UNION ALL
        (SELECT 3, created FROM archive.run WHERE flow_key = k.flow_key AND error_key = k.key AND status = 3
            AND created >= %(since)s ORDER BY created DESC LIMIT {counted})
    ) t GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 4, 3 DESC
"""


def failures_by_day(
    reader: Reader, kinds: Iterable[tuple[int, str]], since: datetime
) -> dict[tuple[int, str], dict[date, int]]:
    """How often each kind (flow and fingerprint) failed on each day (UTC) since then; days without are left out."""
    named = {(flow_key, key_of_kind(one)): (flow_key, one) for flow_key, one in kinds}
    rows = reader.rows(
        _BY_DAY.format(counted=COUNTED),
        flow_keys=[flow_key for flow_key, _ in named],
        keys=[key for _, key in named],
        since=since,
    )
    counts: dict[tuple[int, str], dict[date, int]] = {name: {} for name in named.values()}
    for row in rows:  # lines come last of a day, and count before what repeats them
        counts[named[row["flow_key"], row["key"]]][date.fromisoformat(row["day"])] = row["n"]
    return counts


def kind_named(reader: Reader, flow_key: int, fingerprint: str) -> Row | None:
    """A row of reporting.error_group; None where the flow has no such kind."""
    rows = reader.rows(
        "SELECT * FROM reporting.error_group WHERE flow_key = %(flow_key)s AND fingerprint = %(fingerprint)s",
        flow_key=flow_key,
        fingerprint=fingerprint,
    )
    return rows[0] if rows else None


_LINES = """
    SELECT v.* FROM (
        SELECT log_id, created FROM archive.line
        WHERE flow_key = %(flow_key)s AND error_key = %(key)s AND status = 3 ORDER BY created DESC LIMIT %(limit)s
    ) k JOIN reporting.line v ON v.flow_key = %(flow_key)s AND v.log_id = k.log_id AND v.created_at = k.created
    ORDER BY v.created_at DESC, v.log_id DESC
"""
_RUNS = """
    SELECT v.* FROM (
        SELECT DISTINCT log_id FROM (
            (SELECT run_log_id AS log_id FROM archive.step
             WHERE flow_key = %(flow_key)s AND error_key = %(key)s AND status = 3
             ORDER BY created DESC LIMIT %(limit)s)
            UNION ALL
            (SELECT log_id FROM archive.run
             WHERE flow_key = %(flow_key)s AND error_key = %(key)s AND status = 3
             ORDER BY created DESC LIMIT %(limit)s)
        ) saying
    ) k JOIN reporting.run v ON v.flow_key = %(flow_key)s AND v.log_id = k.log_id
    ORDER BY v.started_at DESC, v.log_id DESC LIMIT %(limit)s
"""


def lines_of_kind(reader: Reader, flow_key: int, fingerprint: str, limit: int) -> list[Row]:
    """The newest failed lines of a kind, as rows of reporting.line."""
    return reader.rows(_LINES, flow_key=flow_key, key=key_of_kind(fingerprint), limit=limit)


def runs_of_kind(reader: Reader, flow_key: int, fingerprint: str, limit: int) -> list[Row]:
    """The newest runs that say it themselves, or whose steps do, as rows of reporting.run."""
    return reader.rows(_RUNS, flow_key=flow_key, key=key_of_kind(fingerprint), limit=limit)


_RUN_OF = """
    SELECT k.place, r.log_id
    FROM unnest(%(flow_keys)s::int[], %(run_ids)s::text[]) WITH ORDINALITY AS k (flow_key, run_id, place)
    CROSS JOIN LATERAL (
        SELECT log_id FROM archive.run WHERE flow_key = k.flow_key AND filename_uuid = k.run_id LIMIT 1
    ) r
"""


def with_runs(reader: Reader, lines: Sequence[Row]) -> list[Row]:
    """Rows of reporting.line, each with `run_log_id`, its run's log id, at the end; None where it is not known."""
    rows = reader.rows(
        _RUN_OF, flow_keys=[line["flow_key"] for line in lines], run_ids=[line["run_id"] for line in lines]
    )
    known = {row["place"]: row["log_id"] for row in rows}
    return [{**line, "run_log_id": known.get(place)} for place, line in enumerate(lines, 1)]
