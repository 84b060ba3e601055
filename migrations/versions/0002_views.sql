-- All views of the contract; 0001_views.sql says what they promise. New columns stand at the end.

CREATE OR REPLACE VIEW reporting.flow AS
SELECT flow_key, integrator, project_id, project_slug, flow_id, flow_name, day_zone AS time_zone
FROM archive.flow;

CREATE OR REPLACE VIEW reporting.run AS
SELECT
    r.created AS started_at,
    (r.created AT TIME ZONE f.day_zone)::date AS started_date,
    r.finished AS finished_at,
    extract(epoch FROM r.finished - r.created)::float8 AS duration_seconds,
    coalesce(r.filename_uuid, r.original_filename_uuid) AS run_id,
    r.log_id,
    r.flow_key,
    f.flow_name,
    f.project_id,
    CASE r.state WHEN 1 THEN 'started' WHEN 2 THEN 'in_progress' WHEN 3 THEN 'finished'
        ELSE 'unknown (' || r.state || ')' END AS state,
    CASE r.status WHEN 1 THEN 'in_progress' WHEN 2 THEN 'success' WHEN 3 THEN 'failed' WHEN 4 THEN 'empty'
        ELSE 'unknown (' || r.status || ')' END AS status,
    r.process_count,
    r.success_count,
    r.fail_count,
    (CASE WHEN r.status = 3 THEN 1 ELSE 0 END) AS is_failed,
    (CASE WHEN r.state = 3 THEN 1 ELSE 0 END) AS is_finished,
    r.triggered_by,
    r.is_triggered,
    r.in_bound,
    r.schedule,
    r.fragment_count,
    r.line_count,
    (SELECT count(*) FROM archive.detail a
     WHERE a.flow_key = r.flow_key AND a.run_log_id = r.log_id AND a.outcome = 'stored') AS detail_count,
    r.archive_state,
    r.failed_line_count,
    coalesce(
        r.extra ->> 'message', r.extra ->> 'error_message', r.extra ->> 'error', r.extra ->> 'description',
        r.extra ->> 'detail', d.message
    ) AS message,
    CASE WHEN r.error_key IS NOT NULL THEN lpad(to_hex(r.error_key), 16, '0') END AS error_fingerprint
FROM archive.run r
JOIN archive.flow f USING (flow_key)
LEFT JOIN archive.detail d ON d.flow_key = r.flow_key AND d.log_type = 1 AND d.log_id = r.log_id;

CREATE OR REPLACE VIEW reporting.step AS
SELECT
    s.created AS started_at,
    s.finished AS finished_at,
    extract(epoch FROM s.finished - s.created)::float8 AS duration_seconds,
    coalesce(r.filename_uuid, r.original_filename_uuid, s.original_filename_uuid) AS run_id,
    s.log_id,
    s.flow_key,
    f.flow_name,
    s.process_group_id AS step_id,
    s.process_group_name AS step_name,
    CASE s.state WHEN 1 THEN 'started' WHEN 2 THEN 'in_progress' WHEN 3 THEN 'finished'
        ELSE 'unknown (' || s.state || ')' END AS state,
    CASE s.status WHEN 1 THEN 'in_progress' WHEN 2 THEN 'success' WHEN 3 THEN 'failed' WHEN 4 THEN 'empty'
        ELSE 'unknown (' || s.status || ')' END AS status,
    s.process_count,
    s.success_count,
    s.fail_count,
    s.flow_order,
    (CASE WHEN s.status = 3 THEN 1 ELSE 0 END) AS is_failed,
    coalesce(
        s.extra ->> 'message', s.extra ->> 'error_message', s.extra ->> 'error', s.extra ->> 'description',
        s.extra ->> 'detail', d.message
    ) AS message,
    CASE WHEN s.error_key IS NOT NULL THEN lpad(to_hex(s.error_key), 16, '0') END AS error_fingerprint
FROM archive.step s
JOIN archive.flow f USING (flow_key)
LEFT JOIN archive.run r ON r.flow_key = s.flow_key AND r.log_id = s.run_log_id
LEFT JOIN archive.detail d ON d.flow_key = s.flow_key AND d.log_type = 2 AND d.log_id = s.log_id;

CREATE OR REPLACE VIEW reporting.line AS
SELECT
    l.created AS created_at,
    l.finished AS finished_at,
    l.original_filename_uuid AS run_id,
    l.log_id,
    l.flow_key,
    f.flow_name,
    l.process_group_id AS step_id,
    l.process_group_name AS step_name,
    CASE l.state WHEN 1 THEN 'started' WHEN 2 THEN 'in_progress' WHEN 3 THEN 'finished'
        ELSE 'unknown (' || l.state || ')' END AS state,
    CASE l.status WHEN 1 THEN 'in_progress' WHEN 2 THEN 'success' WHEN 3 THEN 'failed' WHEN 4 THEN 'empty'
        ELSE 'unknown (' || l.status || ')' END AS status,
    (CASE WHEN l.status = 3 THEN 1 ELSE 0 END) AS is_failed,
    l.row_num,
    coalesce(
        l.fields ->> 'message', l.rest ->> 'message',
        l.fields ->> 'error_message', l.rest ->> 'error_message',
        l.fields ->> 'error', l.rest ->> 'error',
        l.fields ->> 'description', l.rest ->> 'description',
        l.fields ->> 'detail', l.rest ->> 'detail'
    ) AS message,
    (coalesce(l.fields, '{}') || coalesce(l.rest, '{}'))::text AS fields,
    CASE WHEN l.error_key IS NOT NULL THEN lpad(to_hex(l.error_key), 16, '0') END AS error_fingerprint
FROM archive.line l
JOIN archive.flow f USING (flow_key);

CREATE OR REPLACE VIEW reporting.detail AS
SELECT
    d.run_created AS run_started_at,
    coalesce(r.filename_uuid, r.original_filename_uuid) AS run_id,
    d.log_id,
    CASE d.log_type WHEN 1 THEN 'main' WHEN 2 THEN 'sub' WHEN 3 THEN 'line'
        ELSE 'unknown (' || d.log_type || ')' END AS log_type,
    d.flow_key,
    f.flow_name,
    d.outcome,
    d.byte_size,
    d.sha256,
    d.document,
    d.message
FROM archive.detail d
JOIN archive.flow f USING (flow_key)
LEFT JOIN archive.run r ON r.flow_key = d.flow_key AND r.log_id = d.run_log_id;

CREATE VIEW reporting.error_group AS
SELECT
    g.first_seen_at,
    g.last_seen_at,
    g.flow_key,
    f.flow_name,
    lpad(to_hex(g.fingerprint), 16, '0') AS fingerprint,
    g.sample,
    g.occurrences,
    g.runs_hit,
    g.error_class,
    g.template,
    g.version::int AS version
FROM archive.error_group g
JOIN archive.flow f USING (flow_key)
WHERE g.occurrences > 0;

CREATE VIEW reporting.run_daily AS
SELECT
    d.day,
    d.flow_key,
    f.flow_name,
    d.runs,
    d.succeeded,
    d.failed,
    d.empty,
    d.lines,
    d.failed_lines,
    d.duration_p50 AS duration_p50_seconds,
    d.duration_p95 AS duration_p95_seconds,
    d.duration_max AS duration_max_seconds
FROM archive.flow_day d
JOIN archive.flow f USING (flow_key)
WHERE d.runs > 0;

CREATE VIEW reporting.flow_health AS
SELECT
    recent.last_run_at,
    (SELECT max(created) FROM archive.run WHERE flow_key = f.flow_key AND status = 2) AS last_success_at,
    (SELECT max(created) FROM archive.run WHERE flow_key = f.flow_key AND status = 3) AS last_failure_at,
    f.flow_key,
    f.flow_name,
    week.runs_24h,
    week.failed_24h,
    week.runs_7d,
    week.failed_7d,
    recent.typical_gap_seconds,
    coalesce(
        extract(epoch FROM now() - recent.last_run_at) > greatest(3 * typical_gap_seconds, longest_gap_seconds), false
    ) AS is_stale,
    (SELECT count(*) FROM archive.run
     WHERE flow_key = f.flow_key AND visit_at IS NOT NULL AND archive_state IN ('open', 'stuck')) AS open_runs,
    recent.longest_gap_seconds
FROM archive.flow f
CROSS JOIN LATERAL (
    SELECT
        max(created) AS last_run_at,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY gap) AS typical_gap_seconds,
        max(gap) AS longest_gap_seconds
    FROM (
        SELECT created, extract(epoch FROM created - lag(created) OVER (ORDER BY created))::float8 AS gap
        FROM (
            SELECT created FROM archive.run WHERE flow_key = f.flow_key ORDER BY created DESC LIMIT 201
        ) newest
    ) gaps
) recent
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE created >= now() - interval '24 hours') AS runs_24h,
        count(*) FILTER (WHERE created >= now() - interval '24 hours' AND status = 3) AS failed_24h,
        count(*) AS runs_7d,
        count(*) FILTER (WHERE status = 3) AS failed_7d
    FROM archive.run
    WHERE flow_key = f.flow_key AND created >= now() - interval '7 days'
) week;

COMMENT ON COLUMN reporting.flow.time_zone IS 'Time zone in which the flow''s business days are cut (reporting.timezone of the configuration).';
COMMENT ON COLUMN reporting.run.started_date IS 'Business day on which the run began, in the time zone of reporting.flow.time_zone.';
COMMENT ON COLUMN reporting.run.failed_line_count IS 'Line logs of the run that are archived and failed.';
COMMENT ON COLUMN reporting.run.message IS 'What went wrong: the run''s own message, else the one in its detail file; null where neither says anything.';
COMMENT ON COLUMN reporting.run.error_fingerprint IS 'Kind of error of a failed run that has a message; joins reporting.error_group with flow_key.';
COMMENT ON COLUMN reporting.step.message IS 'What went wrong: the step''s own message, else the one in its detail file; null where neither says anything.';
COMMENT ON COLUMN reporting.step.error_fingerprint IS 'Kind of error of a failed step that has a message; joins reporting.error_group with flow_key.';
COMMENT ON COLUMN reporting.line.error_fingerprint IS 'Kind of error of a failed line; joins reporting.error_group with flow_key. Null for lines that did not fail.';
COMMENT ON COLUMN reporting.detail.message IS 'The error message in the file, where it has one.';

COMMENT ON VIEW reporting.error_group IS 'Kinds of errors: the messages of failed logs with numbers, ids, SKUs, dates and quoted values taken out. Grain: one row for each kind of error in a flow.';
COMMENT ON COLUMN reporting.error_group.first_seen_at IS 'When the first log with this error began.';
COMMENT ON COLUMN reporting.error_group.last_seen_at IS 'When the newest log with this error began.';
COMMENT ON COLUMN reporting.error_group.flow_key IS 'Flow of the error; joins reporting.flow.';
COMMENT ON COLUMN reporting.error_group.flow_name IS 'Name of the flow.';
COMMENT ON COLUMN reporting.error_group.fingerprint IS 'Name of the kind of error, 16 hexadecimal digits; the same in every flow and archive. Joins error_fingerprint in run, step and line.';
COMMENT ON COLUMN reporting.error_group.sample IS 'The newest message of this kind, as it came, cut to 1,000 characters; empty for failed lines without any message.';
COMMENT ON COLUMN reporting.error_group.occurrences IS 'How often it happened: failed lines with this error. Steps, and then runs, count only in runs where no line has it, for they repeat what their lines say.';
COMMENT ON COLUMN reporting.error_group.runs_hit IS 'Runs in which it happened.';
COMMENT ON COLUMN reporting.error_group.error_class IS 'Class of the error: validation, not_found, conflict, auth, rate_limit, timeout, connection, server_error, parse, other.';
COMMENT ON COLUMN reporting.error_group.template IS 'What all messages of this kind have in common: plain lower case letters, # for what varies.';
COMMENT ON COLUMN reporting.error_group.version IS 'Version of the rules that made the fingerprint.';

COMMENT ON VIEW reporting.run_daily IS 'Runs by business day. Grain: one row for each flow and day on which a run of it began.';
COMMENT ON COLUMN reporting.run_daily.day IS 'Business day on which the runs began, in the time zone of reporting.flow.time_zone.';
COMMENT ON COLUMN reporting.run_daily.flow_key IS 'Flow of the runs; joins reporting.flow.';
COMMENT ON COLUMN reporting.run_daily.flow_name IS 'Name of the flow.';
COMMENT ON COLUMN reporting.run_daily.runs IS 'Runs that began on that day.';
COMMENT ON COLUMN reporting.run_daily.succeeded IS 'Those of them with status success.';
COMMENT ON COLUMN reporting.run_daily.failed IS 'Those of them with status failed.';
COMMENT ON COLUMN reporting.run_daily.empty IS 'Those of them with status empty.';
COMMENT ON COLUMN reporting.run_daily.lines IS 'Line logs of these runs that are archived, also those logged after midnight.';
COMMENT ON COLUMN reporting.run_daily.failed_lines IS 'Those of these line logs that failed.';
COMMENT ON COLUMN reporting.run_daily.duration_p50_seconds IS 'Median duration of the runs that have finished, in seconds (interpolated).';
COMMENT ON COLUMN reporting.run_daily.duration_p95_seconds IS 'Duration that 95 of 100 finished runs did not exceed, in seconds (interpolated).';
COMMENT ON COLUMN reporting.run_daily.duration_max_seconds IS 'Duration of the longest of the runs that have finished, in seconds.';

COMMENT ON VIEW reporting.flow_health IS 'How each flow is doing now. Grain: one row for each flow.';
COMMENT ON COLUMN reporting.flow_health.last_run_at IS 'When the newest run began; null where there is none.';
COMMENT ON COLUMN reporting.flow_health.last_success_at IS 'When the newest run with status success began.';
COMMENT ON COLUMN reporting.flow_health.last_failure_at IS 'When the newest run with status failed began.';
COMMENT ON COLUMN reporting.flow_health.flow_key IS 'The flow; joins reporting.flow.';
COMMENT ON COLUMN reporting.flow_health.flow_name IS 'Name of the flow.';
COMMENT ON COLUMN reporting.flow_health.runs_24h IS 'Runs that began in the last 24 hours.';
COMMENT ON COLUMN reporting.flow_health.failed_24h IS 'Runs that began in the last 24 hours and failed.';
COMMENT ON COLUMN reporting.flow_health.runs_7d IS 'Runs that began in the last 7 days (168 hours).';
COMMENT ON COLUMN reporting.flow_health.failed_7d IS 'Runs that began in the last 7 days (168 hours) and failed.';
COMMENT ON COLUMN reporting.flow_health.typical_gap_seconds IS 'Median time between the beginnings of the last 201 runs, in seconds; null for fewer than two.';
COMMENT ON COLUMN reporting.flow_health.is_stale IS 'Whether the flow has been silent for longer than three typical gaps and than any gap between its last 201 runs.';
COMMENT ON COLUMN reporting.flow_health.open_runs IS 'Runs that have not finished, and are followed.';
COMMENT ON COLUMN reporting.flow_health.longest_gap_seconds IS 'Longest time between the beginnings of two of the last 201 runs, in seconds.';
