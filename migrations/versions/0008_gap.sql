-- Everything that is known to be missing, one row a thing, each with an id that stays the same while the thing does.

CREATE FUNCTION archive.gap_id(flow_key INTEGER, kind TEXT, subject TEXT) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left(encode(sha256(convert_to(concat_ws('/', flow_key::text, kind, subject), 'UTF8')), 'hex'), 10);

-- is_missing: false where nothing is missing, but somebody should know.
CREATE VIEW archive.gap AS
WITH known AS (
    SELECT c.flow_key, 'gap' AS kind, true AS is_missing, g.gap ->> 'noted_at' AS noted_at,
        concat_ws('/', g.gap ->> 'from', g.gap ->> 'to', g.gap ->> 'reason') AS subject,
        NULL::smallint AS log_type, NULL::bigint AS log_id, NULL::text AS run_id,
        (g.gap ->> 'from')::timestamptz AS time_from, (g.gap ->> 'to')::timestamptz AS time_to,
        g.gap ->> 'reason' AS what
    FROM archive.checkpoint c CROSS JOIN LATERAL jsonb_array_elements(c.gaps) AS g(gap)
    UNION ALL
    -- An outage is one thing from its first failed pass to the next good one.
    SELECT flow_key, 'uncertified', true, NULL, coalesce(extract(epoch FROM checked_at)::text, 'never'),
        NULL, NULL, NULL, frontier, NULL,
        'failed ' || failures_in_a_row || ' times in a row: ' || coalesce(last_error, 'no reason given')
    FROM archive.checkpoint WHERE failures_in_a_row > 0
    UNION ALL
    SELECT flow_key, 'late_rows', false, NULL, source ->> 'late', NULL, NULL, NULL, NULL, NULL,
        (source ->> 'late') || ' rows showed up later than the lateness, which is now '
            || round((source ->> 'lateness')::numeric / 1000000) || ' s for this flow; they are archived'
    FROM archive.checkpoint WHERE (source ->> 'late')::bigint > 0
    UNION ALL
    SELECT flow_key, CASE archive_state WHEN 'lost' THEN 'lost_run' ELSE 'stuck_run' END, archive_state = 'lost',
        NULL, log_id::text, 1, log_id, coalesce(filename_uuid, original_filename_uuid), created, NULL,
        CASE archive_state WHEN 'lost' THEN 'the Integrator stopped listing it before it had finished'
            ELSE 'open for more than a week; asked for once a day' END
    FROM archive.run WHERE archive_state IN ('lost', 'stuck')
    UNION ALL
    SELECT d.flow_key, d.outcome || '_file', true, NULL, d.log_type || '/' || d.log_id, d.log_type, d.log_id,
        coalesce(r.filename_uuid, r.original_filename_uuid), d.run_created, NULL, coalesce(d.error, d.outcome)
    FROM archive.detail d
    LEFT JOIN archive.run r ON r.flow_key = d.flow_key AND r.log_id = d.run_log_id
    WHERE d.outcome IN ('missing', 'unreadable', 'too_large')
    UNION ALL
    SELECT q.flow_key, 'refused_row', true, to_char(q.first_seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
        q.log_type || '/' || q.src_hash, q.log_type, NULL, coalesce(r.filename_uuid, r.original_filename_uuid), r.created,
        NULL, 'it could not be stored, and is kept in archive.quarantine: ' || q.reason
    FROM archive.quarantine q
    LEFT JOIN archive.run r ON r.flow_key = q.flow_key AND r.log_id = q.run_log_id
    UNION ALL
    SELECT f.flow_key, f.kind, true, to_char(f.found_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
        f.log_type || '/' || f.log_id, f.log_type, f.log_id, coalesce(r.filename_uuid, r.original_filename_uuid),
        f.created, NULL, f.what
    FROM archive.finding f
    LEFT JOIN archive.run r ON r.flow_key = f.flow_key AND r.log_id = f.run_log_id
    WHERE f.cleared_at IS NULL
)
SELECT archive.gap_id(k.flow_key, k.kind, k.subject) AS gap_id, k.flow_key, k.kind, k.is_missing,
    k.noted_at::timestamptz AS noted_at, k.time_from, k.time_to, k.run_id, k.log_type, k.log_id, k.what,
    a.acknowledged_at, a.acknowledged_by, a.reason
FROM known k
LEFT JOIN archive.acknowledgement a
    ON a.flow_key = k.flow_key AND a.gap_id = archive.gap_id(k.flow_key, k.kind, k.subject);
