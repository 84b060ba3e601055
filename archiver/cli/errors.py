"""Kinds of errors, for people who have to do something about them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.cli import output, words
from archiver.cli.call import archive, call_of, flow_keys, one_form
from archiver.cli.options import READ, AsCsv, AsJson, Flows, examples, limit_option
from archiver.cli.output import Column
from archiver.cli.read import Since, chosen, span_of

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.queries import Affected, Reader, Row

one = typer.Typer()

SHOWN = 20  # kinds, for people
CLASSES = (
    "validation",
    "not_found",
    "conflict",
    "auth",
    "rate_limit",
    "timeout",
    "connection",
    "server_error",
    "parse",
    "other",
)  # of messages/kinds.py, which the help must not have to import; a test holds them together


@one.command(
    rich_help_panel=READ,
    epilog=examples(
        "archiver errors --since 7d",
        "archiver errors --flow price --class validation,not_found",
        "archiver errors --since yesterday --json | jq '.[] | select(.first_seen_at > \"2025-01-31\")'",
    ),
)
def errors(
    context: typer.Context,
    *,
    flow: Flows = None,
    since: Since = "",
    classes: Annotated[
        str, typer.Option("--class", metavar="WORDS", help=f"Only of these classes: {', '.join(CLASSES)}.")
    ] = "",
    limit: Annotated[int | None, limit_option(f"At most this many; default {SHOWN}, with --json or --csv all.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """What fails, by kind of error: the most frequent first.

    Messages are one kind where they differ in numbers, ids, SKUs, dates and quoted values alone. With --since only what
    failed from then on is counted. Values are those of the flow's search_fields, the most frequent first.
    """
    from archiver import queries

    one_form(as_json=as_json, as_csv=as_csv)
    call = call_of(context)
    config = call.any_config()
    first, _ = span_of(since, "", call.now)
    kinds = chosen(classes, CLASSES, "--class")
    with archive(context) as reader:
        keys = flow_keys(queries.flows(reader), flow) if flow else None
        which = queries.ErrorFilter(keys, kinds, first)
        if as_json or as_csv:
            groups = queries.error_groups(reader, which, limit)
            _for_programs(reader, _with_values(reader, config, groups, first), as_json=as_json)
            return
        limit = limit or SHOWN
        groups = queries.error_groups(reader, which, limit + 1)
        shown = list(_with_values(reader, config, groups[:limit], first))
    if not groups:
        output.note("no errors")
        return
    _print(shown, call.now)
    if len(groups) > limit:
        output.note("there are more: --limit, --since, --flow and --class show others, --json shows all", "dim")


def _with_values(
    reader: Reader, config: Config, groups: list[Row], since: datetime | None
) -> Iterator[tuple[Row, list[Affected]]]:
    from archiver import queries

    known = queries.flows(reader)
    declared = {
        queries.key_of(known, flow.integrator, flow.project_id, flow.flow_id): flow.search_fields
        for flow in config.flows
    }
    for group in groups:
        yield group, queries.affected(reader, group, declared.get(group["flow_key"], ()), since)


def _for_programs(reader: Reader, found: Iterator[tuple[Row, list[Affected]]], *, as_json: bool) -> None:
    from archiver.queries import view_columns

    rows = (_as_json(group, hit) for group, hit in found)
    if as_json:
        output.write_list(rows)
    else:
        output.write_rows([*view_columns(reader, "error_group"), "affected"], rows)


def _as_json(group: Row, hit: list[Affected]) -> Row:
    values = {
        one.field: {
            "distinct_values": one.distinct_values,
            "is_complete": one.is_complete,
            "most_frequent": list(one.values),
        }
        for one in hit
    }
    return {**group, "affected": values}


def _print(shown: list[tuple[Row, list[Affected]]], now: datetime) -> None:
    columns = [
        Column("TIMES", right=True, keep=True),
        Column("RUNS", right=True, keep=True),
        Column("LAST", keep=True),
        Column("FIRST", keep=True),
        Column("FLOW"),
        Column("CLASS", keep=True),
        Column("VALUES", text=True),
        Column("SAMPLE", text=True),
    ]
    rows = [
        [
            words.number(group["occurrences"]),
            words.number(group["runs_hit"]),
            words.ago(group["last_seen_at"], now),
            words.ago(group["first_seen_at"], now),
            group["flow_name"],
            group["error_class"],
            "; ".join(map(_values, hit)),
            group["sample"] or "(no message)",
        ]
        for group, hit in shown
    ]
    output.print_table(columns, rows)


def _values(hit: Affected) -> str:
    """`12 sku: A, B, C, …`; more than 12 where only the newest lines were looked at."""
    from archiver.queries.spreadsheet import plain

    some = ", ".join(plain(value) for value in hit.values[:3])
    count = f"{hit.distinct_values:,}{'' if hit.is_complete else '+'}"
    return f"{count} {hit.field}: {some}{', …' if hit.distinct_values > len(hit.values[:3]) else ''}"
