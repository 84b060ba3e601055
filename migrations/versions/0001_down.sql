DROP SCHEMA reporting CASCADE;
DROP TABLE archive.login_hold, archive.pass, archive.checkpoint, archive.quarantine, archive.detail, archive.line,
    archive.step, archive.run, archive.flow;
