-- What dashboards ask for every minute is kept, not counted: the store changes it in the transaction that changes the
-- rows. archiver/store/days.py and archiver/store/errors.py say how, and that it is exact.

-- The zone in which the days of flow_day are cut, and the rules by which error_key was found (null: not yet for all).
ALTER TABLE archive.flow ADD COLUMN day_zone TEXT DEFAULT 'UTC' NOT NULL, ADD COLUMN error_version SMALLINT;
ALTER TABLE archive.run ADD COLUMN failed_line_count BIGINT DEFAULT 0 NOT NULL, ADD COLUMN error_key BIGINT;
ALTER TABLE archive.step ADD COLUMN error_key BIGINT;
ALTER TABLE archive.line ADD COLUMN error_key BIGINT;
ALTER TABLE archive.detail ADD COLUMN message TEXT;

CREATE TABLE archive.flow_day (
    flow_key INTEGER NOT NULL,
    day DATE NOT NULL,
    runs INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    empty INTEGER NOT NULL,
    lines BIGINT NOT NULL,
    failed_lines BIGINT NOT NULL,
    duration_p50 DOUBLE PRECISION,
    duration_p95 DOUBLE PRECISION,
    duration_max DOUBLE PRECISION,
    CONSTRAINT flow_day_pkey PRIMARY KEY (flow_key, day),
    CONSTRAINT flow_day_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);

CREATE TABLE archive.error_group (
    flow_key INTEGER NOT NULL,
    fingerprint BIGINT NOT NULL,
    version SMALLINT NOT NULL,
    error_class TEXT NOT NULL,
    template TEXT NOT NULL,
    sample TEXT,
    occurrences BIGINT NOT NULL,
    runs_hit BIGINT NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    last_log_type SMALLINT,
    last_log_id BIGINT,
    CONSTRAINT error_group_pkey PRIMARY KEY (flow_key, fingerprint),
    CONSTRAINT error_group_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);

-- How many logs of each type a kind of error has in a run.
CREATE TABLE archive.error_run (
    flow_key INTEGER NOT NULL,
    fingerprint BIGINT NOT NULL,
    run_id TEXT NOT NULL,
    lines INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    CONSTRAINT error_run_pkey PRIMARY KEY (flow_key, fingerprint, run_id),
    CONSTRAINT error_run_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);

CREATE INDEX run_flow_key_status_created_idx ON archive.run (flow_key, status, created);
-- Failed logs by kind of error, newest last; those with an error_key of null are not recognised yet, or say nothing.
CREATE INDEX run_failed_idx ON archive.run (flow_key, error_key, created) WHERE status = 3;
CREATE INDEX step_failed_idx ON archive.step (flow_key, error_key, created) WHERE status = 3;
CREATE INDEX line_failed_idx ON archive.line (flow_key, error_key, created) WHERE status = 3;

-- What follows from the rows that are there.
UPDATE archive.run r SET failed_line_count = l.n
FROM (
    SELECT flow_key, original_filename_uuid AS run_id, count(*) AS n
    FROM archive.line WHERE status = 3 GROUP BY 1, 2
) l
WHERE l.flow_key = r.flow_key AND l.run_id = coalesce(r.filename_uuid, r.original_filename_uuid);

INSERT INTO archive.flow_day
SELECT
    flow_key,
    (created AT TIME ZONE 'UTC')::date,
    count(*),
    count(*) FILTER (WHERE status = 2),
    count(*) FILTER (WHERE status = 3),
    count(*) FILTER (WHERE status = 4),
    sum(line_count),
    sum(failed_line_count),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished - created)::float8),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM finished - created)::float8),
    max(extract(epoch FROM finished - created)::float8)
FROM archive.run
GROUP BY 1, 2;
