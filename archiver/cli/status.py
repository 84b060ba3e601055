"""How the archive of each flow stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from archiver.amounts import many
from archiver.cli import output, words
from archiver.cli.call import archive, call_of, flow_keys, one_form
from archiver.cli.options import READ, AsCsv, AsJson, Flows, examples
from archiver.cli.output import Column

if TYPE_CHECKING:
    from archiver.cli.foresight import Foresight
    from archiver.config import Config
    from archiver.queries import FlowRow, Health, Reader, Row
    from archiver.queries.vitals import DaemonRow

one = typer.Typer()

FORESIGHT = ("archive_bytes", "archive_bytes_per_day", "disk_days_left", "outrun_in_days")
JUDGED = (
    "is_configured",
    "config_error",
    *FORESIGHT,
    "condition",
    "is_well",
    "problems",
    "notes",
)  # beside the columns of queries.health
FORGOTTEN = "not in the configuration"


@one.command(
    rich_help_panel=READ,
    epilog=examples("archiver status", "archiver status --json | jq '.[] | select(.is_well | not)'"),
)
def status(context: typer.Context, *, flow: Flows = None, as_json: AsJson = False, as_csv: AsCsv = False) -> int:
    """How the archive of each flow stands.

    Exit status 1 where a flow is not well: its last turn failed; it was due an hour ago and nobody polled it; a gap is
    known; runs were lost; files are missing, unreadable or too large; rows could not be stored; or `archiver verify`
    found logs lost, stale or damaged. What `archiver gaps ack` has accepted does not count. A flow that was never
    polled is well, and so is one that is no longer in the configuration. Also where a daemon goes on with an older
    configuration, because the file as it is now cannot be used.
    """
    from archiver import queries
    from archiver.cli.foresight import foresight
    from archiver.queries.vitals import daemons

    one_form(as_json=as_json, as_csv=as_csv)
    call = call_of(context)
    config = call.any_config()
    with archive(context) as reader:
        names = queries.health_columns(reader)
        rows = _rows(reader, config, flow or [])
        at_work = daemons(reader)
        broken = _broken(at_work)
        shares = queries.rate_shares(reader)
        ahead = foresight(reader, config)
    for row in rows:
        row.update(ahead.of(row["flow_key"]))
        row["config_error"] = "; ".join(broken) or None
    # A daemon goes on while this command starts: what it did since is not in the future.
    now = max([call.now, *(row["checked_at"] for row in rows if row["checked_at"])])
    judged = [(row, _judge(row, now)) for row in rows]
    if as_json:
        output.write_list(_as_json(row, health) for row, health in judged)
    elif as_csv:
        rows = [_as_json(row, health) for row, health in judged]
        output.write_rows([*names, *JUDGED], rows)
    elif not judged:
        output.note("no flows yet: name them in the configuration, then `archiver run` or `archiver sync`")
    else:
        _print(judged, now)
        _print_shares(shares)
        _print_archive(ahead, at_work, broken)
    return 0 if all(health.is_well for _, health in judged) and not broken else 1


def _broken(at_work: list[DaemonRow]) -> list[str]:
    """The daemons that go on with an older configuration, for the file as it is now cannot be used."""
    from archiver.queries.vitals import process_of

    return [
        f"{process_of(one.owner)} still runs with its old configuration;"
        f" {one.config_path} cannot be used: {one.config_error}"
        for one in at_work
        if one.config_error
    ]


def _rows(reader: Reader, config: Config, named: list[str]) -> list[Row]:
    """A row for each flow that the archive or the configuration knows; those the archive has not met are blank."""
    from archiver import queries

    known = queries.flows(reader)
    configured = {queries.key_of(known, flow.integrator, flow.project_id, flow.flow_id) for flow in config.flows}
    strangers = {-number: row for number, row in enumerate(_not_met(known, config), 1)}
    keys = flow_keys([*known, *(row._replace(flow_key=key) for key, row in strangers.items())], named)
    rows = queries.health(reader, [key for key in keys if key > 0])
    for row in rows:
        row["is_configured"] = row["flow_key"] in configured if config.flows else None
    blank: dict[str, Any] = dict.fromkeys([*queries.health_columns(reader), "is_configured"])
    for key in keys:
        if key in strangers:
            rows.append({**blank, **strangers[key]._asdict(), "flow_key": None, "is_configured": True})
    return rows


def _not_met(known: list[FlowRow], config: Config) -> Iterator[FlowRow]:
    from archiver.queries import FlowRow, key_of

    for flow in config.flows:
        if key_of(known, flow.integrator, flow.project_id, flow.flow_id) is None:
            yield FlowRow(0, flow.integrator, flow.project_id, flow.project_slug, flow.flow_id, flow.name)


def _judge(row: Row, now: datetime) -> Health:
    from archiver.queries import Health, judge

    if row["flow_key"] is None:
        return Health("not polled yet")
    health = judge(row, now)
    if row["is_configured"] is False:
        return Health(FORGOTTEN, (), (*health.problems, *health.notes))
    return health


def _as_json(row: Row, health: Health) -> Row:
    more = {"condition": health.condition, "is_well": health.is_well, "problems": list(health.problems)}
    return {**row, "gaps": json.loads(row["gaps"] or "[]"), **more, "notes": list(health.notes)}


def _print(judged: list[tuple[Row, Health]], now: datetime) -> None:
    from archiver.queries.vitals import process_of

    columns = [
        Column("FLOW"),
        Column("CONDITION", keep=True),
        Column("LAST RUN", keep=True),
        Column("RESULT"),
        Column("COVERED", keep=True),
        Column("LAG", right=True),
        Column("LEFT"),
        Column("HELD BY"),
    ]
    output.print_table(
        columns,
        [
            [
                row["flow_name"],
                health.condition,
                words.ago(row["last_run_at"], now),
                row["last_run_status"] or "",
                _covered(row, now),
                words.span(row["lag_seconds"], short=True),
                _left(row),
                process_of(row["held_by"] or ""),
            ]
            for row, health in judged
        ],
    )
    unwell = 0
    for row, health in judged:
        unwell += not health.is_well
        for text in health.problems:
            output.say(f"{row['flow_name']}: {text}", "red")
        for text in health.notes:
            output.say(f"{row['flow_name']}: {text}", "dim")
    output.say(f"{many(len(judged), 'flow')}, {f'{unwell} not well' if unwell else 'all well'}")


def _print_archive(ahead: Foresight, at_work: list[DaemonRow], broken: list[str]) -> None:
    """What is said of the archive as a whole."""
    output.say(ahead.told(), "dim")
    if not at_work:
        output.say("no daemon is at work on this archive", "dim")
    for problem in broken:
        output.say(problem, "red")


def _print_shares(shares: list[Row]) -> None:
    """Who sends how much, where several processes ask one Integrator."""
    from archiver.queries.vitals import process_of

    for integrator in dict.fromkeys(row["integrator"] for row in shares):
        mine = [row for row in shares if row["integrator"] == integrator]
        if len(mine) > 1:
            said = ", ".join(f"{process_of(row['owner'])} {row['fraction']:.0%}" for row in mine)
            output.say(f"the request rate of {integrator} is shared: {said}", "dim")


def _covered(row: Row, now: datetime) -> str:
    if row["covered_to"] is None:
        return ""
    start = words.local(row["covered_from"])[:10] or "?"
    return f"{start} → {words.ago(row['covered_to'], now)}"


def _left(row: Row) -> str:
    parts = (("open_runs", "open run"), ("pending_runs", "pending run"), ("pending_details", "file"))
    return ", ".join(many(row[name], text) for name, text in parts if row[name])
