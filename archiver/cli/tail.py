"""Following runs as they come and change."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import many
from archiver.cli import output, words
from archiver.cli.call import call_of, database, flow_keys
from archiver.cli.options import READ, examples

if TYPE_CHECKING:
    from archiver.queries import Row

one = typer.Typer()

EVERY = 1.0  # seconds between two looks


@one.command(
    rich_help_panel=READ, epilog=examples("archiver tail", "archiver tail price stock", "archiver tail --json")
)
def tail(
    context: typer.Context,
    *,
    flows: Annotated[
        list[str] | None, typer.Argument(metavar="FLOW", help="Names, ids, or project/name; else all.")
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, max=50, help="Show this many earlier runs first.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object in each line, as of `runs --json`.")] = False,
) -> int:
    """Follow runs live: a line when one is seen, and another when it changes. Ctrl-C ends it.

    It reads the archive: `archiver run` fills it, and is as quick as the flows' schedules.
    """
    from archiver import queries
    from archiver.queries.tail import Followed

    with database(call_of(context).any_config()) as engine:
        with queries.reading(engine) as reader:
            followed = Followed(flow_keys(queries.flows(reader), flows or ()))
            rows = followed.news(reader)
        _show(rows[-lines:] if lines else (), as_json=as_json)
        while True:
            time.sleep(EVERY)
            with queries.reading(engine) as reader:
                rows = followed.news(reader)
            _show(rows, as_json=as_json)


def _show(rows: Iterable[Row], *, as_json: bool) -> None:
    for row in rows:
        if as_json:
            output.write(output.json_text(row) + "\n")
        else:
            status = row["status"] or row["state"] or ""
            output.say(_line(row, status), output.STYLES.get(status, ""))
    sys.stdout.flush()


def _line(row: Row, status: str) -> str:
    failed = f"{words.number(row['fail_count'])} failed" if row["fail_count"] else ""
    message = words.clean(row["message"] or "")[:160] if row["is_failed"] else ""
    parts = (
        words.local(row["started_at"]),
        row["flow_name"],
        status,
        words.span(row["duration_seconds"]),
        many(row["line_count"], "line") if row["line_count"] else "",
        failed,
        row["run_id"] or str(row["log_id"]),
        message,
    )
    return "  ".join(part for part in parts if part)
