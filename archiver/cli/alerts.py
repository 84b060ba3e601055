"""Alerts: what is not well, whether the channels work, and silence for what is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import many
from archiver.cli import output, words
from archiver.cli.call import WrongCall, archive, call_of, database, one_form
from archiver.cli.options import OPERATE, AsCsv, AsJson, examples, id_reader
from archiver.cli.output import Column
from archiver.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from archiver.queries import Row

alerts = typer.Typer(
    help="Alerts: what is not well, channels that work, silence for what is known.",
    no_args_is_help=True,
    rich_help_panel=OPERATE,
)


@alerts.command(epilog=examples("archiver alerts test"))
def test(context: typer.Context) -> int:
    """Send a message to every channel, and request the heartbeat URL; one line each.

    Exit status 1 where some of it failed, 2 where all did, or nobody is to be told. Needs no database.
    """
    from archiver.alerts import Channels, beat
    from archiver.signs import Message

    call = call_of(context)
    config = call.config(logins=False)
    if not config.alerts.to and config.alerts.heartbeat is None:
        raise ConfigError([f"{config.path}: alerts.to: nobody is named; write it as [mailtos://…, json://…]"])
    message = Message("test", "archiver: this is a test", f"Alerts reach you. Sent {words.local(call.now)}.")
    outcomes: list[bool] = []
    for delivery in Channels(config.alerts.to).send(message):
        outcomes.append(not delivery.error)
        _outcome(delivery.channel, delivery.error)
    if config.alerts.heartbeat is not None:
        failure = beat(config.alerts.heartbeat)
        outcomes.append(not failure)
        _outcome("heartbeat", failure)
    return 0 if all(outcomes) else 1 if any(outcomes) else 2


def _outcome(what: str, error: str) -> None:
    output.say(f"{'failed' if error else 'ok':<8}{what}{f': {error}' if error else ''}", "red" if error else "")


@alerts.command("list", epilog=examples("archiver alerts list", "archiver alerts list --all --json"))
def listed(
    context: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over, of the last 90 days.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> int:
    """What is not well, newest first.

    Exit status 1 while there is anything that nobody has acknowledged. `archiver run` finds it out, and `archiver
    sync` where somebody is to be told.
    """
    from archiver.queries.alerts import alert_columns as columns_of
    from archiver.queries.alerts import alerts as kept
    from archiver.queries.alerts import undelivered

    one_form(as_json=as_json, as_csv=as_csv)
    call = call_of(context)
    with archive(context) as reader:
        names = columns_of(reader)
        rows = kept(reader, every=every)
        waiting = undelivered(reader)
    if as_json:
        output.write_list(rows)
    elif as_csv:
        output.write_rows(names, rows)
    else:
        _print(rows, waiting, call.now)
    return 1 if any(row["wants_attention"] for row in rows) else 0


def _print(rows: Sequence[Row], waiting: Sequence[Row], now: datetime) -> None:
    columns = [
        Column("ID", right=True, keep=True),
        Column("KIND", keep=True),
        Column("SINCE", keep=True),
        Column("STATE", keep=True),
        Column("WHAT", text=True),
    ]
    if rows:
        output.print_table(
            columns,
            [
                [str(row["alert_id"]), row["kind"], words.ago(row["since"], now), _state(row), row["title"]]
                for row in rows
            ],
        )
    else:
        output.say("no alerts", "green")
    for row in rows:
        if row["is_open"]:
            output.say(f"\n{row['alert_id']}: {row['title']}", "bold")
            output.say(row["detail"])
    for one in waiting:
        attempts = many(one["attempts"], "attempt")
        output.note(f"not delivered, {attempts}: {one['title']}: {one['error'] or 'under way'}", "yellow")


def _state(row: Row) -> str:
    if not row["is_open"]:
        return "over"
    if row["acked_at"] is not None and not row["wants_attention"]:
        return "acknowledged"
    return "told" if row["told_at"] is not None else "open"


@alerts.command(
    epilog=examples("archiver alerts ack 12 --reason 'the ERP is being moved'", "archiver alerts ack --all")
)
def ack(
    context: typer.Context,
    *,
    ids: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="ID",
            parser=id_reader("alert's", "`archiver alerts list` shows them"),
            help="As `archiver alerts list` shows them.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why that is all right for now.")] = None,
) -> None:
    """Silence open alerts until they get worse, or end and begin again. Their end is told nevertheless."""
    from archiver.store.alerts import Alerts

    if bool(ids) == every:
        raise WrongCall("name the alerts by their ids, or all that are open with --all")
    with database(call_of(context).any_config()) as engine:
        found = Alerts(engine).acknowledge(None if every else ids, reason)
    missing = [] if every else sorted(set(ids or ()) - set(found))
    for one in found:
        output.say(f"alert {one} is acknowledged")
    if missing:
        some = ", ".join(map(str, missing))
        raise WrongCall(f"no open alert has the id {some}: `archiver alerts list` shows those that are open")
    if not found:
        output.say("no alerts are open")
