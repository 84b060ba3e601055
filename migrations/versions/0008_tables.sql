-- An audit of a flow that has ended: what was looked at, how it stood then, and how many ids were what.
CREATE TABLE archive.audit (
    audit_id BIGINT GENERATED ALWAYS AS IDENTITY,
    flow_key INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    scope JSONB NOT NULL,
    counts JSONB NOT NULL,
    frontier TIMESTAMP WITH TIME ZONE,
    CONSTRAINT audit_pkey PRIMARY KEY (audit_id),
    CONSTRAINT audit_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);
CREATE INDEX audit_flow_key_ended_at_idx ON archive.audit (flow_key, ended_at);

-- What the newest audit found to be lost, stale or corrupt. It goes when an audit of the same thing finds it well:
-- `cleared_at` says when, for a writer may delete nothing.
CREATE TABLE archive.finding (
    flow_key INTEGER NOT NULL,
    log_type SMALLINT NOT NULL,
    log_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    run_log_id BIGINT,
    created TIMESTAMP WITH TIME ZONE,
    what TEXT NOT NULL,
    found_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    cleared_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT finding_pkey PRIMARY KEY (flow_key, log_type, log_id, kind),
    CONSTRAINT finding_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);

-- Somebody knows that something is missing, and why that is all right.
CREATE TABLE archive.acknowledgement (
    flow_key INTEGER NOT NULL,
    gap_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    acknowledged_by TEXT NOT NULL,
    acknowledged_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT acknowledgement_pkey PRIMARY KEY (flow_key, gap_id),
    CONSTRAINT acknowledgement_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);

-- The part of an Integrator's request rate that a process may use until then.
CREATE TABLE archive.rate_share (
    integrator TEXT NOT NULL,
    owner TEXT NOT NULL,
    fraction DOUBLE PRECISION NOT NULL,
    held_until TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT rate_share_pkey PRIMARY KEY (integrator, owner)
);
