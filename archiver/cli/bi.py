"""Access for BI tools and people, and dashboards that are ready."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.cli import output
from archiver.cli.call import WrongCall, call_of, database
from archiver.cli.options import DATABASE, PasswordFile, examples, password_from
from archiver.cli.read import duration

if TYPE_CHECKING:
    from pydantic import SecretStr
    from sqlalchemy import Engine

    from archiver.access import Granted
    from archiver.config import Config

bi = typer.Typer(
    help="Readers' access, and dashboards for Superset and Grafana.", no_args_is_help=True, rich_help_panel=DATABASE
)

_LONGEST = 24 * 86_400  # seconds; statement_timeout is an int of milliseconds

Role = Annotated[str, typer.Argument(metavar="ROLE", help="A role of the database's server.")]
AsRole = Annotated[
    str | None,
    typer.Option(
        "--role", metavar="ROLE", help="The reader that the dashboards log in as; needed where there are several."
    ),
]
To = Annotated[Path | None, typer.Option("--to", "-o", metavar="FILE", help="Write there, not to standard output.")]


@bi.command(epilog=examples("archiver bi grant analyst", 'psql "$(archiver bi grant analyst)"'))
def grant(
    context: typer.Context,
    *,
    role: Role,
    password_file: PasswordFile = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="The longest that a statement may take.")] = "60s",
    connections: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="The most it may have open at once.")
    ] = 20,
) -> None:
    """Let a role read the views in schema reporting, and nothing else.

    Where there is no such role it is made, with a random password. Prints the address that it logs in at; the password
    is in it this once. Views of later versions are granted as well. Safe to repeat.
    """
    from archiver import access

    limits = access.Limits(_seconds(timeout), connections)
    password = password_from(password_file)
    with database(call_of(context).any_config()) as engine:
        tell(engine, access.grant_reader(engine, role, password=password, limits=limits), password)
    output.note(f"it reads the views in schema reporting, for at most {timeout} a statement")


@bi.command(epilog=examples("archiver bi revoke analyst"))
def revoke(context: typer.Context, *, role: Role) -> None:
    """Undo `grant`: the role reads nothing any more.

    It is dropped where the archiver made it and nothing else depends on it.
    """
    from archiver import access

    with database(call_of(context).any_config()) as engine:
        dropped = access.revoke_reader(engine, role)
    output.say(f"{role} reads the archive no more" + (", and is dropped" if dropped else "; the role itself is kept"))


def tell(engine: Engine, granted: Granted, given: SecretStr | None) -> None:
    """The address on standard output, for programs; the rest beside it. A password that was given is not repeated."""
    from archiver import access

    fresh = granted.password if given is None else None
    output.write(f"{access.address(engine, granted.role, fresh)}\n")
    if fresh is not None:
        output.note(f"role {granted.role} is made; its password is shown this once, in the address")
    elif granted.created:
        output.note(f"role {granted.role} is made, with the password of the file")
    elif given is not None:
        output.note(f"role {granted.role} has the password of the file now")
    else:
        output.note(f"role {granted.role} was there, and keeps its password")
    if not granted.login:
        output.note(f"{granted.role} cannot log in: its members have its rights, but none of its limits", "yellow")


def _seconds(text: str) -> float:
    seconds = duration(text, "--timeout").total_seconds()
    if seconds > _LONGEST:
        raise WrongCall("--timeout is at most 24d")
    return seconds


@bi.command(epilog=examples("archiver bi superset --to bundle.zip", "archiver bi superset --role analyst > bundle.zip"))
def superset(context: typer.Context, *, role: AsRole = None, to: To = None) -> None:
    """Print a bundle for Apache Superset: database, datasets, charts, dashboard.

    It logs in as a reader (see `grant`), whose password is not in it: Superset asks for it on import.
    """
    from archiver import access
    from archiver import bi as boards

    call = call_of(context)
    config = call.any_config()
    with database(config) as engine:
        address = access.address(engine, _reader(engine, role))
        body = boards.superset_bundle(address, boards.views(engine), _fields(config), call.now)
    _deliver(body, to)


@bi.command(epilog=examples("archiver bi grafana --to dashboard.json"))
def grafana(
    context: typer.Context,
    *,
    source: Annotated[
        str | None, typer.Option("--source", metavar="UID", help="For provisioning: the data source's uid.")
    ] = None,
    to: To = None,
) -> None:
    """Print a dashboard for Grafana's PostgreSQL data source, as JSON.

    Make the data source first, as a reader (see `grant`); Grafana asks for it on import, unless --source names it.
    """
    from archiver import access
    from archiver import bi as boards

    config = call_of(context).any_config()
    with database(config) as engine:
        document = boards.grafana_dashboard(access.address(engine, "reader"), _fields(config), source)
    _deliver((json.dumps(document, indent=1) + "\n").encode(), to)


def _reader(engine: Engine, role: str | None) -> str:
    from archiver import access

    known = access.readers(engine)
    if role is not None:
        if role not in known:
            raise WrongCall(f"role {role!r} is no reader of the archive: `archiver bi grant` makes it one")
        return role
    if not known:
        raise WrongCall("there is no reader yet for the dashboards to log in as: `archiver bi grant ROLE` makes one")
    if len(known) > 1:
        raise WrongCall(f"there are several readers: choose one with --role ({', '.join(known)})")
    return known[0]


def _fields(config: Config) -> tuple[str, ...]:
    """The fields that people search by, in the configuration's order; sku where it names none."""
    named = dict.fromkeys(field for flow in config.flows for field in flow.search_fields)
    return tuple(named) or ("sku",)


def _deliver(body: bytes, to: Path | None) -> None:
    if to is None:
        if output.is_terminal():
            raise WrongCall("this is for a file, not for a terminal: name one with --to, or redirect the output")
        output.write_bytes(body)
        return
    try:
        to.write_bytes(body)
    except OSError as exc:
        raise WrongCall(f"{to} cannot be written: {exc.strerror}") from exc
    output.say(f"{to} is written")
