"""What alerts are decided on: facts about the flows, in a form that costs an index look-up or two for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from archiver.config import Flow
from archiver.config.cron import twice
from archiver.queries.reader import Reader, Row
from archiver.signs import FlowFacts, NewKind

RECENT = 20  # newest finished runs of which the error rate is

# `since`: what an alert of failed runs has told already is not told as an error rate as well.
_FLOWS = f"""
    WITH asked AS (
        SELECT c.*, f.added_at, f.day_zone, (
            SELECT max(resolved_at) FROM archive.alert a WHERE a.kind = 'failed' AND a.subject = c.flow_key::text
        ) AS recovered_at
        FROM archive.checkpoint c JOIN archive.flow f USING (flow_key) WHERE c.flow_key = ANY(%(keys)s)
    )
    SELECT a.flow_key, a.added_at, a.frontier AS covered_to, (a.intervals -> -1 ->> 0)::timestamptz AS covered_from,
        a.checked_at, a.walk IS NOT NULL AS is_walking, a.failures_in_a_row AS failures,
        coalesce(a.last_error, '') AS last_error, a.login_refused,
        (a.source ->> 'retention')::float8 / 1e6 AS retention,
        coalesce((a.source ->> 'lateness')::float8, 0) / 1e6 AS lateness,
        (SELECT max(created) FROM archive.run r WHERE r.flow_key = a.flow_key) AS last_run_at,
        good.created AS last_good_at, failing.n AS failed_in_a_row, failing.since AS failed_since,
        newest.created AS failed_run_at, newest.run_id AS failed_run, newest.log_id AS failed_log_id,
        newest.failed_line_count AS failed_lines, newest.line_count AS lines,
        coalesce(newest.archive_state NOT IN ('open', 'pending'), true) AS is_read,
        coalesce(extract(epoch FROM now() - newest.first_seen_at), 0)::float8 AS read_for,
        coalesce(newest.message, said.sample, '') AS sample,
        recent.lines AS recent_lines, recent.failed AS recent_failed_lines, recent.seconds AS recent_duration,
        usual.rate AS usual_rate, usual.seconds AS usual_duration, usual.days AS usual_days,
        (SELECT min(created) FROM archive.run r WHERE r.flow_key = a.flow_key AND r.state IS DISTINCT FROM 3
            AND r.archive_state = 'open' AND r.created > now() - interval '7 days') AS running_since
    FROM asked a
    LEFT JOIN LATERAL (
        SELECT max(created) AS created FROM archive.run r
        WHERE r.flow_key = a.flow_key AND r.status IN (2, 4) AND r.state = 3
    ) good ON true
    LEFT JOIN LATERAL (
        SELECT count(*)::int AS n, min(created) AS since FROM (
            SELECT created FROM archive.run r WHERE r.flow_key = a.flow_key AND r.status = 3 AND r.state = 3
                AND r.created > coalesce(good.created, '-infinity') ORDER BY created DESC LIMIT 10000
        ) few
    ) failing ON true
    LEFT JOIN LATERAL (
        SELECT r.created, r.log_id, coalesce(r.filename_uuid, r.original_filename_uuid) AS run_id, r.line_count,
            r.failed_line_count, r.archive_state, r.first_seen_at, v.message
        FROM archive.run r JOIN reporting.run v USING (flow_key, log_id)
        WHERE failing.n > 0 AND r.flow_key = a.flow_key AND r.status = 3 AND r.state = 3
        ORDER BY r.created DESC, r.log_id DESC LIMIT 1
    ) newest ON true
    LEFT JOIN LATERAL (
        SELECT sample FROM archive.error_group g WHERE g.flow_key = a.flow_key AND g.sample <> ''
            AND g.last_seen_at >= coalesce(newest.created, now() - interval '1 day')
        ORDER BY g.last_seen_at DESC LIMIT 1
    ) said ON true
    LEFT JOIN LATERAL (
        SELECT coalesce(sum(line_count), 0)::bigint AS lines, coalesce(sum(failed_line_count), 0)::bigint AS failed,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE place <= 5) AS seconds
        FROM (
            SELECT line_count, failed_line_count, extract(epoch FROM finished - created)::float8 AS seconds,
                row_number() OVER (ORDER BY created DESC) AS place
            FROM archive.run r WHERE r.flow_key = a.flow_key AND r.state = 3
                AND r.created > greatest(now() - interval '3 days', a.recovered_at)
            ORDER BY created DESC LIMIT {RECENT}
        ) few
    ) recent ON true
    LEFT JOIN LATERAL (
        SELECT count(*)::int AS days, percentile_cont(0.9) WITHIN GROUP (ORDER BY duration_p95) AS seconds,
            percentile_cont(0.9) WITHIN GROUP (ORDER BY failed_lines::float8 / lines) FILTER (WHERE lines > 0) AS rate
        FROM archive.flow_day d
        WHERE d.flow_key = a.flow_key AND d.runs > 0 AND d.day < (now() AT TIME ZONE a.day_zone)::date
            AND d.day >= (now() AT TIME ZONE a.day_zone)::date - 28
    ) usual ON true
"""
_KINDS = """
    SELECT flow_key, lpad(to_hex(fingerprint), 16, '0') AS fingerprint, error_class, first_seen_at, occurrences,
        coalesce(sample, '') AS sample
    FROM archive.error_group
    WHERE flow_key = ANY(%(keys)s) AND first_seen_at > now() - interval '1 day' AND occurrences > 0
    ORDER BY flow_key, occurrences DESC
"""
# The second longest: one outage among the last four weeks is not what is usual, weekends are. With less of a past the
# longest; with hardly any, nothing is known.
_GAPS_BETWEEN = """
    SELECT flow_key, CASE WHEN count(*) < 5 THEN NULL
        WHEN max(created) - min(created) > interval '14 days' AND count(*) >= 8 THEN
            (array_agg(gap ORDER BY gap DESC NULLS LAST))[2]
        ELSE max(gap) END AS usual_gap
    FROM (
        SELECT k.flow_key, r.created, extract(
            epoch FROM r.created - lag(r.created) OVER (PARTITION BY k.flow_key ORDER BY r.created)
        )::float8 AS gap
        FROM unnest(%(keys)s::int[]) k (flow_key)
        CROSS JOIN LATERAL (
            SELECT created FROM archive.run WHERE flow_key = k.flow_key AND created > now() - interval '35 days'
            ORDER BY created DESC LIMIT 10000
        ) r
    ) gaps
    GROUP BY flow_key
"""
_MISSING = """
    SELECT flow_key, count(*) FILTER (WHERE kind = 'gap')::int AS gaps,
        count(*) FILTER (WHERE kind <> 'gap')::int AS lost,
        min(kind || ': ' || what) AS missing
    FROM archive.gap
    WHERE flow_key = ANY(%(keys)s) AND is_missing AND acknowledged_at IS NULL AND kind <> 'uncertified'
    GROUP BY flow_key
"""
SILENT = timedelta(minutes=15)  # nobody is stale before


def now(reader: Reader) -> datetime:
    """The database's clock."""
    moment: datetime = reader.rows("SELECT now() AS now")[0]["now"]
    return moment


def missing(reader: Reader, keys: Sequence[int]) -> dict[int, Row]:
    """What is known to be missing and not accepted, by flow. Not to be asked for every few seconds."""
    return {row["flow_key"]: row for row in reader.rows(_MISSING, keys=list(keys))}


def flow_facts(reader: Reader, flows: Mapping[int, Flow], missing: Mapping[int, Row]) -> tuple[FlowFacts, ...]:
    """The facts about these flows; `missing` as the function of that name answers it."""
    keys = list(flows)
    kinds: dict[int, list[NewKind]] = {}
    for row in reader.rows(_KINDS, keys=keys):
        kinds.setdefault(row.pop("flow_key"), []).append(NewKind(**row))
    rows = reader.rows(_FLOWS, keys=keys)
    quiet = [row["flow_key"] for row in rows if _is_silent(row)]
    usual = {row["flow_key"]: row["usual_gap"] for row in reader.rows(_GAPS_BETWEEN, keys=quiet)} if quiet else {}
    return tuple(
        _facts(flows[row["flow_key"]], row, usual.get(row["flow_key"]), tuple(kinds.get(row["flow_key"], ())), missing)
        for row in rows
    )


def _is_silent(row: Row) -> bool:
    return bool(row["last_run_at"] and row["checked_at"] and row["checked_at"] - row["last_run_at"] > SILENT)


def _facts(
    flow: Flow, row: Row, usual: float | None, kinds: tuple[NewKind, ...], missing: Mapping[int, Row]
) -> FlowFacts:
    gone: Mapping[str, Any] = missing.get(row["flow_key"], {})
    words = {name: row[name] or "" for name in ("failed_run", "sample")}
    counts = {name: row[name] or 0 for name in ("failed_lines", "lines", "failed_in_a_row")}
    retention = None if row["retention"] is None else timedelta(seconds=row["retention"])
    lateness = max(flow.lateness, timedelta(seconds=row["lateness"]))  # as it was given, or had to be raised
    return FlowFacts(
        **{**row, **words, **counts, "retention": retention, "lateness": lateness},
        name=flow.name,
        integrator=flow.integrator,
        two_polls=_two_polls(flow, row, lateness),
        usual_gap=usual,
        new_kinds=kinds,
        gaps=gone.get("gaps", 0),
        lost=gone.get("lost", 0),
        missing=gone.get("missing", ""),
    )


def _two_polls(flow: Flow, row: Row, lateness: timedelta) -> timedelta:
    """How long two polls may take to come, from what is certain on."""
    if flow.cron is None:
        return 2 * (flow.every or timedelta(0))
    certain = row["covered_to"]
    return twice(flow.cron, row["added_at"] if certain is None else certain + lateness)
