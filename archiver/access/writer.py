"""The writer: what `archiver run` needs where it is not the owner; no right to alter a table or to delete a row."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy import Engine

from archiver.access.role import Desk, Granted, RoleRefused, desk, fresh_password

_RIGHTS = (
    "GRANT USAGE ON SCHEMA archive, reporting TO {role}",
    "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA archive TO {role}",
    # The schema's version is the owner's alone; what the archiver did, but not what it archived, is forgotten in time.
    "REVOKE INSERT, UPDATE ON archive.alembic_version FROM {role}",
    "GRANT DELETE ON archive.pass, archive.daemon, archive.alert, archive.alert_message TO {role}",
    "GRANT USAGE ON SEQUENCE archive.pass_pass_id_seq TO {role}",  # passes are numbered before they are written down
    "GRANT SELECT ON ALL SEQUENCES IN SCHEMA archive TO {role}",  # so that pg_dump can read them
    "GRANT EXECUTE ON FUNCTION archive.make_partition(date) TO {role}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO {role}",
)
_LATER = (
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA archive GRANT SELECT, INSERT, UPDATE ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA archive GRANT SELECT ON SEQUENCES TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA reporting GRANT SELECT ON TABLES TO {role}",
)


def grant_writer(engine: Engine, role: str, *, password: SecretStr | None = None) -> Granted:
    """Let `role` archive, and make it where there is none, with this or a random password. Safe to repeat.

    The schema has to be up to date. Raises RoleRefused for the owner, for readers, and where the caller's own role
    lacks a right.
    """
    with desk(engine) as at:
        known = at.known(role)
        if known is not None and known.owns:
            raise RoleRefused(f"role {role!r} has the rights of the archive's owner: it can archive as it is")
        if known is not None and not known.writes and _reads(at, role):
            raise RoleRefused(f"role {role!r} is a reader's: choose another, or `archiver bi revoke` it first")
        given = password if known or password else fresh_password()
        if known is None and given is not None:
            at.create(role, given)
        elif given is not None:
            at.password(role, given)
        at.on_database("CONNECT", role)
        at.on_database("TEMPORARY", role)  # batches are staged in a temporary table
        for statement in _RIGHTS:
            at.run(statement, role=role)
        for statement in _LATER:
            at.run(statement, role=role, owner=at.owner)
        return Granted(role, known is None, known.login if known else True, given)


def _reads(at: Desk, role: str) -> bool:
    (reads,) = at.row("SELECT has_schema_privilege(%s::name, 'reporting', 'USAGE')", role)
    return bool(reads)
