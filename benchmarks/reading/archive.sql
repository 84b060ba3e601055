-- A year of a fashion brand's logs: :runs runs that end at :end, with :lines lines in all, ten flows in turn.
-- Everything is a function of the run's number, so that the same call makes the same archive.

CREATE FUNCTION pg_temp.draw(number bigint, seed bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS 'SELECT hashint8extended(number, seed) & 9223372036854775807';

CREATE TEMP TABLE shape (flow_key int, name text, kind text, step_id text, step text, in_bound boolean);
INSERT INTO shape
SELECT n, kind || CASE WHEN n > 4 THEN '-' || n ELSE '' END, kind,
    'send_' || kind, 'Send ' || initcap(kind), kind <> 'order'
FROM unnest(ARRAY['price', 'stock', 'product', 'order', 'price', 'stock', 'stock', 'price', 'stock', 'stock'])
    WITH ORDINALITY AS flows (kind, n);

INSERT INTO archive.flow (flow_key, integrator, project_id, project_slug, flow_id, flow_name) OVERRIDING SYSTEM VALUE
SELECT flow_key, 'prod', md5('brand')::uuid::text, 'brand', md5(name)::uuid::text, name FROM shape;
SELECT setval(pg_get_serial_sequence('archive.flow', 'flow_key'), 10);
INSERT INTO archive.checkpoint (flow_key, frontier, intervals, checked_at, next_due_at)
SELECT flow_key, :end, jsonb_build_array(jsonb_build_array('2020-01-01T00:00:00+00:00', :end)), :end, :end FROM shape;

-- One of 25 runs finds nothing to do, one of 33 fails; of the last ten some still go on.
INSERT INTO archive.run (flow_key, log_id, created, finished, process_group_id, process_group_name,
    original_filename_uuid, filename_uuid, state, status, fragment_count, process_count, success_count, fail_count,
    in_bound, schedule, is_triggered, triggered_by, log_type, flow_order, is_send_s3, form, src_hash, archive_state,
    line_count, source_line_count, first_seen_at, seen_at, visit_at, sealed_at)
SELECT flow_key, log_id, created, CASE WHEN goes_on THEN NULL ELSE created + took END, flow_id, name,
    run_id, run_id, CASE WHEN goes_on THEN 2 ELSE 3 END, CASE WHEN goes_on THEN 1 ELSE status END, lines, lines,
    lines - failed, failed, in_bound, '0 0/5 * * * ?', false, 'System', 1, 1, (status = 3)::int, 0, draw,
    CASE WHEN goes_on THEN 'open' ELSE 'sealed' END, lines, lines, created + took, created + took,
    CASE WHEN goes_on THEN now() END, CASE WHEN goes_on THEN NULL ELSE created + took + interval '10 min' END
FROM (
    SELECT i, s.*, f.flow_id, draw, status, md5('run' || i)::uuid::text AS run_id, 100000 + i * :stride AS log_id,
        i > :runs - 10 AND draw % 2 = 0 AS goes_on,
        date_trunc('milliseconds', :end::timestamptz - (:runs - i + 1) * (interval '364 days' / :runs)) AS created,
        interval '1 s' * (3 + draw % 90) AS took,
        CASE WHEN status = 4 THEN 0 ELSE 1 + draw / 128 % (2 * :per_run - 1) END AS lines,
        CASE WHEN status = 3 THEN (draw / 128 % (2 * :per_run - 1)) / 10 + 1 ELSE 0 END AS failed
    FROM (
        SELECT i, draw, CASE WHEN draw % 25 = 0 THEN 4 WHEN draw % 33 = 0 THEN 3 ELSE 2 END AS status
        FROM generate_series(1, :runs) i, pg_temp.draw(i, 1) draw
    ) drawn
    JOIN shape s ON s.flow_key = 1 + i % 10
    JOIN archive.flow f USING (flow_key)
) planned
ORDER BY i;

INSERT INTO archive.step (flow_key, log_id, created, finished, process_group_id, process_group_name,
    parent_process_group_id, original_filename_uuid, filename_uuid, state, status, process_count, success_count,
    fail_count, in_bound, is_triggered, triggered_by, log_type, flow_order, is_send_s3, form, src_hash, run_log_id,
    position, seen_at)
SELECT r.flow_key, r.log_id + n, r.created + n * interval '400 ms', r.finished, p.id, p.title, r.process_group_id,
    r.filename_uuid, md5(r.log_id || 'step' || n)::uuid::text, r.state, CASE WHEN n = 3 THEN r.status ELSE 2 END,
    r.process_count, r.success_count, r.fail_count, r.in_bound, false, 'System', 2, n + 1, 0, 0, r.log_id + n,
    r.log_id, n - 1, r.seen_at
FROM archive.run r
JOIN shape s USING (flow_key)
CROSS JOIN LATERAL (VALUES (1, 'login', 'Login'), (2, 'read_data_from_erp', 'Read Data From ERP'),
    (3, s.step_id, s.step)) AS p (n, id, title);
