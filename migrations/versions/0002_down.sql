DROP SCHEMA reporting CASCADE;
DROP TABLE archive.flow_day, archive.error_run, archive.error_group;
DROP INDEX archive.run_flow_key_status_created_idx, archive.run_failed_idx, archive.step_failed_idx, archive.line_failed_idx;
ALTER TABLE archive.detail DROP COLUMN message;
ALTER TABLE archive.line DROP COLUMN error_key;
ALTER TABLE archive.step DROP COLUMN error_key;
ALTER TABLE archive.run DROP COLUMN error_key, DROP COLUMN failed_line_count;
ALTER TABLE archive.flow DROP COLUMN day_zone, DROP COLUMN error_version;
