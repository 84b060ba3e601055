-- What search asks for besides archive.line.fields; archiver/tables.py describes it.

-- The names of fields that lines have, or had; $json where there is what jsonb cannot hold.
CREATE TABLE archive.field (
    flow_key INTEGER NOT NULL,
    name TEXT NOT NULL,
    CONSTRAINT field_pkey PRIMARY KEY (flow_key, name),
    CONSTRAINT field_flow_key_fkey FOREIGN KEY(flow_key) REFERENCES archive.flow (flow_key)
);
INSERT INTO archive.field (flow_key, name)
SELECT DISTINCT l.flow_key, f.name
FROM archive.line l
CROSS JOIN LATERAL (
    SELECT jsonb_object_keys(l.fields) AS name
    UNION ALL
    SELECT key FROM jsonb_each(l.rest) WHERE jsonb_typeof(value) NOT IN ('object', 'array')
) f
WHERE length(f.name) <= 200;

-- Values that are too long for fields, and those that did not fit their column. Lines without any cost nothing here.
CREATE INDEX line_rest_idx ON archive.line USING gin (rest jsonb_path_ops) WHERE rest IS NOT NULL;
-- Lines with values that jsonb cannot hold: few, and each of them has to be looked at.
CREATE INDEX line_odd_idx ON archive.line (flow_key, created) WHERE rest ? '$json';

-- Runs that go on: asked for by their state they are few among all.
CREATE INDEX run_going_idx ON archive.run (flow_key, created) WHERE state IS DISTINCT FROM 3;
-- Steps of a day, over all flows.
CREATE INDEX step_created_idx ON archive.step (created);
