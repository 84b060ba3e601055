"""Kinds of errors: what failed, how often, since when, and which values it affected."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.queries.reader import Reader, Row

LOOKED_AT = 500  # newest failed lines of a kind whose fields are looked at
VALUES = 5  # of a field that are named


@dataclass(frozen=True, slots=True)
class ErrorFilter:
    """Which kinds of errors: None and empty mean all. What failed in a period alone is counted: `since` is its first
    moment, `until` the first behind it."""

    flow_keys: Sequence[int] | None = None
    classes: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


_EVER = """
    SELECT * FROM reporting.error_group
    WHERE (%(flow_keys)s::int[] IS NULL OR flow_key = ANY(%(flow_keys)s))
        AND (%(classes)s::text[] IS NULL OR error_class = ANY(%(classes)s))
    ORDER BY occurrences DESC, last_seen_at DESC, flow_key, fingerprint LIMIT %(limit)s
"""
# A kind that happened in the period alone is counted already. Of the others the failed logs of the period, by the index
# on them; a step or a run counts where no line of its run has the kind, as in reporting.error_group.
_WITHIN = """
    WITH kind AS MATERIALIZED (
        SELECT flow_key, fingerprint AS key, occurrences, runs_hit,
            first_seen_at >= %(since)s AND last_seen_at < %(until)s AS is_whole
        FROM archive.error_group
        WHERE last_seen_at >= %(since)s AND first_seen_at < %(until)s
            AND (%(flow_keys)s::int[] IS NULL OR flow_key = ANY(%(flow_keys)s))
            AND (%(classes)s::text[] IS NULL OR error_class = ANY(%(classes)s))
    ), hit AS (
        SELECT k.flow_key, k.key, l.original_filename_uuid AS run_id, count(*) AS lines, 0 AS steps, 0 AS runs
        FROM kind k JOIN archive.line l ON l.flow_key = k.flow_key AND l.error_key = k.key AND l.status = 3
            AND l.created >= %(since)s AND l.created < %(until)s WHERE NOT k.is_whole GROUP BY 1, 2, 3
        UNION ALL
        SELECT k.flow_key, k.key, coalesce(s.original_filename_uuid, s.run_log_id::text), 0, count(*), 0
        FROM kind k JOIN archive.step s ON s.flow_key = k.flow_key AND s.error_key = k.key AND s.status = 3
            AND s.created >= %(since)s AND s.created < %(until)s WHERE NOT k.is_whole GROUP BY 1, 2, 3
        UNION ALL
        SELECT k.flow_key, k.key, coalesce(r.filename_uuid, r.original_filename_uuid, r.log_id::text), 0, 0, count(*)
        FROM kind k JOIN archive.run r ON r.flow_key = k.flow_key AND r.error_key = k.key AND r.status = 3
            AND r.created >= %(since)s AND r.created < %(until)s WHERE NOT k.is_whole GROUP BY 1, 2, 3
    ), by_run AS (
        SELECT flow_key, key, coalesce(nullif(sum(lines), 0), nullif(sum(steps), 0), sum(runs)) AS n
        FROM hit GROUP BY flow_key, key, run_id
    ), counted AS (
        SELECT flow_key, key, sum(n)::bigint AS occurrences, count(*) AS runs_hit FROM by_run GROUP BY 1, 2
        UNION ALL
        SELECT flow_key, key, occurrences, runs_hit FROM kind WHERE is_whole
    )
    SELECT g.first_seen_at, g.last_seen_at, g.flow_key, g.flow_name, g.fingerprint, g.sample, c.occurrences,
        c.runs_hit, g.error_class, g.template, g.version
    FROM counted c
    JOIN reporting.error_group g ON g.flow_key = c.flow_key AND g.fingerprint = lpad(to_hex(c.key), 16, '0')
    ORDER BY c.occurrences DESC, g.last_seen_at DESC, g.flow_key, g.fingerprint LIMIT %(limit)s
"""


def error_groups(reader: Reader, which: ErrorFilter, limit: int | None = None) -> list[Row]:
    """Rows of reporting.error_group, the most frequent first. Of a period, `occurrences` and `runs_hit` are those in
    it; when a kind first and last happened, and its sample, stay those of all time."""
    return reader.rows(
        _EVER if which.since is None and which.until is None else _WITHIN,
        flow_keys=None if which.flow_keys is None else list(which.flow_keys),
        classes=list(which.classes) or None,
        since=which.since or "-infinity",
        until=which.until or "infinity",
        limit=limit,
    )


def key_of_kind(fingerprint: str) -> int:
    """The number that the tables have for a fingerprint of the views."""
    number = int(fingerprint, 16)
    return number - 2**64 if number >= 2**63 else number


# Where the newest lines begin, the index alone says; then only their rows are read.
_AFFECTED = """
    WITH newest AS MATERIALIZED (
        SELECT coalesce(fields, '{}') || coalesce(rest, '{}') AS beside FROM archive.line
        WHERE flow_key = %(flow_key)s AND status = 3 AND error_key = %(key)s AND created >= greatest(%(since)s, (
            SELECT created FROM archive.line WHERE flow_key = %(flow_key)s AND status = 3 AND error_key = %(key)s
            ORDER BY created DESC OFFSET %(most)s - 1 LIMIT 1
        ), '-infinity')
    ), counted AS (
        SELECT name, beside -> name AS value, count(*) AS n
        FROM newest CROSS JOIN unnest(%(fields)s::text[]) name WHERE beside ? name GROUP BY 1, 2
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY name ORDER BY n DESC, value) AS place FROM counted
    )
    SELECT name, count(*) AS distinct_values, (SELECT count(*) FROM newest) AS looked_at,
        jsonb_agg(value ORDER BY place) FILTER (WHERE place <= %(values)s) AS values
    FROM ranked GROUP BY name
"""


@dataclass(frozen=True, slots=True)
class Affected:
    """The values of one search field among the failed lines of a kind: how many different ones, the most frequent of
    them, and whether all lines were looked at or only the newest."""

    field: str
    distinct_values: int
    values: tuple[object, ...]
    is_complete: bool


def affected(reader: Reader, group: Row, fields: Iterable[str], since: datetime | None = None) -> list[Affected]:
    """What a row of reporting.error_group hit, by the search fields that are declared for its flow, in their order."""
    names = list(dict.fromkeys(fields))
    if not names:
        return []
    rows = reader.rows(
        _AFFECTED,
        flow_key=group["flow_key"],
        key=key_of_kind(group["fingerprint"]),
        fields=names,
        since=since,
        most=LOOKED_AT,
        values=VALUES,
    )
    found: Mapping[str, Row] = {row["name"]: row for row in rows}
    return [
        Affected(name, row["distinct_values"], tuple(json.loads(row["values"])), row["looked_at"] < LOOKED_AT)
        for name in names
        if (row := found.get(name)) is not None
    ]
