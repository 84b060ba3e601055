-- The contract with BI tools and people: plain views, only text, int, bigint, float8, boolean, date and timestamptz
-- (jsonb in detail alone). The event time is the first timestamp column. Views change only by columns at their end.

CREATE SCHEMA reporting;
COMMENT ON SCHEMA reporting IS 'What people and BI tools read. Everything else of the archive is in schema archive.';

CREATE VIEW reporting.flow AS
SELECT flow_key, integrator, project_id, project_slug, flow_id, flow_name
FROM archive.flow;

CREATE VIEW reporting.run AS
SELECT
    r.created AS started_at,
    (r.created AT TIME ZONE 'UTC')::date AS started_date,
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
    (SELECT count(*) FROM archive.detail d
     WHERE d.flow_key = r.flow_key AND d.run_log_id = r.log_id AND d.outcome = 'stored') AS detail_count,
    r.archive_state
FROM archive.run r
JOIN archive.flow f USING (flow_key);

CREATE VIEW reporting.step AS
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
    (CASE WHEN s.status = 3 THEN 1 ELSE 0 END) AS is_failed
FROM archive.step s
JOIN archive.flow f USING (flow_key)
LEFT JOIN archive.run r ON r.flow_key = s.flow_key AND r.log_id = s.run_log_id;

CREATE VIEW reporting.line AS
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
    (coalesce(l.fields, '{}') || coalesce(l.rest, '{}'))::text AS fields
FROM archive.line l
JOIN archive.flow f USING (flow_key);

CREATE VIEW reporting.detail AS
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
    d.document
FROM archive.detail d
JOIN archive.flow f USING (flow_key)
LEFT JOIN archive.run r ON r.flow_key = d.flow_key AND r.log_id = d.run_log_id;

CREATE VIEW reporting.archive_health AS
SELECT
    c.checked_at,
    c.flow_key,
    f.flow_name,
    (c.intervals -> -1 ->> 0)::timestamptz AS covered_from,
    c.frontier AS covered_to,
    extract(epoch FROM now() - c.frontier)::float8 AS lag_seconds,
    r.open_runs,
    r.pending_runs,
    (SELECT count(*) FROM archive.detail d WHERE d.flow_key = c.flow_key AND d.outcome = 'wanted') AS pending_details,
    c.failures_in_a_row,
    c.last_error
FROM archive.checkpoint c
JOIN archive.flow f USING (flow_key)
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE archive_state IN ('open', 'stuck')) AS open_runs,
        count(*) FILTER (WHERE archive_state = 'pending') AS pending_runs
    FROM archive.run
    WHERE flow_key = c.flow_key AND visit_at IS NOT NULL
) r;

COMMENT ON VIEW reporting.flow IS 'The configured integration flows. Grain: one row for each flow of a project on an Integrator.';
COMMENT ON COLUMN reporting.flow.flow_key IS 'The archive''s own number of the flow; joins the views.';
COMMENT ON COLUMN reporting.flow.integrator IS 'Name of the Integrator in the configuration.';
COMMENT ON COLUMN reporting.flow.project_id IS 'The Integrator''s identifier of the project (brand).';
COMMENT ON COLUMN reporting.flow.project_slug IS 'Slug of the project.';
COMMENT ON COLUMN reporting.flow.flow_id IS 'The Integrator''s identifier of the flow.';
COMMENT ON COLUMN reporting.flow.flow_name IS 'Name of the flow in the configuration.';

COMMENT ON VIEW reporting.run IS 'Main logs: executions of a flow. Grain: one row for each run.';
COMMENT ON COLUMN reporting.run.started_at IS 'When the run began (the log''s created).';
COMMENT ON COLUMN reporting.run.started_date IS 'Day on which the run began, in UTC.';
COMMENT ON COLUMN reporting.run.finished_at IS 'When the run finished; null while it goes on.';
COMMENT ON COLUMN reporting.run.duration_seconds IS 'Time from start to finish, in seconds; null while the run goes on.';
COMMENT ON COLUMN reporting.run.run_id IS 'The Integrator''s execution id (filename_uuid); names the run in all views.';
COMMENT ON COLUMN reporting.run.log_id IS 'The Integrator''s id of the main log; unique within a flow.';
COMMENT ON COLUMN reporting.run.flow_key IS 'Flow of the run; joins reporting.flow.';
COMMENT ON COLUMN reporting.run.flow_name IS 'Name of the flow.';
COMMENT ON COLUMN reporting.run.project_id IS 'Project of the flow.';
COMMENT ON COLUMN reporting.run.state IS 'Running state: started, in_progress, finished, or unknown (number).';
COMMENT ON COLUMN reporting.run.status IS 'Result: in_progress, success, failed, empty, or unknown (number).';
COMMENT ON COLUMN reporting.run.process_count IS 'Items processed, as the Integrator counts them.';
COMMENT ON COLUMN reporting.run.success_count IS 'Items that succeeded, as the Integrator counts them.';
COMMENT ON COLUMN reporting.run.fail_count IS 'Items that failed, as the Integrator counts them.';
COMMENT ON COLUMN reporting.run.is_failed IS 'Whether the run failed: 1 or 0, so that it can be summed.';
COMMENT ON COLUMN reporting.run.is_finished IS 'Whether the run has finished: 1 or 0, so that it can be summed.';
COMMENT ON COLUMN reporting.run.triggered_by IS 'Who started the run: an e-mail address, or System.';
COMMENT ON COLUMN reporting.run.is_triggered IS 'Whether a person started the run of an inbound flow.';
COMMENT ON COLUMN reporting.run.in_bound IS 'Whether the flow reads from the ERP.';
COMMENT ON COLUMN reporting.run.schedule IS 'The flow''s schedule at the time, as the Integrator wrote it.';
COMMENT ON COLUMN reporting.run.fragment_count IS 'Fragments of the run, as the Integrator counts them.';
COMMENT ON COLUMN reporting.run.line_count IS 'Line logs of the run that are archived.';
COMMENT ON COLUMN reporting.run.detail_count IS 'Detail files of the run that are archived.';
COMMENT ON COLUMN reporting.run.archive_state IS 'How far the archive is: open, pending (lines owed), settling, sealed (complete and confirmed), stuck, lost.';

COMMENT ON VIEW reporting.step IS 'Sub flow logs: the steps of a run. Grain: one row for each step of a run.';
COMMENT ON COLUMN reporting.step.started_at IS 'When the step began.';
COMMENT ON COLUMN reporting.step.finished_at IS 'When the step finished; null while it goes on.';
COMMENT ON COLUMN reporting.step.duration_seconds IS 'Time from start to finish, in seconds; null while the step goes on.';
COMMENT ON COLUMN reporting.step.run_id IS 'Run of the step; joins reporting.run.';
COMMENT ON COLUMN reporting.step.log_id IS 'The Integrator''s id of the sub flow log; unique within a flow.';
COMMENT ON COLUMN reporting.step.flow_key IS 'Flow of the step; joins reporting.flow.';
COMMENT ON COLUMN reporting.step.flow_name IS 'Name of the flow.';
COMMENT ON COLUMN reporting.step.step_id IS 'The Integrator''s identifier of the step within the flow.';
COMMENT ON COLUMN reporting.step.step_name IS 'Name of the step.';
COMMENT ON COLUMN reporting.step.state IS 'Running state: started, in_progress, finished, or unknown (number).';
COMMENT ON COLUMN reporting.step.status IS 'Result: in_progress, success, failed, empty, or unknown (number).';
COMMENT ON COLUMN reporting.step.process_count IS 'Items processed, as the Integrator counts them.';
COMMENT ON COLUMN reporting.step.success_count IS 'Items that succeeded, as the Integrator counts them.';
COMMENT ON COLUMN reporting.step.fail_count IS 'Items that failed, as the Integrator counts them.';
COMMENT ON COLUMN reporting.step.flow_order IS 'Place of the step in the flow, as the Integrator numbers it.';
COMMENT ON COLUMN reporting.step.is_failed IS 'Whether the step failed: 1 or 0, so that it can be summed.';

COMMENT ON VIEW reporting.line IS 'Line logs: single items of a run, often one SKU each. Grain: one row for each line of a run.';
COMMENT ON COLUMN reporting.line.created_at IS 'When the line was logged.';
COMMENT ON COLUMN reporting.line.finished_at IS 'When the line was done; null where the Integrator says nothing.';
COMMENT ON COLUMN reporting.line.run_id IS 'Run of the line; joins reporting.run.';
COMMENT ON COLUMN reporting.line.log_id IS 'The Integrator''s id of the line log; unique within a flow.';
COMMENT ON COLUMN reporting.line.flow_key IS 'Flow of the line; joins reporting.flow.';
COMMENT ON COLUMN reporting.line.flow_name IS 'Name of the flow.';
COMMENT ON COLUMN reporting.line.step_id IS 'The Integrator''s identifier of the step that wrote the line.';
COMMENT ON COLUMN reporting.line.step_name IS 'Name of the step that wrote the line.';
COMMENT ON COLUMN reporting.line.state IS 'Running state: started, in_progress, finished, or unknown (number).';
COMMENT ON COLUMN reporting.line.status IS 'Result: in_progress, success, failed, empty, or unknown (number).';
COMMENT ON COLUMN reporting.line.is_failed IS 'Whether the line failed: 1 or 0, so that it can be summed.';
COMMENT ON COLUMN reporting.line.row_num IS 'Number of the row in its run.';
COMMENT ON COLUMN reporting.line.message IS 'The line''s message: its field message, else error_message, error, description or detail.';
COMMENT ON COLUMN reporting.line.fields IS 'All fields of the line that have no column (sku, price, …), as JSON text.';

COMMENT ON VIEW reporting.detail IS 'Downloaded detail files of runs, steps and lines. Grain: one row for each log whose file was wanted.';
COMMENT ON COLUMN reporting.detail.run_started_at IS 'When the run of the file began.';
COMMENT ON COLUMN reporting.detail.run_id IS 'Run of the file; joins reporting.run.';
COMMENT ON COLUMN reporting.detail.log_id IS 'The Integrator''s id of the log that the file belongs to.';
COMMENT ON COLUMN reporting.detail.log_type IS 'Kind of that log: main, sub or line.';
COMMENT ON COLUMN reporting.detail.flow_key IS 'Flow of the file; joins reporting.flow.';
COMMENT ON COLUMN reporting.detail.flow_name IS 'Name of the flow.';
COMMENT ON COLUMN reporting.detail.outcome IS 'What became of the file: wanted, stored, unreadable (kept, but no JSON), missing, too_large.';
COMMENT ON COLUMN reporting.detail.byte_size IS 'Size of the file as it is kept, in bytes.';
COMMENT ON COLUMN reporting.detail.sha256 IS 'SHA-256 of the file as it is kept, in hexadecimal.';
COMMENT ON COLUMN reporting.detail.document IS 'The JSON document in the file, where Postgres can hold it.';

COMMENT ON VIEW reporting.archive_health IS 'How complete and fresh the archive is. Grain: one row for each flow.';
COMMENT ON COLUMN reporting.archive_health.checked_at IS 'When the flow was last polled with success.';
COMMENT ON COLUMN reporting.archive_health.flow_key IS 'The flow; joins reporting.flow.';
COMMENT ON COLUMN reporting.archive_health.flow_name IS 'Name of the flow.';
COMMENT ON COLUMN reporting.archive_health.covered_from IS 'Beginning of the newest stretch of time of which every run is archived.';
COMMENT ON COLUMN reporting.archive_health.covered_to IS 'End of that stretch: every run that began before is archived, but for those listed as missing.';
COMMENT ON COLUMN reporting.archive_health.lag_seconds IS 'Time from covered_to until now, in seconds.';
COMMENT ON COLUMN reporting.archive_health.open_runs IS 'Runs that have not finished, and are followed.';
COMMENT ON COLUMN reporting.archive_health.pending_runs IS 'Finished runs whose lines are not all archived yet.';
COMMENT ON COLUMN reporting.archive_health.pending_details IS 'Detail files that are wanted and not archived yet.';
COMMENT ON COLUMN reporting.archive_health.failures_in_a_row IS 'Passes that failed since the last one that succeeded.';
COMMENT ON COLUMN reporting.archive_health.last_error IS 'What the last failed pass said; null after a success.';
