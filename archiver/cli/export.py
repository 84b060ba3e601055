"""The archive as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import many, size
from archiver.cli import output, words
from archiver.cli.call import call_of, database, flow_keys
from archiver.cli.options import READ, AsJson, Flows, examples
from archiver.cli.read import Since, Until, span_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from archiver.config import Config
    from archiver.export import Exported

parquet = typer.Typer()


@parquet.command(
    rich_help_panel=READ,
    epilog=examples(
        "archiver export --to ./parquet",
        "archiver export --to s3://bucket/archive --view line --flow price --since 2026-01-01",
    ),
)
def export(
    context: typer.Context,
    *,
    to: Annotated[str, typer.Option("--to", metavar="DIR|URI", help="A folder, or s3://bucket/prefix.")],
    view: Annotated[
        list[str] | None, typer.Option("--view", metavar="VIEW", help="Only this view. Repeatable.")
    ] = None,
    flow: Flows = None,
    since: Since = "",
    until: Until = "",
    as_json: AsJson = False,
) -> None:
    """The archive as Parquet: a folder for each view, a file for each flow and month, a manifest.

    Months (in UTC) are never cut: those that --since and --until touch are exported whole. What is there and has not
    changed is left alone, so that an export that was stopped goes on, and the next one writes what is new.
    """
    from archiver import export as room
    from archiver import queries

    room.require()
    call = call_of(context)
    config = call.any_config()
    first, last = span_of(since, until, call.now)
    with database(config) as engine, shown() as progress:
        with queries.reading(engine) as reader:
            keys = tuple(flow_keys(queries.flows(reader), flow)) if flow else None
        selection = room.Selection(tuple(view or ()), keys, first, last)
        report = room.export(engine, libpq(config, engine), to, selection, now=call.now, progress=progress)
    if as_json:
        output.write_object(
            {name: getattr(report, name) for name in ("place", "written", "kept", "rows", "bytes")},
            files=map(asdict, report.files),
        )
        return
    said = f"{many(report.written, 'file')} with {many(report.rows, 'row')} written"
    output.say(f"{report.place}: {said} ({size(report.bytes)}), {words.number(report.kept)} unchanged")


def libpq(config: Config, engine: Engine) -> str:
    """The address of the database that is open, secret and all."""
    return config.database.libpq_url() or engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def shown() -> Iterator[Callable[[Exported], None]]:
    """A bar on the terminal; nothing where nobody watches."""
    console = output.console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("…", total=None)

        def progress(report: Exported) -> None:
            at = words.clean(report.now_at)
            bar.update(task, total=report.rows_to_write or None, completed=report.rows, description=at)

        yield progress
