"""What is known to be missing, and accepting it."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import many
from archiver.cli import output, words
from archiver.cli.call import WrongCall, archive, call_of, database, flow_keys
from archiver.cli.options import READ, AsJson, Flows, examples
from archiver.cli.output import Column

if TYPE_CHECKING:
    from archiver.queries import Reader, Row

gaps = typer.Typer(rich_help_panel=READ)


@gaps.callback(
    invoke_without_command=True,
    rich_help_panel=READ,
    epilog=examples(
        "archiver gaps",
        "archiver gaps --flow price --all",
        "archiver gaps ack 3f0c9a1e77 --reason 'the source was down'",
    ),
)
def listed(
    context: typer.Context,
    *,
    flow: Flows = None,
    every: Annotated[bool, typer.Option("--all", help="Also what somebody has accepted.")] = False,
    as_json: AsJson = False,
) -> int:
    """What is known to be missing, by name, each with an id that stays the same.

    Gaps of time, runs that the Integrator stopped listing, files that are not there or cannot be read, rows that could
    not be stored, polls that fail, what `archiver verify` found.

    Exit status 1 while there is anything that nobody has accepted.
    """
    if context.invoked_subcommand is not None:
        return 0
    with archive(context) as reader:
        rows = _rows(reader, flow or [])
    if as_json:
        output.write_list(rows)
    else:
        _print([row for row in rows if every or row["acknowledged_at"] is None])
        accepted = sum(row["acknowledged_at"] is not None for row in rows)
        if accepted and not every:
            output.note(f"{many(accepted, 'other')} accepted: --all shows them", "dim")
    return 1 if any(row["is_open"] for row in rows) else 0


def _rows(reader: Reader, flow: Sequence[str]) -> list[Row]:
    from archiver import queries

    keys = flow_keys(queries.flows(reader), flow) if flow else None
    return list(queries.gaps(reader, keys))


def _print(rows: Sequence[Row]) -> None:
    from archiver.queries import KINDS_OF_GAPS

    if not rows:
        output.say("nothing is known to be missing", "green")
        return
    columns = [
        Column("ID", keep=True),
        Column("FLOW", keep=True),
        Column("KIND", keep=True),
        Column("FROM", keep=True),
        Column("TO", keep=True),
        Column("LOG"),
        Column("RUN"),
        Column("WHAT", text=True),
        Column("ACCEPTED", text=True),
    ]
    output.print_table(
        columns,
        [
            [
                row["gap_id"],
                row["flow_name"],
                KINDS_OF_GAPS[row["kind"]],
                words.local(row["time_from"])[:16],
                words.local(row["time_to"])[:16],
                f"{row['log_type']} {row['log_id']}" if row["log_id"] is not None else "",
                row["run_id"] or "",
                row["what"],
                f"{row['acknowledged_by']}: {row['reason']}" if row["acknowledged_at"] is not None else "",
            ]
            for row in rows
        ],
    )
    open_ones = [row["kind"] for row in rows if row["is_open"]]
    failing = open_ones.count("uncertified")
    missing = len(open_ones) - failing
    said = [f"{many(missing, 'thing')} missing"] if missing else []
    said += [f"{many(failing, 'flow')} whose last poll failed"] if failing else []
    output.say("; ".join(said) or "all of it is accepted or explained")


@gaps.command(epilog=examples("archiver gaps ack 3f0c9a1e77 --reason 'the source was down, see INC-12'"))
def ack(
    context: typer.Context,
    *,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="As `archiver gaps` shows them.")] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why that is all right.")],
    by: Annotated[
        str, typer.Option("--by", metavar="NAME", help="Who accepts it; else the user of this machine.")
    ] = "",
    every: Annotated[
        bool,
        typer.Option(
            "--all", help="All that counts as missing (with --flow: of a flow); late rows and stuck runs stay listed."
        ),
    ] = False,
    flow: Flows = None,
) -> None:
    """Accept what is missing, with a reason that is kept: `status`, `gaps` and `verify` are well again.

    Nothing is hidden: `archiver gaps --all` lists it with the reason and who gave it.
    """
    from archiver.store.gaps import acknowledge

    if not reason.strip():
        raise WrongCall("--reason is empty: say why the loss is all right")
    if bool(ids) == every:
        raise WrongCall("name the ids that `archiver gaps` shows, or write --all")
    with archive(context) as reader:
        known = {row["gap_id"]: row for row in _rows(reader, flow or [])}
    chosen = list(dict.fromkeys(ids or (one for one, row in known.items() if row["is_open"])))
    for one in chosen:
        if one not in known:
            raise WrongCall(f"nothing that is missing has the id {words.clean(one)!r}: `archiver gaps` lists them")
    with database(call_of(context).any_config()) as engine:
        done = acknowledge(engine, chosen, reason=reason.strip(), by=by.strip() or _me()) if chosen else 0
    output.say(f"{many(done, 'thing')} accepted")


def _me() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name, as containers have it
        return socket.gethostname()
