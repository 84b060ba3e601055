"""One role of the database: found, made, told apart from those that may do more."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import namedtuple_row
from pydantic import SecretStr
from sqlalchemy import Engine

from archiver.errors import OperatorError
from archiver.store import translated

MADE = "Made by the archiver."  # the comment on roles that it may drop again
_LONGEST = 63  # bytes; Postgres cuts longer names silently, and grants to somebody else then
# Of the owner's address, what a reader's may keep: no other key can hold a secret or a file of the owner's.
_SHARED = ("sslmode", "sslrootcert", "gssencmode", "target_session_attrs", "channel_binding")


class RoleRefused(OperatorError):
    """A role that cannot be given, or be relieved of, access."""


class Granted(NamedTuple):
    """What a grant did. `password` is the new one of the role, if it has got one; nobody can ask for it again."""

    role: str
    created: bool
    login: bool
    password: SecretStr | None


class Known(NamedTuple):
    """A role as it was found. `owns`: it has the rights of the archive's owner; `writes`: it can use schema archive."""

    role: str
    login: bool
    owns: bool
    writes: bool
    limit: int
    made: bool


class Desk:
    """One transaction in which roles are changed, by a role that has the rights of the archive's owner."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self._driver = driver
        info = driver.info
        self.database = info.dbname
        (self.owner, self.me, owns, self._creates) = self.row(
            "SELECT pg_get_userbyid(n.nspowner), current_user, pg_has_role(n.nspowner, 'USAGE'),"
            " r.rolcreaterole OR r.rolsuper FROM pg_namespace n, pg_roles r"
            " WHERE n.nspname = 'reporting' AND r.rolname = current_user"
        )
        if not owns:
            raise RoleRefused(
                f"role {self.me!r} in database.url does not own the archive: grant and revoke as {self.owner!r}"
            )

    def row(self, statement: str, *bind: object) -> Any:
        """The first row; empty where there is none."""
        with self._driver.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(statement.encode(), bind).fetchone() or ()

    def run(self, statement: str, **names: str) -> None:
        """A statement with these identifiers in it."""
        form = sql.SQL(cast("Any", statement))
        self._driver.execute(form.format(**{key: sql.Identifier(name) for key, name in names.items()}))

    def setting(self, statement: str, value: str, **names: str) -> None:
        """A statement with identifiers and one literal `{value}` in it."""
        form = sql.SQL(cast("Any", statement))
        parts: dict[str, sql.Composable] = {key: sql.Identifier(name) for key, name in names.items()}
        self._driver.execute(form.format(value=sql.Literal(value), **parts))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A savepoint: what fails inside is undone, the rest of the transaction stays."""
        with self._driver.transaction():
            yield

    def known(self, role: str) -> Known | None:
        """The role, or None. Raises RoleRefused for names that no role can have."""
        check_name(role)
        found = self.row(
            "SELECT r.rolname, r.rolcanlogin, r.rolsuper OR pg_has_role(r.oid, %s::name, 'MEMBER'),"
            " has_schema_privilege(r.oid, 'archive', 'USAGE'), r.rolconnlimit,"
            " coalesce(shobj_description(r.oid, 'pg_authid') = %s, false)"
            " FROM pg_roles r WHERE r.rolname = %s",
            self.owner, MADE, role,
        )  # fmt: skip
        return Known(*found) if found else None

    def create(self, role: str, password: SecretStr) -> None:
        """A role that can log in, and nothing else yet. Raises RoleRefused where this one may not make roles."""
        if not self._creates:
            raise RoleRefused(
                f"there is no role {role!r}, and {self.me!r} may not make one: let an administrator"
                f" CREATE ROLE {quoted(role)} LOGIN PASSWORD '…', then grant again"
            )
        self.run("CREATE ROLE {role} LOGIN NOCREATEDB NOCREATEROLE", role=role)
        self.run("COMMENT ON ROLE {role} IS " + f"'{MADE}'", role=role)
        self.password(role, password)

    def password(self, role: str, password: SecretStr) -> None:
        """Set a password; only its digest travels, so that no server log holds it."""
        with self.mine(role):
            digest = self._driver.pgconn.encrypt_password(
                password.get_secret_value().encode(), role.encode(), b"scram-sha-256"
            )
            self.setting("ALTER ROLE {role} PASSWORD {value}", digest.decode(), role=role)

    @contextmanager
    def mine(self, role: str) -> Iterator[None]:
        """Changes of a role, which an administrator may have kept for himself."""
        try:
            yield
        except InsufficientPrivilege as exc:
            raise RoleRefused(
                f"role {role!r} is there, and {self.me!r} may not change it: let an administrator"
                f" GRANT {quoted(role)} TO {quoted(self.me)} WITH ADMIN OPTION, then again"
            ) from exc

    def on_database(self, privilege: str, role: str) -> None:
        """CONNECT or TEMPORARY, which everybody has unless somebody took it away."""
        (has,) = self.row("SELECT has_database_privilege(%s::name, current_database(), %s)", role, privilege)
        if not has:
            self.run(f"GRANT {privilege} ON DATABASE {{database}} TO {{role}}", database=self.database, role=role)
            (has,) = self.row("SELECT has_database_privilege(%s::name, current_database(), %s)", role, privilege)
        if not has:  # without the right to grant, Postgres may only have warned
            raise RoleRefused(
                f"role {role!r} lacks {privilege} on the database, and {self.me!r} may not grant it: let an"
                f" administrator GRANT {privilege} ON DATABASE {quoted(self.database)} TO {quoted(role)}"
            )


@contextmanager
def desk(engine: Engine) -> Iterator[Desk]:
    """A Desk for one transaction. Raises the archiver's errors."""
    with translated(), engine.begin() as connection:
        yield Desk(cast("psycopg.Connection[Any]", connection.connection.driver_connection))


def quoted(name: str) -> str:
    """A name as SQL for people to copy."""
    return '"' + name.replace('"', '""') + '"'


def check_name(role: str) -> None:
    """Raises RoleRefused for what Postgres would refuse, cut, or take for everybody."""
    try:
        length = len(role.encode())
    except UnicodeEncodeError:
        raise RoleRefused(f"{role!r} is no name of a role: it is not UTF-8") from None
    if not role or "\0" in role or length > _LONGEST:
        raise RoleRefused(f"{role!r} is no name of a role: it takes 1 to {_LONGEST} bytes without NUL")
    # Even quoted, these do not name a role: GRANT … TO "public" is a grant to everybody.
    if role in ("public", "none") or role.startswith("pg_"):
        raise RoleRefused(f"{role!r} is a name that Postgres keeps for itself: choose another role")


def fresh_password() -> SecretStr:
    """A new password of 192 random bits."""
    return SecretStr(secrets.token_urlsafe(24))


def address(engine: Engine, role: str, password: SecretStr | None = None) -> str:
    """The database's address for another role, as libpq writes it; nothing of the owner's own secrets is in it."""
    with translated(), engine.connect() as connection:
        driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        info = driver.info
        parameters: Mapping[str, str] = info.get_parameters()
        host, port, database = info.host, info.port, info.dbname
    query = {name: parameters[name] for name in _SHARED if parameters.get(name)}
    where = f"[{host}]" if ":" in host else host
    if host.startswith("/"):
        where, query = "", {"host": host, **query}
    secret = f":{quote(password.get_secret_value(), safe='')}" if password else ""
    tail = f"?{urlencode(query)}" if query else ""
    return f"postgresql://{quote(role, safe='')}{secret}@{where}:{port}/{quote(database, safe='')}{tail}"
