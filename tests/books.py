"""What the rollups have to say, counted from the rows alone, in another way than the store counts."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import psycopg

from archiver.messages import message_in_document, message_of, recognise, sample

DAYS = """
SELECT r.flow_key, (r.created AT TIME ZONE f.day_zone)::date AS day, count(*)::int AS runs,
    count(*) FILTER (WHERE r.status = 2)::int, count(*) FILTER (WHERE r.status = 3)::int,
    count(*) FILTER (WHERE r.status = 4)::int, sum(l.lines)::bigint, sum(l.failed)::bigint,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM r.finished - r.created)::float8),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM r.finished - r.created)::float8),
    max(extract(epoch FROM r.finished - r.created))::float8
FROM archive.run r JOIN archive.flow f USING (flow_key)
CROSS JOIN LATERAL (
    SELECT count(*) AS lines, count(*) FILTER (WHERE status = 3) AS failed FROM archive.line l
    WHERE l.flow_key = r.flow_key AND l.original_filename_uuid = coalesce(r.filename_uuid, r.original_filename_uuid)
) l
GROUP BY 1, 2 ORDER BY 1, 2
"""
LOGS = """
SELECT 1, r.flow_key, r.log_id, r.created, coalesce(filename_uuid, original_filename_uuid, r.log_id::text),
    extra::text, NULL, d.document::text, r.error_key
FROM archive.run r LEFT JOIN archive.detail d ON d.flow_key = r.flow_key AND d.log_type = 1 AND d.log_id = r.log_id
WHERE r.status = 3
UNION ALL
SELECT 2, r.flow_key, r.log_id, r.created, coalesce(original_filename_uuid, r.run_log_id::text),
    extra::text, NULL, d.document::text, r.error_key
FROM archive.step r LEFT JOIN archive.detail d ON d.flow_key = r.flow_key AND d.log_type = 2 AND d.log_id = r.log_id
WHERE r.status = 3
UNION ALL
SELECT 3, r.flow_key, r.log_id, r.created, original_filename_uuid,
    fields::text, rest::text, d.document::text, r.error_key
FROM archive.line r LEFT JOIN archive.detail d ON d.flow_key = r.flow_key AND d.log_type = 3 AND d.log_id = r.log_id
WHERE r.status = 3
"""
STRAY = """
SELECT count(*) FROM (
    SELECT error_key, status FROM archive.run UNION ALL SELECT error_key, status FROM archive.step
    UNION ALL SELECT error_key, status FROM archive.line
) logs WHERE error_key IS NOT NULL AND status IS DISTINCT FROM 3
"""


GROUPS = """
SELECT flow_key, fingerprint, template, error_class, sample, occurrences, runs_hit, first_seen_at, last_seen_at,
    last_log_type, last_log_id
FROM archive.error_group
WHERE occurrences <> 0 OR runs_hit <> 0 OR sample IS NOT NULL OR first_seen_at IS NOT NULL OR template <> ''
"""
PAIRS = """
SELECT flow_key, fingerprint, run_id, lines, steps, runs FROM archive.error_run WHERE (lines, steps, runs) <> (0, 0, 0)
"""


def wrong(dsn: str) -> list[str]:
    """Where the rollups differ from what the rows say; nothing, if all is exact."""
    with psycopg.connect(dsn) as connection:
        return _days(connection) + _runs(connection) + _errors(connection)


RUNS = """
SELECT r.log_id, r.line_count, r.failed_line_count, count(l.log_id), count(l.log_id) FILTER (WHERE l.status = 3)
FROM archive.run r LEFT JOIN archive.line l ON l.flow_key = r.flow_key
    AND l.original_filename_uuid = coalesce(r.filename_uuid, r.original_filename_uuid)
GROUP BY r.flow_key, r.log_id
"""


def _days(connection: psycopg.Connection[Any]) -> list[str]:
    want = connection.execute(DAYS).fetchall()
    have = connection.execute(
        "SELECT flow_key, day, runs, succeeded, failed, empty, lines, failed_lines, duration_p50, duration_p95,"
        " duration_max FROM archive.flow_day WHERE runs > 0 ORDER BY flow_key, day"
    ).fetchall()
    empty = connection.execute(
        "SELECT * FROM archive.flow_day WHERE runs = 0 AND (lines, failed_lines, duration_max IS NULL) <> (0, 0, true)"
    ).fetchall()
    return [f"days: {one}" for one in {*want} ^ {*have}] + [f"empty day: {one}" for one in empty]


def _runs(connection: psycopg.Connection[Any]) -> list[str]:
    rows = connection.execute(RUNS)
    return [f"run {row[0]}: {row[1:]}" for row in rows if row[1:3] != row[3:]]


def _errors(connection: psycopg.Connection[Any]) -> list[str]:
    found: list[str] = []
    hits: dict[tuple[int, int], list[tuple[Any, ...]]] = defaultdict(list)
    for log_type, flow_key, log_id, created, run_id, first, second, document, key in connection.execute(LOGS.encode()):
        message = message_of(first, second) or message_in_document(document)
        want = None if message is None and log_type != 3 else recognise(message or "").fingerprint
        if key != want:
            found.append(f"log {log_type}/{log_id}: key {key}, not {want}")
        if want is not None:
            hits[flow_key, want].append((created, log_type, log_id, run_id, message or ""))
    groups: dict[Any, Any] = {}
    pairs: dict[Any, Any] = {}
    for place, logs in hits.items():
        by_run: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for log in logs:
            by_run[log[3]][3 - log[1]] += 1
        pairs |= {(*place, run_id): tuple(counts) for run_id, counts in by_run.items()}
        often = sum(counts[0] or counts[1] or counts[2] for counts in by_run.values())
        newest, kind = max(logs), recognise(logs[0][4])
        groups[place] = (*kind[1:], sample(newest[4]), often, len(by_run), min(logs)[0], *newest[:3])
    found += _differ("group", _keyed(connection, GROUPS), groups)
    found += _differ("pair", _keyed(connection, PAIRS, 3), pairs)
    strays = connection.execute(STRAY).fetchone()
    assert strays is not None
    return found + ([f"{strays[0]} keys of logs that did not fail"] if strays[0] else [])


def _keyed(connection: psycopg.Connection[Any], statement: str, width: int = 2) -> dict[Any, Any]:
    return {row[:width]: row[width:] for row in connection.execute(statement.encode())}


def _differ(what: str, have: dict[Any, Any], want: dict[Any, Any]) -> list[str]:
    places = sorted(have.keys() | want.keys(), key=str)
    return [f"{what} {one}: {have.get(one)}, not {want.get(one)}" for one in places if have.get(one) != want.get(one)]
