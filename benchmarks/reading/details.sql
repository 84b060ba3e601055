-- The files of failed runs and lines: what was sent, and what the other side answered.
INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, body, body_form, sha256,
    byte_size, document, attempts, fetched_at)
SELECT flow_key, log_type, log_id, run_log_id, created, 'stored', body, 'response', encode(sha256(body), 'hex'),
    length(body), document, 1, created + interval '1 min'
FROM (
    SELECT r.flow_key, 1 AS log_type, r.log_id, r.log_id AS run_log_id, r.created, 'run failed' AS message
    FROM archive.run r WHERE r.status = 3
    UNION ALL
    SELECT r.flow_key, 3, l.log_id, r.log_id, r.created, l.fields ->> 'message'
    FROM archive.run r JOIN archive.line l ON l.flow_key = r.flow_key AND l.original_filename_uuid = r.filename_uuid
    WHERE r.status = 3 AND l.status = 3
) logs
CROSS JOIN LATERAL (SELECT jsonb_build_object('log_id', log_id, 'system', 'Nebim V3', 'response_status', 422,
    'errors', jsonb_build_array(jsonb_build_object('code', 'PRC-1001', 'message', message)),
    'request_body', repeat('{"sku": "x"}', 20), 'response_body', jsonb_build_object('message', message)) AS document) d
CROSS JOIN LATERAL (SELECT convert_to(document::text, 'UTF8') AS body) b;
