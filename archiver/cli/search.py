"""Finding lines: by what their fields say, and the story of one thing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import many
from archiver.cli import output, words
from archiver.cli.call import WrongCall, archive, call_of, flow_keys, one_form
from archiver.cli.options import READ, AsCsv, AsJson, Flows, examples, limit_option
from archiver.cli.output import Column
from archiver.cli.read import PAGE, STATUSES, Since, Until, chosen, run_word, span_of

if TYPE_CHECKING:
    from archiver.queries import Criterion, Reader, Row, Search

find = typer.Typer()

STORY = 200  # lines of a history for people
EXACTLY = (
    "values are compared whole and exactly, and case counts; `archiver errors` lists what fails by its messages, and"
    " `archiver sql` finds a word of one: … FROM line WHERE message ILIKE '%word%'"
)

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="FIELD=VALUE", help="What the line's fields say; VALUE alone: any field. All must hold."),
]
Run = Annotated[str, typer.Option("--run", metavar="RUN", help="Only of this run: its id, or a log id.")]
Status = Annotated[
    str, typer.Option("--status", metavar="WORDS", help=f"Only with these results: {', '.join(STATUSES)}.")
]


@find.command(
    rich_help_panel=READ,
    epilog=examples(
        "archiver search sku=TSH-1042-SYH-M",
        "archiver search error_code=PRC-1001 --flow price --since 7d",
        "archiver search 8691234500354",
        "archiver search sku=TSH-1042-SYH-M status=failed --json",
    ),
)
def search(
    context: typer.Context,
    *,
    values: Words = None,
    flow: Flows = None,
    run: Run = "",
    since: Since = "",
    until: Until = "",
    status: Status = "",
    limit: Annotated[int | None, limit_option(f"At most this many; default {PAGE}, with --json or --csv all.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Lines by the value of a field, newest first.

    A value is compared whole and exactly, as text, number, true, false and null: 7 finds "7" and 7. A name with a
    column, such as row_num, step_id or status, means the column. =VALUE is any field with a value that has a = in it.
    """
    from archiver import queries

    one_form(as_json=as_json, as_csv=as_csv)
    with archive(context) as reader:
        which = _asked(
            context, reader, values=values or [], flows=flow or [], run=run, since=since, until=until, status=status
        )
        if as_json:
            output.write_list(queries.search(reader, which, limit))
        elif as_csv:
            output.write_rows(queries.view_columns(reader, "line"), queries.search(reader, which, limit))
        else:
            most = limit or PAGE
            found = list(queries.search(reader, which, most + 1))
            if found:
                _print_found(which, found[:most], more=len(found) > most)
            else:
                _say_nothing(reader, which, values or [])


@find.command(
    rich_help_panel=READ,
    epilog=examples(
        "archiver history sku=TSH-1042-SYH-M",
        "archiver history order_number=DM2600029970 --json",
    ),
)
def history(
    context: typer.Context,
    *,
    values: Words = None,
    flow: Flows = None,
    since: Since = "",
    until: Until = "",
    limit: Annotated[int | None, limit_option(f"The newest so many; else {STORY}, for programs all.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """One thing's story over all flows, oldest first.

    When it was sent, with what result, and what the other side answered: the response in the line's file, else its
    message. In each flow the first failure after a success is marked, and the success after it. JSON and CSV have the
    columns `answer` and `turn` (broke, recovered) beside those of the view.
    """
    from archiver import queries
    from archiver.queries.history import MORE

    one_form(as_json=as_json, as_csv=as_csv)
    with archive(context) as reader:
        which = _asked(context, reader, values=values or [], flows=flow or [], since=since, until=until)
        if as_json:
            output.write_list(queries.history(reader, which, limit))
        elif as_csv:
            output.write_rows([*queries.view_columns(reader, "line"), *MORE], queries.history(reader, which, limit))
        else:
            most = limit or STORY
            told = list(queries.history(reader, which, most + 1))
            if told:
                _print_story(told[-most:], more=len(told) > most)
            else:
                _say_nothing(reader, which, values or [])


def _asked(
    context: typer.Context,
    reader: Reader,
    *,
    values: Sequence[str],
    flows: Sequence[str],
    run: str = "",
    since: str,
    until: str,
    status: str = "",
) -> Search:
    """The search that a command line means."""
    from archiver import queries

    if not (values or run or status):
        raise WrongCall("say what to look for: FIELD=VALUE, or a VALUE in any field")
    first, last = span_of(since, until, call_of(context).now)
    statuses = chosen(status, STATUSES, "--status")
    criteria = [_criterion(word) for word in values]
    known = queries.flows(reader)
    keys = flow_keys(known, flows) if flows else None
    runs = None
    if run:
        named = queries.runs_named(reader, run, keys if keys is not None else [row.flow_key for row in known])
        if not named:
            from archiver.cli.show import no_run

            raise no_run(reader, run, flows)
        keys = sorted({row["flow_key"] for row in named})
        runs = [str(row["run_id"]) for row in named]
    return queries.Search(criteria, keys, runs, statuses, first, last)


def _criterion(word: str) -> Criterion:
    from archiver.queries import Criterion

    field, sign, value = word.partition("=")
    return Criterion(field or None, value) if sign else Criterion(None, word)


def _print_found(which: Search, rows: Sequence[Row], *, more: bool) -> None:
    anywhere = [criterion for criterion in which.criteria if criterion.field is None]
    long = output.console().width >= 140
    columns = [
        Column("CREATED", keep=True),
        Column("FLOW"),
        Column("STATUS", keep=True),
        Column("STEP"),
        Column("ROW", right=True),
        Column("FIELD"),
        Column("MESSAGE", text=True),
        Column("RUN", keep=True),
    ]
    output.print_table(
        columns,
        [
            [
                words.local(row["created_at"]),
                row["flow_name"],
                row["status"] or row["state"] or "",
                row["step_name"] or row["step_id"] or "",
                words.number(row["row_num"]),
                ", ".join(_where(row, anywhere)),
                row["message"] or "",
                run_word(row, long=long),
            ]
            for row in rows
        ],
    )
    if more:
        output.note("there are more: --limit, --since and --until show others, --json shows all", "dim")


def _where(row: Row, anywhere: Sequence[Criterion]) -> Iterator[str]:
    """The fields that a search in any field met."""
    if anywhere:
        fields = json.loads(row["fields"], parse_int=str, parse_float=str)
        asked = {criterion.value for criterion in anywhere}
        for name, value in fields.items():
            if (value if isinstance(value, str) else json.dumps(value)) in asked:
                yield name


def _say_nothing(reader: Reader, which: Search, asked: Sequence[str]) -> None:
    """No hit is an answer; it may be a slip as well."""
    from archiver.queries import field_names

    output.note("no lines")
    slips = list(_slips(which, asked, field_names(reader, which.flow_keys)))
    for slip in slips or ([EXACTLY] if asked else []):
        output.note(slip, "dim")


def _slips(which: Search, asked: Sequence[str], names: Collection[str]) -> Iterator[str]:
    """Names that no line has, and a pair that is no FIELD=VALUE as it was written."""
    from archiver.queries import meant, nearest

    if better := meant(" ".join(asked), names):
        yield f"did you mean {words.clean(better)}? A field and its value are one word, with = and no blanks between"
        return
    for criterion in which.criteria:
        field = criterion.field
        if field is None or field in names or criterion.has_column:
            continue
        near = nearest(field, names)
        hint = f"; did you mean {words.clean(near)}?" if near else ""
        yield f"no line has a field called {words.clean(field)}{hint}"


def _print_story(rows: Sequence[Row], *, more: bool) -> None:
    long = output.console().width >= 140
    marks = {"broke": "▼ first failure", "recovered": "▲ works again"}
    columns = [
        Column("WHEN", keep=True),
        Column("FLOW"),
        Column("STATUS", keep=True),
        Column("TURN", keep=True),
        Column("ANSWER", text=True),
        Column("RUN", keep=True),
    ]
    output.print_table(
        columns,
        [
            [
                words.local(row["created_at"]),
                row["flow_name"],
                row["status"] or row["state"] or "",
                marks.get(row["turn"], ""),
                row["answer"] or "",
                run_word(row, long=long),
            ]
            for row in rows
        ],
    )
    _print_standing(rows)
    if more:
        output.note("it begins earlier: --limit shows more of it, --json all", "dim")


def _print_standing(rows: Sequence[Row]) -> None:
    """How often, and how it stands in each flow."""
    results = Counter(row["status"] or "no result" for row in rows)
    counts = ", ".join(f"{count:,} {status}" for status, count in results.most_common())
    output.say(f"\n{many(len(rows), 'line')}: {counts}")
    latest = {row["flow_key"]: row for row in rows if row["status"] in ("success", "failed")}
    broke = {row["flow_key"]: row for row in rows if row["turn"] == "broke"}
    for key, row in latest.items():
        if row["status"] == "failed":
            since = f" since {words.local(broke[key]['created_at'])}" if key in broke else ""
            output.say(f"{row['flow_name']}: fails{since}; last answer: {row['answer'] or 'none'}", "red")
        else:
            output.say(f"{row['flow_name']}: last sent with success {words.local(row['created_at'])}")
