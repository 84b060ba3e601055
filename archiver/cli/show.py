"""One run with everything that belongs to it, and one file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import many, size
from archiver.cli import output, words
from archiver.cli.call import WrongCall, archive, call_of, flow_keys, one_form
from archiver.cli.options import READ, AsCsv, AsJson, Flows, examples, id_reader
from archiver.cli.output import Column
from archiver.cli.read import COLOURED, run_word

if TYPE_CHECKING:
    from archiver.queries import Body, Reader, Row

one = typer.Typer()

LINES = 20
FILES = 20


@one.command(
    rich_help_panel=READ,
    epilog=examples("archiver show 3f0c9a1e", "archiver show 48213377 --lines 100", "archiver show 3f0c9a1e --json"),
)
def show(
    context: typer.Context,
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its run id or the beginning of it, or a log id.")],
    flow: Flows = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, help="At most this many lines, failed ones first.")
    ] = LINES,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """One run: its steps, lines and files.

    Failed lines come first. With --json all of them; with --csv the lines alone.
    """
    from archiver import queries
    from archiver.queries.one_log import files_of_run

    one_form(as_json=as_json, as_csv=as_csv)
    with archive(context) as reader:
        row = only_run(reader, run, flow or ())
        if as_json:
            output.write_object(
                row,
                steps=queries.steps_of(reader, row),
                lines=queries.lines_of(reader, row),
                details=queries.details_of(reader, row),
            )
            return
        if as_csv:
            output.write_rows(queries.view_columns(reader, "line"), queries.lines_of(reader, row))
            return
        _print_header(row, call_of(context).now)
        _print_steps(queries.steps_of(reader, row))
        _print_lines(row, list(queries.lines_of(reader, row, lines)), lines)
        _print_files(files_of_run(reader, row, FILES + 1))


def only_run(reader: Reader, word: str, flow: Sequence[str]) -> Row:
    """The one run of these flows that a word means; raises WrongCall where it means none, or several."""
    from archiver import queries

    found = queries.runs_named(reader, word, flow_keys(queries.flows(reader), flow))
    if not found:
        raise no_run(reader, word, flow)
    if len(found) > 1:
        some = [f"  {run_word(row)}  {row['flow_name']}  {words.local(row['started_at'])}" for row in found]
        raise WrongCall(
            "\n".join([f"{words.clean(word)!r} may mean any of these runs; write more of it, or --flow:", *some])
        )
    return found[0]


def no_run(reader: Reader, word: str, flow: Sequence[str]) -> WrongCall:
    """What to say where a word means no run of these flows: it may mean one of another."""
    from archiver import queries

    others = queries.runs_named(reader, word, flow_keys(queries.flows(reader), ())) if flow else []
    if not others:
        return WrongCall(f"no run has the id {words.clean(word)!r}: `archiver runs` lists them")
    names = ", ".join(dict.fromkeys(words.clean(row["flow_name"]) for row in others))
    return WrongCall(f"no run of {', '.join(flow)} has the id {words.clean(word)!r}; it is one of {names}")


def _print_header(row: Row, now: datetime) -> None:
    status = row["status"] or row["state"] or "unknown"
    output.heading(f"{row['flow_name']}  {run_word(row)}")
    output.say(status.replace("_", " "), output.STYLES.get(status, ""))
    took = f", took {words.span(row['duration_seconds'])}" if row["duration_seconds"] is not None else ""
    by = f", by {row['triggered_by']}" if row["triggered_by"] else ""
    output.say(f"started {words.local(row['started_at'])} ({words.ago(row['started_at'], now)}){took}{by}")
    counts = [
        f"{words.number(row[name])} {text}"
        for name, text in (("process_count", "items"), ("success_count", "succeeded"), ("fail_count", "failed"))
        if row[name] is not None
    ]
    kept = f"{many(row['line_count'], 'line')} and {many(row['detail_count'], 'file')} in the archive"
    output.say(", ".join([*counts, kept]))
    output.say(f"log id {row['log_id']}, archive state {row['archive_state']}", "dim")


def _print_steps(steps: Sequence[Row]) -> None:
    if not steps:
        return
    output.say("")
    columns = [
        Column("#", right=True, keep=True),
        Column("STEP"),
        Column("STATUS", keep=True),
        Column("TOOK", right=True, keep=True),
        Column("ITEMS", right=True),
        Column("FAILED", right=True),
        Column("LOG ID", right=True, keep=True),
    ]
    rows = [
        [
            words.number(step["flow_order"]),
            step["step_name"] or step["step_id"] or "",
            step["status"] or step["state"] or "",
            words.span(step["duration_seconds"]),
            words.number(step["process_count"]),
            words.number(step["fail_count"] or None),
            str(step["log_id"]),
        ]
        for step in steps
    ]
    output.print_table(columns, rows, title=many(len(steps), "step"))


def _print_lines(row: Row, lines: Sequence[Row], wanted: int) -> None:
    if not lines:
        if row["line_count"] and wanted:
            output.say("\nits lines are not in the archive any more: `archiver prune` or `archiver forget` took them")
        return
    output.say("")
    shown = f", {len(lines)} shown" if len(lines) < row["line_count"] else ""
    columns = [
        Column("ROW", right=True, keep=True),
        Column("STATUS", keep=True),
        Column("LOG ID", right=True, keep=True),
        Column("STEP"),
        Column("MESSAGE", text=True),
        Column("FIELDS"),
    ]
    rows = [
        [
            words.number(line["row_num"]),
            line["status"] or line["state"] or "",
            str(line["log_id"]),
            line["step_name"] or "",
            line["message"] or "",
            "" if line["fields"] == "{}" else line["fields"],
        ]
        for line in lines
    ]
    output.print_table(columns, rows, title=f"{many(row['line_count'], 'line')}{shown}")


def _print_files(files: Sequence[Row]) -> None:
    if not files:
        return
    output.say("")
    columns = [
        Column("LOG ID", right=True, keep=True),
        Column("TYPE"),
        Column("OUTCOME", keep=True),
        Column("SIZE", right=True),
    ]
    rows = [[str(file["log_id"]), file["log_type"], file["outcome"], size(file["byte_size"])] for file in files[:FILES]]
    more = f"the first {FILES} files" if len(files) > FILES else many(len(files), "file")
    output.print_table(columns, rows, title=f"{more} (`archiver detail LOG_ID` shows one)")


class LogKind(StrEnum):
    """What a log is of."""

    MAIN = "main"
    SUB = "sub"
    LINE = "line"


@one.command(
    rich_help_panel=READ,
    epilog=examples("archiver detail 48213391", "archiver detail 48213391 --raw > 48213391.zip"),
)
def detail(
    context: typer.Context,
    *,
    log_id: Annotated[
        int,
        typer.Argument(
            metavar="LOG_ID",
            parser=id_reader("log", "`archiver show RUN` lists those of a run"),
            help="The log that has the file.",
        ),
    ],
    flow: Flows = None,
    kind: Annotated[LogKind | None, typer.Option("--type", help="Kind of log, where several share this id.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The file as it came, byte for byte.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> int:
    """The downloaded file of a log: its JSON document, indented.

    Exit status 1 where there is no document to show: not downloaded yet, missing, unreadable, too large.
    """
    from archiver import queries

    one_form(as_json=as_json, as_csv=as_csv)
    if raw and (as_json or as_csv):
        raise WrongCall("--raw excludes --json and --csv: leave one out")
    with archive(context) as reader:
        keys = flow_keys(queries.flows(reader), flow or ())
        types = [kind.value] if kind else [one.value for one in LogKind]
        row = _only_detail(queries.details_named(reader, log_id, keys, types), log_id)
        if as_json or as_csv:
            row = queries.detail(reader, row)
            if as_json:
                output.write_object(row)
            else:
                output.write_rows(list(row), [row])
            return 0 if row["document"] is not None else 1
        body = queries.body_of(reader, row, with_text=not raw)
        return _write_raw(reader, row, body) if raw else _print_document(row, body)


def _only_detail(found: Sequence[Row], log_id: int) -> Row:
    if not found:
        raise WrongCall(f"no file is known of a log {log_id}: `archiver show RUN` lists those of a run")
    if len(found) > 1:
        some = [f"  --flow {shlex.quote(row['flow_name'])} --type {row['log_type']}" for row in found]
        raise WrongCall("\n".join([f"several logs have the id {log_id}; say which:", *some]))
    return found[0]


def _write_raw(reader: Reader, row: Row, body: Body) -> int:
    from archiver.queries import raw_of

    if not body.has_body:
        output.note(_why_not(row, body))
        return 1
    if body.body_form == "zip" and sys.stdout.isatty():
        raise WrongCall(
            f"the file is a zip and cannot be shown on a terminal: send it to a file, > {row['log_id']}.zip"
        )
    output.write_bytes(raw_of(reader, row) or b"")
    return 0


def _print_document(row: Row, body: Body) -> int:
    if body.text is None:
        output.note(_why_not(row, body))
        return 1
    text = output.harmless(body.text)
    if output.is_terminal() and len(text) < COLOURED:
        from rich.highlighter import JSONHighlighter

        output.show(JSONHighlighter()(text))
    else:
        output.write(text + "\n")
    said = f"{row['outcome']}, {size(row['byte_size'])}, {row['log_type']} log of run {row['run_id']}"
    output.note(f"{said}; changed to fit: {body.document_changes}" if body.document_changes else said, "dim")
    return 0


def _why_not(row: Row, body: Body) -> str:
    from archiver.queries.details import OUTCOMES

    said = OUTCOMES.get(row["outcome"], row["outcome"])
    after = f", after {many(body.attempts, 'attempt')}" if row["outcome"] == "wanted" else ""
    why = body.error or body.document_changes
    hint = "; --raw gives its bytes" if body.has_body else ""
    return f"the file {said}{after}" + (f": {why}" if why else "") + hint
