-- One month's partition of archive.line, for a writer that may create nothing. It runs as the owner of the archive, so
-- it takes nothing but a month, near enough to today that nobody can make thousands of tables, and trusts no search_path.
CREATE FUNCTION archive.make_partition(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    begins date;
    ends date;
    name text;
BEGIN
    IF month < date '2010-01-01' OR month > (now() AT TIME ZONE 'UTC')::date + interval '1 year' THEN
        RAISE EXCEPTION 'no partition for a month before 2010 or more than a year ahead'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    begins := make_date(extract(year FROM month)::int, extract(month FROM month)::int, 1);
    ends := (begins + interval '1 month')::date;
    name := 'line_' || to_char(begins, 'YYYYMM');
    IF to_regclass('archive.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- The lock of the migrations: whoever comes second looks again.
    PERFORM pg_advisory_xact_lock(7226172911);
    IF to_regclass('archive.' || name) IS NOT NULL OR EXISTS (
        SELECT FROM archive.line_default
        WHERE created >= begins::timestamp AT TIME ZONE 'UTC' AND created < ends::timestamp AT TIME ZONE 'UTC'
    ) THEN
        RETURN false;
    END IF;
    EXECUTE 'CREATE TABLE archive.' || name || ' PARTITION OF archive.line FOR VALUES FROM ('''
        || begins || ' 00:00+00'') TO (''' || ends || ' 00:00+00'')';
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION archive.make_partition(date) FROM PUBLIC;
COMMENT ON FUNCTION archive.make_partition(date) IS
    'Makes the partition of archive.line for this month; false where there is one, or where the default partition holds rows of it.';
