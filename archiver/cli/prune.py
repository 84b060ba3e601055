"""Retention: letting go of what is older than it is to be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import many
from archiver.cli import output, words
from archiver.cli.call import call_of, configured_flows, database
from archiver.cli.export import libpq
from archiver.cli.options import OPERATE, AsJson, examples
from archiver.cli.output import Column

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from archiver.config import Config, Flow
    from archiver.store import Gone, Policy, Pruned, Retention

retention = typer.Typer()


@retention.command(
    rich_help_panel=OPERATE,
    epilog=examples("archiver prune --dry-run", "archiver prune price --export-to /var/backups/archive"),
)
def prune(
    context: typer.Context,
    *,
    flows: Annotated[
        list[str] | None, typer.Argument(metavar="FLOW", help="Names, ids, or project/name; else all.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    export_to: Annotated[
        str, typer.Option("--export-to", metavar="DIR|URI", help="First export the months that it touches as Parquet.")
    ] = "",
    as_json: AsJson = False,
) -> int:
    """Delete what is older than keep, keep_lines and keep_details allow.

    Only what belongs to sealed runs goes, by whole days; a run stays while anything of it does. Without these settings
    everything is kept for ever. It needs the database role that owns the archive.

    Exit status 1 where a partition was in use, so that its rows are left for the next time.
    """
    from archiver.store import Retention

    call = call_of(context)
    config = call.config(logins=False)
    chosen = configured_flows(config, flows or ())
    with database(config) as engine, _shown() as progress:
        keyed = _keyed(engine, chosen)
        policies = policies_of(keyed, call.now)
        room = Retention(engine, progress=progress)
        if dry_run:
            done = room.plan(policies)
        elif export_to:
            done = _export_and_prune(config, engine, room, policies, to=export_to, now=call.now)
        else:
            done = room.prune(policies)
    names = {key: flow.name for key, flow in keyed.items()}
    _print(done, names, dry_run=dry_run, as_json=as_json)
    return 1 if done.busy else 0


def _keyed(engine: Engine, flows: Sequence[Flow]) -> dict[int, Flow]:
    """The flows that the archive has met, by their keys."""
    from archiver import queries

    with queries.reading(engine) as reader:
        known = queries.flows(reader)
    found = {queries.key_of(known, flow.integrator, flow.project_id, flow.flow_id): flow for flow in flows}
    return {key: flow for key, flow in found.items() if key is not None}


def policies_of(flows: Mapping[int, Flow], now: datetime) -> list[Policy]:
    """What the configuration says of flows, by their keys, as moments. Left out: those of which all is kept."""
    from archiver.store import Policy

    def before(keep: timedelta | None) -> datetime | None:
        return None if keep is None else now - keep

    policies = [
        Policy(key, before(flow.keep), before(flow.keep_lines), before(flow.keep_details))
        for key, flow in sorted(flows.items(), key=lambda one: one[0])
    ]
    return [one for one in policies if (one.runs, one.lines, one.details) != (None, None, None)]


def _export_and_prune(
    config: Config, engine: Engine, room: Retention, policies: Sequence[Policy], *, to: str, now: datetime
) -> Pruned:
    """Export the flows of which something would go, and let it go, while no pass changes anything in between. Of the
    other flows nothing goes this time, whatever has grown old meanwhile."""
    plan = room.plan(policies)
    touched = [one.flow_key for one in plan.flows if one.runs or one.lines or one.details]
    room.keep_from([policy for policy in policies if policy.flow_key not in touched])
    if not touched:
        return plan
    from archiver import export

    export.require()
    with _leased(engine, touched):
        # Of all months: lines of a run may be younger than it is, and go with it. What has not changed stays as it is.
        selection = export.Selection(("flow", "run", "step", "line", "detail"), tuple(touched))
        report = export.export(engine, libpq(config, engine), to, selection, now=now)
        output.note(f"{report.place}: {many(report.written, 'file')} written, {report.kept:,} unchanged", "dim")
        done = room.prune([policy for policy in policies if policy.flow_key in touched])
    done.flows += [one for one in plan.flows if one.flow_key not in touched]
    return done


@contextmanager
def _leased(engine: Engine, flow_keys: Sequence[int]) -> Iterator[None]:
    """The right to work on these flows, so that no pass does."""
    from archiver.store import Leases

    with Leases(engine, "prune") as leases, ExitStack() as held:
        for key in flow_keys:
            if (lease := leases.wait(key)) is not None:
                held.callback(leases.release, lease)
        yield


@contextmanager
def _shown() -> Iterator[Callable[[Gone], None]]:
    """How far the pruning is, in one line on the terminal; nothing where nobody watches."""
    console = output.console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.text import Text

    with console.status(Text("pruning …")) as spinner:

        def progress(gone: Gone) -> None:
            lines, runs = many(gone.lines, "line"), many(gone.runs, "run")
            spinner.update(Text(f"{lines}, {runs} have gone"))

        yield progress


def _print(done: Pruned, names: dict[int, str], *, dry_run: bool, as_json: bool) -> None:
    rows = [{"flow_name": names[one.flow_key], **asdict(one)} for one in done.flows]
    if as_json:
        output.write_object({"dry_run": dry_run, "partitions": done.partitions, "busy": done.busy}, flows=iter(rows))
        return
    if not rows:
        output.say("everything is kept for ever: no keep, keep_lines or keep_details is set for a flow in the archive")
        return
    counted = ("runs", "steps", "lines", "details")
    columns = [Column("FLOW"), *(Column(name.upper(), right=True, keep=True) for name in counted)]
    output.print_table(
        columns, [[str(row["flow_name"]), *(words.number(int(str(row[name]))) for name in counted)] for row in rows]
    )
    verb = "would go" if dry_run else "has gone"
    whole = f", {many(len(done.partitions), 'month')} of lines as a whole" if done.partitions else ""
    output.say(f"this much {verb}{whole}")
    if waiting := sum(one.waiting for one in done.flows):
        stay = "stays" if waiting == 1 else "stay"
        output.say(
            f"{many(waiting, 'run')} of that age {stay}: not sealed yet, to be looked at once more a day after"
            " that, or with a file that is still wanted"
        )
    for name in done.busy:
        output.note(f"archive.{name} was in use and could not be dropped: prune again", "yellow")
