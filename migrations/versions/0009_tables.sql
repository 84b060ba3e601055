-- Who works on the archive, what is not well, and what was told of it. All of it is small, and local to one node.

CREATE TABLE archive.daemon (
    owner text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    flows integer NOT NULL,
    config_path text,
    config_read_at timestamptz NOT NULL DEFAULT now(),
    config_error text,
    CONSTRAINT daemon_pkey PRIMARY KEY (owner)
);

-- One row for each time that something was not well. `level` grows while it gets worse; what of it was told, and what
-- somebody has acknowledged, is kept as the level of then.
CREATE TABLE archive.alert (
    alert_id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    subject text NOT NULL,
    flow_key integer,
    level bigint NOT NULL,
    title text NOT NULL,
    detail text NOT NULL,
    path text,
    since timestamptz NOT NULL,
    raised_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    resolution text,
    told_level bigint NOT NULL DEFAULT 0,
    told_at timestamptz,
    told_resolved_at timestamptz,
    acked_level bigint,
    acked_at timestamptz,
    ack_reason text,
    CONSTRAINT alert_pkey PRIMARY KEY (alert_id),
    CONSTRAINT alert_flow_key_fkey FOREIGN KEY (flow_key) REFERENCES archive.flow (flow_key)
);
CREATE UNIQUE INDEX alert_open_key ON archive.alert (kind, subject) WHERE resolved_at IS NULL;
CREATE INDEX alert_kind_subject_idx ON archive.alert (kind, subject, told_at);
CREATE INDEX alert_raised_at_idx ON archive.alert (raised_at);

-- Written in the transaction that marks its alerts as told, sent afterwards: by whichever daemon comes first, again
-- where that fails.
CREATE TABLE archive.alert_message (
    message_id bigint GENERATED ALWAYS AS IDENTITY,
    made_at timestamptz NOT NULL DEFAULT now(),
    tone text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    delivered jsonb NOT NULL DEFAULT '{}',
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    claimed_until timestamptz,
    done_at timestamptz,
    error text,
    CONSTRAINT alert_message_pkey PRIMARY KEY (message_id)
);
CREATE INDEX alert_message_waiting_idx ON archive.alert_message (next_attempt_at) WHERE done_at IS NULL;

-- Roles that archive without owning anything, as `archiver migrate --writer` made them, get what it gives from now on.
DO $$
DECLARE
    writer record;
BEGIN
    FOR writer IN
        SELECT DISTINCT r.rolname
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE c.oid = 'archive.pass'::regclass AND a.privilege_type = 'DELETE' AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE archive.pass_pass_id_seq TO %I', writer.rolname);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON archive.daemon, archive.alert, archive.alert_message TO %I', writer.rolname);
    END LOOP;
END $$;
