-- The tables of the archive; archiver/tables.py describes them and says which rules they keep.

CREATE TABLE archive.flow (
    flow_key INTEGER GENERATED ALWAYS AS IDENTITY,
    integrator TEXT NOT NULL,
    project_id TEXT NOT NULL,
    project_slug TEXT,
    flow_id TEXT NOT NULL,
    flow_name TEXT NOT NULL,
    added_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT flow_pkey PRIMARY KEY (flow_key),
    CONSTRAINT flow_integrator_project_id_flow_id_key UNIQUE (integrator, project_id, flow_id)
);

CREATE TABLE archive.login_hold (
    credentials TEXT NOT NULL,
    refusals INTEGER NOT NULL,
    held_until TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT login_hold_pkey PRIMARY KEY (credentials)
);

CREATE TABLE archive.checkpoint (
    flow_key INTEGER NOT NULL,
    frontier TIMESTAMP WITH TIME ZONE,
    intervals JSONB DEFAULT '[]' NOT NULL,
    gaps JSONB DEFAULT '[]' NOT NULL,
    walk JSONB,
    backfill JSONB,
    source JSONB DEFAULT '{}' NOT NULL,
    lease_owner TEXT,
    lease_until TIMESTAMP WITH TIME ZONE,
    fence BIGINT DEFAULT 0 NOT NULL,
    failures_in_a_row INTEGER DEFAULT 0 NOT NULL,
    last_error TEXT,
    checked_at TIMESTAMP WITH TIME ZONE,
    next_due_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT checkpoint_pkey PRIMARY KEY (flow_key),
    CONSTRAINT checkpoint_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);

CREATE TABLE archive.detail (
    flow_key INTEGER NOT NULL,
    log_type SMALLINT NOT NULL,
    log_id BIGINT NOT NULL,
    run_log_id BIGINT NOT NULL,
    run_created TIMESTAMP WITH TIME ZONE NOT NULL,
    outcome TEXT NOT NULL,
    body BYTEA,
    body_form TEXT,
    sha256 TEXT,
    byte_size BIGINT,
    document JSONB,
    document_changes TEXT,
    attempts INTEGER DEFAULT 0 NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE,
    fetched_at TIMESTAMP WITH TIME ZONE,
    error TEXT,
    CONSTRAINT detail_pkey PRIMARY KEY (flow_key, log_type, log_id),
    CONSTRAINT detail_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);
-- A zip does not get smaller by compressing it again.
ALTER TABLE archive.detail ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX detail_flow_key_run_log_id_idx ON archive.detail (flow_key, run_log_id);
CREATE INDEX detail_wanted_idx ON archive.detail (flow_key, next_attempt_at) WHERE outcome = 'wanted';

CREATE TABLE archive.line (
    flow_key INTEGER NOT NULL,
    log_id BIGINT NOT NULL,
    created TIMESTAMP WITH TIME ZONE NOT NULL,
    finished TIMESTAMP WITH TIME ZONE,
    process_group_id TEXT,
    process_group_name TEXT,
    parent_process_group_id TEXT,
    original_filename_uuid TEXT,
    filename_uuid TEXT,
    state SMALLINT,
    status SMALLINT,
    fragment_count INTEGER,
    process_count INTEGER,
    success_count INTEGER,
    fail_count INTEGER,
    in_bound BOOLEAN,
    schedule TEXT,
    is_triggered BOOLEAN,
    triggered_by TEXT,
    log_type SMALLINT,
    flow_order INTEGER,
    is_send_s3 SMALLINT,
    row_num INTEGER,
    form INTEGER NOT NULL,
    src_hash BIGINT NOT NULL,
    fields JSONB,
    rest JSONB,
    CONSTRAINT line_pkey PRIMARY KEY (log_id, flow_key, created),
    CONSTRAINT line_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
)
 PARTITION BY RANGE (created);
-- Odd dates, and months that nobody made a partition for.
CREATE TABLE archive.line_default PARTITION OF archive.line DEFAULT;
CREATE INDEX line_fields_idx ON archive.line USING gin (fields jsonb_path_ops);
CREATE INDEX line_flow_key_created_idx ON archive.line (flow_key, created);
CREATE INDEX line_flow_key_original_filename_uuid_idx ON archive.line (flow_key, original_filename_uuid);

CREATE TABLE archive.pass (
    pass_id BIGINT GENERATED ALWAYS AS IDENTITY,
    flow_key INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    requests INTEGER DEFAULT 0 NOT NULL,
    rows_new BIGINT DEFAULT 0 NOT NULL,
    rows_changed BIGINT DEFAULT 0 NOT NULL,
    error TEXT,
    CONSTRAINT pass_pkey PRIMARY KEY (pass_id),
    CONSTRAINT pass_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);
CREATE INDEX pass_flow_key_started_at_idx ON archive.pass (flow_key, started_at);
CREATE INDEX pass_started_at_idx ON archive.pass (started_at);

CREATE TABLE archive.quarantine (
    flow_key INTEGER NOT NULL,
    log_type SMALLINT NOT NULL,
    src_hash BIGINT NOT NULL,
    run_log_id BIGINT,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT quarantine_pkey PRIMARY KEY (flow_key, log_type, src_hash),
    CONSTRAINT quarantine_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);

CREATE TABLE archive.run (
    flow_key INTEGER NOT NULL,
    log_id BIGINT NOT NULL,
    created TIMESTAMP WITH TIME ZONE NOT NULL,
    finished TIMESTAMP WITH TIME ZONE,
    process_group_id TEXT,
    process_group_name TEXT,
    parent_process_group_id TEXT,
    original_filename_uuid TEXT,
    filename_uuid TEXT,
    state SMALLINT,
    status SMALLINT,
    fragment_count INTEGER,
    process_count INTEGER,
    success_count INTEGER,
    fail_count INTEGER,
    in_bound BOOLEAN,
    schedule TEXT,
    is_triggered BOOLEAN,
    triggered_by TEXT,
    log_type SMALLINT,
    flow_order INTEGER,
    is_send_s3 SMALLINT,
    row_num INTEGER,
    form INTEGER NOT NULL,
    src_hash BIGINT NOT NULL,
    extra JSONB,
    archive_state TEXT NOT NULL,
    line_count BIGINT DEFAULT 0 NOT NULL,
    source_line_count BIGINT,
    lines_walk JSONB,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    visit_at TIMESTAMP WITH TIME ZONE,
    visits INTEGER DEFAULT 0 NOT NULL,
    sealed_at TIMESTAMP WITH TIME ZONE,
    error TEXT,
    CONSTRAINT run_pkey PRIMARY KEY (flow_key, log_id),
    CONSTRAINT run_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);
CREATE INDEX run_flow_key_created_idx ON archive.run (flow_key, created);
CREATE INDEX run_flow_key_filename_uuid_idx ON archive.run (flow_key, filename_uuid);
CREATE INDEX run_visit_idx ON archive.run (flow_key, visit_at) WHERE visit_at IS NOT NULL;

CREATE TABLE archive.step (
    flow_key INTEGER NOT NULL,
    log_id BIGINT NOT NULL,
    created TIMESTAMP WITH TIME ZONE NOT NULL,
    finished TIMESTAMP WITH TIME ZONE,
    process_group_id TEXT,
    process_group_name TEXT,
    parent_process_group_id TEXT,
    original_filename_uuid TEXT,
    filename_uuid TEXT,
    state SMALLINT,
    status SMALLINT,
    fragment_count INTEGER,
    process_count INTEGER,
    success_count INTEGER,
    fail_count INTEGER,
    in_bound BOOLEAN,
    schedule TEXT,
    is_triggered BOOLEAN,
    triggered_by TEXT,
    log_type SMALLINT,
    flow_order INTEGER,
    is_send_s3 SMALLINT,
    row_num INTEGER,
    form INTEGER NOT NULL,
    src_hash BIGINT NOT NULL,
    run_log_id BIGINT NOT NULL,
    position SMALLINT,
    extra JSONB,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT step_pkey PRIMARY KEY (flow_key, log_id),
    CONSTRAINT step_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);
CREATE INDEX step_flow_key_run_log_id_idx ON archive.step (flow_key, run_log_id);
