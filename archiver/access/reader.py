"""Readers: SELECT on the views of schema `reporting`, those of later versions too, and nothing else."""

from __future__ import annotations

from typing import NamedTuple

from psycopg.errors import DependentObjectsStillExist
from pydantic import SecretStr
from sqlalchemy import Engine

from archiver.access.role import Desk, Granted, Known, RoleRefused, desk, fresh_password


class Limits(NamedTuple):
    """What keeps one reader's mistake from being everybody's: seconds of a statement, connections at once."""

    seconds: float = 60.0
    connections: int = 20


USUAL = Limits()
# A dashboard that was left open in a transaction would keep Postgres from cleaning up behind the archiver.
IDLE = 10 * 60


def settings_of(limits: Limits) -> dict[str, str]:
    """Postgres's settings of a reader in the archive's database."""
    return {
        "default_transaction_read_only": "on",
        "statement_timeout": f"{round(limits.seconds * 1000)}ms",
        "idle_in_transaction_session_timeout": f"{IDLE * 1000}ms",
        "search_path": "reporting",
    }


def grant_reader(engine: Engine, role: str, *, password: SecretStr | None = None, limits: Limits = USUAL) -> Granted:
    """Let `role` read, and make it where there is none, with this or a random password. Safe to repeat.

    A role that is there keeps its password, unless one is given. Raises RoleRefused for roles that may do more than
    read, and where the caller's own role lacks a right.
    """
    with desk(engine) as at:
        known = at.known(role)
        if known is not None and (known.owns or known.writes):
            raise RoleRefused(f"role {role!r} {_more(known)}: give readers a role of their own")
        given = password if known or password else fresh_password()
        if known is None and given is not None:
            at.create(role, given)
        elif given is not None:
            at.password(role, given)
        _rights(at, role)
        _limit(at, role, known, limits)
        return Granted(role, known is None, known.login if known else True, given)


def _more(known: Known) -> str:
    return "has the rights of the archive's owner" if known.owns else "may use the archive's tables"


def _rights(at: Desk, role: str) -> None:
    at.on_database("CONNECT", role)
    at.run("GRANT USAGE ON SCHEMA reporting TO {role}", role=role)
    at.run("GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO {role}", role=role)
    at.run(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA reporting GRANT SELECT ON TABLES TO {role}",
        owner=at.owner,
        role=role,
    )


def _limit(at: Desk, role: str, known: Known | None, limits: Limits) -> None:
    """Nothing is changed that is so already: an administrator may have done it, and not let us."""
    wanted = {f"{name}={value}" for name, value in settings_of(limits).items()}
    with at.mine(role):
        if not wanted <= _present(at, role):
            for name, value in settings_of(limits).items():
                at.setting(
                    f"ALTER ROLE {{role}} IN DATABASE {{database}} SET {name} = {{value}}",
                    value,
                    role=role,
                    database=at.database,
                )
        if known is None or known.limit != limits.connections:
            at.run(f"ALTER ROLE {{role}} CONNECTION LIMIT {limits.connections:d}", role=role)


def _present(at: Desk, role: str) -> set[str]:
    row = at.row(
        "SELECT s.setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole"
        " JOIN pg_database d ON d.oid = s.setdatabase WHERE r.rolname = %s AND d.datname = current_database()",
        role,
    )
    return set(row[0]) if row else set()


def revoke_reader(engine: Engine, role: str) -> bool:
    """Undo the grant. True where the role itself went, which the archiver had made and nobody else uses.

    Raises RoleRefused where there is no such role, or where it is no reader's.
    """
    with desk(engine) as at:
        known = at.known(role)
        if known is None:
            raise RoleRefused(f"there is no role {role!r}")
        if known.owns or known.writes:
            raise RoleRefused(f"role {role!r} {_more(known)}, and is no reader's: nothing was revoked")
        at.run(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA reporting REVOKE SELECT ON TABLES FROM {role}",
            owner=at.owner,
            role=role,
        )
        at.run("REVOKE ALL ON ALL TABLES IN SCHEMA reporting FROM {role}", role=role)
        at.run("REVOKE ALL ON SCHEMA reporting FROM {role}", role=role)
        with at.mine(role):
            present = _present(at, role)
            for name in settings_of(USUAL):
                if any(one.startswith(f"{name}=") for one in present):
                    at.run(
                        f"ALTER ROLE {{role}} IN DATABASE {{database}} RESET {name}", role=role, database=at.database
                    )
        if not known.made:
            return False
        at.run("REVOKE CONNECT ON DATABASE {database} FROM {role}", database=at.database, role=role)
        return _drop(at, role)


def _drop(at: Desk, role: str) -> bool:
    try:
        with at.mine(role), at.attempt():
            at.run("DROP ROLE {role}", role=role)
    except DependentObjectsStillExist:  # it reads another archive of this server, or somebody uses it for more
        return False
    return True


def readers(engine: Engine) -> list[str]:
    """The roles that were granted, by name: those that new views will be granted to as well."""
    with desk(engine) as at:
        (names,) = at.row(
            'SELECT array(SELECT DISTINCT r.rolname::text COLLATE "C" FROM pg_default_acl d'
            " CROSS JOIN LATERAL aclexplode(d.defaclacl) a JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE d.defaclnamespace = 'reporting'::regnamespace AND d.defaclobjtype = 'r'"
            " AND NOT has_schema_privilege(r.oid, 'archive', 'USAGE') ORDER BY 1)"
        )
        return list(names)
