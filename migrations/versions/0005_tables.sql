-- What retention and erasure have to remember, so that nothing that went comes back.

-- kept_from: runs that began before are no longer looked for, and not stored if they are seen all the same.
-- pruned: for each view, the time before which rows of it may have gone. tombstones: how many the flow has.
ALTER TABLE archive.checkpoint
    ADD COLUMN kept_from TIMESTAMP WITH TIME ZONE,
    ADD COLUMN pruned JSONB DEFAULT '{}' NOT NULL,
    ADD COLUMN tombstones BIGINT DEFAULT 0 NOT NULL;
-- Null: they are kept; false: they are going; true: they have gone.
ALTER TABLE archive.run ADD COLUMN lines_pruned BOOLEAN, ADD COLUMN details_pruned BOOLEAN;

-- A log that was erased at a person's request, and nothing of the person. masked: the fields that were masked in a run
-- or step, which stays; null: all of the log has gone.
CREATE TABLE archive.tombstone (
    flow_key INTEGER NOT NULL,
    log_type SMALLINT NOT NULL,
    log_id BIGINT NOT NULL,
    masked TEXT[],
    erased_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT tombstone_pkey PRIMARY KEY (flow_key, log_type, log_id),
    CONSTRAINT tombstone_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);

COMMENT ON COLUMN reporting.run.line_count IS
    'Line logs of the run that were archived, also those that were pruned or erased since.';
COMMENT ON COLUMN reporting.detail.outcome IS
    'What became of the file: wanted, stored, unreadable (kept, but no JSON), missing, too_large, erased (at a person''s request).';
COMMENT ON COLUMN reporting.detail.sha256 IS
    'SHA-256 of the file as it is kept, in hexadecimal: of the file as it came, unless it was masked before it was stored.';
