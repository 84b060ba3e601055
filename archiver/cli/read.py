"""Runs, and SQL of one's own; and how periods and lists of words are read from options."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archiver.cli import output, words
from archiver.cli.call import WrongCall, archive, call_of, connection, flow_keys, one_form
from archiver.cli.options import READ, AsCsv, AsJson, Flows, examples, limit_option
from archiver.cli.output import Column

if TYPE_CHECKING:
    from archiver.queries import Row

STATUSES = ("success", "failed", "in_progress", "empty", "unknown")
STATES = ("started", "in_progress", "finished", "unknown")
PAGE = 50  # runs for people
ROWS = 1000  # of a statement, for people
COLOURED = 200_000  # characters; longer documents are printed as they are

read = typer.Typer()

Since = Annotated[
    str, typer.Option("--since", metavar="TIME", help="From then on, in local time: 7d, 12h, today, 2025-01-31, …")
]
Until = Annotated[
    str, typer.Option("--until", metavar="TIME", help="Before then, in local time; of a date the whole day.")
]


def span_of(since: str, until: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The moments that --since and --until mean. Raises WrongCall where they are the wrong way round."""
    try:
        first = words.moment(since, now) if since else None
        last = words.moment(until, now, end=True) if until else None
    except ValueError as exc:
        raise WrongCall(str(exc)) from exc
    # A day ends where the next one begins: `--since today --until yesterday` are one moment.
    if first is not None and last is not None and first >= last and since != until:
        raise WrongCall(f"--since {words.clean(since)} lies after --until {words.clean(until)}: nothing can be between")
    return first, last


def chosen(text: str, known: Sequence[str], option: str) -> list[str]:
    """The words of a list such as `failed,empty`."""
    some = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in some:
        if word not in known:
            raise WrongCall(f"{option}: {words.clean(word)!r} is none of {', '.join(known)}")
    return some


@read.command(
    rich_help_panel=READ,
    epilog=examples(
        "archiver runs --status failed --since 7d",
        "archiver runs --flow price --since 2025-01-01 --until 2025-01-31 --json",
    ),
)
def runs(
    context: typer.Context,
    *,
    flow: Flows = None,
    status: Annotated[
        str, typer.Option("--status", metavar="WORDS", help=f"Only with these results: {', '.join(STATUSES)}.")
    ] = "",
    state: Annotated[
        str, typer.Option("--state", metavar="WORDS", help=f"Only in these states: {', '.join(STATES)}.")
    ] = "",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int | None, limit_option(f"At most this many; default {PAGE}, with --json or --csv all.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Runs, newest first."""
    from archiver import queries

    one_form(as_json=as_json, as_csv=as_csv)
    now = call_of(context).now
    first, last = span_of(since, until, now)
    statuses, states = chosen(status, STATUSES, "--status"), chosen(state, STATES, "--state")
    with archive(context) as reader:
        keys = flow_keys(queries.flows(reader), flow) if flow else None
        which = queries.RunFilter(keys, statuses, states, first, last)
        if as_json:
            output.write_list(queries.runs(reader, which, limit))
            return
        if as_csv:
            output.write_rows(queries.view_columns(reader, "run"), queries.runs(reader, which, limit))
            return
        limit = limit or PAGE
        found = list(queries.runs(reader, which, limit + 1))
    if not found:
        output.note("no runs")
        return
    print_runs(found[:limit])
    if len(found) > limit:
        output.note("there are more: --limit, --since and --until show others, --json shows all", "dim")


def print_runs(rows: Iterable[Row]) -> None:
    """A table of rows of reporting.run. On a narrow terminal run ids are cut: their beginning names them as well."""
    columns = [
        Column("STARTED", keep=True),
        Column("FLOW"),
        Column("STATUS", keep=True),
        Column("TOOK", right=True, keep=True),
        Column("ITEMS", right=True),
        Column("FAILED", right=True),
        Column("LINES", right=True),
        Column("FILES", right=True),
        Column("RUN", keep=True),
    ]
    long = output.console().width >= 120
    output.print_table(
        columns,
        [
            [
                words.local(row["started_at"]),
                row["flow_name"],
                row["status"] or row["state"] or "",
                words.span(row["duration_seconds"]),
                words.number(row["process_count"]),
                words.number(row["fail_count"] or None),
                words.number(row["line_count"] or None),
                words.number(row["detail_count"] or None),
                run_word(row, long=long),
            ]
            for row in rows
        ],
    )


def run_word(row: Row, *, long: bool = True) -> str:
    """What `show` takes for this run."""
    if row["run_id"] is None:
        return str(row["log_id"])
    return str(row["run_id"]) if long else str(row["run_id"])[:8]


@read.command(
    rich_help_panel=READ,
    epilog=examples(
        "archiver sql 'SELECT flow_name, count(*) FROM run WHERE is_failed = 1 GROUP BY 1'",
        "archiver sql --csv 'TABLE run_daily' > days.csv",
        "archiver sql --json - < report.sql",
    ),
)
def sql(
    context: typer.Context,
    *,
    statement: Annotated[str, typer.Argument(metavar="SELECT", help="One statement; - reads it from standard input.")],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="Give up after: 90s, 5m, …")] = "60s",
) -> None:
    """Ask in SQL, in a transaction that can only read.

    Views are found without a schema: flow, run, step, line, detail, archive_health, …; tables as archive.run.
    """
    from archiver import queries

    one_form(as_json=as_json, as_csv=as_csv)
    text = sys.stdin.read() if statement == "-" else statement
    limit = duration(timeout, "--timeout")
    with (
        connection(call_of(context).any_config()) as driver,
        queries.statement(driver, text, limit) as (names, rows),
    ):
        if as_json:
            output.write_list(dict(zip(names, row, strict=True)) for row in rows)
        elif as_csv:
            output.write_csv(names, rows)
        else:
            _print_rows(names, rows)


def duration(text: str, option: str) -> timedelta:
    """What an option that takes a duration means."""
    from archiver.config import values

    try:
        return values.some_time(text)
    except ValueError as exc:
        raise WrongCall(f"{option} {words.clean(text)}: {exc}") from exc


def _print_rows(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from archiver.queries.spreadsheet import plain

    numeric = [True] * len(names)
    cells: list[list[str]] = []
    more = False
    for row in rows:
        if len(cells) == ROWS:
            more = True
            break
        cells.append([words.local(one) if isinstance(one, datetime) else plain(one) for one in row])
        numeric = [so_far and _is_number(one) for so_far, one in zip(numeric, row, strict=True)]
    if not cells:
        output.note("no rows")
        return
    output.print_table([Column(name, right=numeric[index]) for index, name in enumerate(names)], cells, every=True)
    if more:
        output.note(f"only the first {ROWS:,} rows are shown: --csv and --json give all", "dim")


def _is_number(value: object) -> bool:
    from archiver.queries import Json

    if isinstance(value, Json):
        return value.lstrip("-")[:1].isdigit()
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
