"""The audit of the archive, against its source and by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archiver.amounts import many
from archiver.cli import output, words
from archiver.cli.call import WrongCall, call_of, configured_flows, database, flow_keys
from archiver.cli.operate import stoppable
from archiver.cli.options import READ, AsJson, Flows, examples
from archiver.cli.output import Column
from archiver.cli.read import Since, span_of

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.daemon import Result, Watch
    from archiver.verify import Audited, Scope

one = typer.Typer()

SHOWN = 20  # findings of a flow


@one.command(
    rich_help_panel=READ,
    epilog=examples(
        "archiver verify", "archiver verify price --since 7d", "archiver verify --sample 5%", "archiver verify --self"
    ),
)
def verify(
    context: typer.Context,
    *,
    flows: Annotated[
        list[str] | None, typer.Argument(metavar="FLOW", help="Names, ids, or project/name; else all.")
    ] = None,
    flow: Flows = None,
    alone: Annotated[
        bool, typer.Option("--self", help="Only the archive by itself: invariants and checksums. Asks no Integrator.")
    ] = False,
    since: Since = "",
    sample: Annotated[
        str, typer.Option("--sample", metavar="N%", help="Compare the lines and files of this share of the runs alone.")
    ] = "100%",
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch again what is lost, stale or damaged, as far as it can be had.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Audit the archive: against what the Integrator shows, and by itself.

    Reads each flow's list of runs twice, and the lines and files of each run, by code of its own; changes nothing
    without --repair. Each log is found, delayed (not promised yet), open, in a known gap, purged (the Integrator no
    longer shows it), stale, corrupt or lost. The last three are listed by `archiver gaps`, where they can be accepted.
    One that was stopped goes on where it was, within a day.

    Exit status 1 where anything is wrong that nobody has accepted.
    """
    from archiver.cli.log import log_if_asked
    from archiver.verify import Scope

    call = call_of(context)
    config = call.any_config() if alone else call.config()
    log_if_asked(config.logging, debug=call.debug)
    names = [*(flows or ()), *(flow or ())]
    scope = Scope(span_of(since, "", call.now)[0], _share(sample))
    if alone and repair:
        raise WrongCall("--self asks no Integrator, so that it can repair nothing: leave one of the two out")
    asked = f"since {since}, sample {scope.sample}, repair {repair}"
    audit = partial(_audit, config, names, scope, alone=alone, repair=repair, asked=asked, now=call.now)
    result = _watched(audit)
    if isinstance(result, int):
        return result
    if as_json:
        output.write(output.json_text(_as_json(result)) + "\n")
    else:
        _print(result)
    return 0 if result.is_well else 1


def _share(text: str) -> float:
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise WrongCall(f"--sample {words.clean(text)!r} is no share: write a number above 0 up to 100, as in 5%")
    return share


def _watched(audit: Callable[[Watch], Result]) -> Result | int:
    """What an audit finds, shown while it goes on; the exit status where a signal stopped it."""
    from archiver import daemon

    try:
        with _shown() as tell, stoppable() as stop:

            def watch(doing: str, done: int, total: int) -> None:
                tell(doing, done, total)
                daemon.stop_if(bool(stop))

            return audit(watch)
    except daemon.Stopped:
        output.note("the audit was stopped: the same call goes on where it was", "yellow")
        return 128 + stop[0]


def _audit(
    config: Config,
    names: Sequence[str],
    scope: Scope,
    watch: Watch,
    *,
    alone: bool,
    repair: bool,
    asked: str,
    now: datetime,
) -> Result:
    from archiver import daemon, queries

    with ExitStack() as stack:
        if alone:
            engine = stack.enter_context(database(config))
            with queries.reading(engine) as reader:
                known = queries.flows(reader)
            keys = set(flow_keys(known, names))
            chosen = {row.flow_key: row.flow_name for row in known if row.flow_key in keys}
            return daemon.audit_archive(engine, chosen, scope, watch)
        config.require_flows()
        flows = configured_flows(config, names)
        if repair:
            place = stack.enter_context(daemon.opened(config))
        else:
            place = stack.enter_context(daemon.visited(config, stack.enter_context(database(config))))
        return daemon.audit_flows(place, flows, scope, watch, now=now, asked=asked, repair=repair)


# --- the two ways out ---


def _as_json(result: Result) -> dict[str, Any]:
    from archiver import daemon

    return {
        "is_well": result.is_well,
        "open_gaps": result.open_gaps,
        "flows": [
            {
                "flow_key": flow.flow_key,
                "flow_name": flow.flow,
                "began_at": flow.began,
                "counts": daemon.counts_of(flow),
                "findings": [{**asdict(finding), "kind": finding.kind} for finding in flow.findings],
                "errors": flow.errors,
            }
            for flow in result.flows
        ],
        "invariants": [
            {
                "number": broken.number,
                "name": broken.name,
                "violations": broken.count,
                "examples": [example._asdict() for example in broken.examples],
            }
            for broken in result.invariants
        ],
        "notes": result.notes,
    }


def _print(result: Result) -> None:
    if result.flows:
        _print_flows(result.flows)
    if result.invariants:
        columns = [Column("INVARIANT"), Column("", text=True), Column("BROKEN BY", right=True, keep=True)]
        output.print_table(columns, [[str(one.number), one.name, words.number(one.count)] for one in result.invariants])
        for broken in result.invariants:
            for example in broken.examples:
                log = "" if example.log_id is None else f" {TYPES.get(example.log_type or 0, 'log')} {example.log_id}"
                flow = result.names.get(example.flow_key or 0, "")
                output.say(f"{broken.number}: {flow}{log}: {example.what}", "red")
    for note in result.notes:
        output.note(note, "yellow")
    if result.is_well:
        output.say("all is well", "green")
    elif result.open_gaps:
        output.say(f"{many(result.open_gaps, 'thing')} missing that nobody has accepted: `archiver gaps`", "red")
    else:
        output.say("not all is well", "red")


TYPES = {1: "run", 2: "step", 3: "line"}


def _print_flows(flows: Sequence[Audited]) -> None:
    from archiver.verify.verdict import LEVELS, Verdict

    columns = [Column("FLOW"), Column("", text=True), *(Column(one.upper(), right=True, keep=True) for one in Verdict)]
    rows = []
    for flow in flows:
        for level in LEVELS:
            numbers: Counter[str] = Counter({str(v): n for (lv, v), n in flow.counts.items() if lv == level})
            if numbers.total():
                rows.append([flow.flow, f"{level}s", *(words.number(numbers[str(v)] or None) for v in Verdict)])
    output.print_table(columns, rows)
    for flow in flows:
        for finding in flow.findings[:SHOWN]:
            end = " (mended)" if finding.mended else ""
            what = f"{finding.level} {finding.log_id} is {finding.verdict}{end}: {finding.what}"
            output.say(f"{flow.flow}: {what}", "yellow" if finding.mended else "red")
        if len(flow.findings) > SHOWN:
            output.say(f"{flow.flow}: and {len(flow.findings) - SHOWN:,} more: `archiver gaps`", "red")
        for error in flow.errors:
            output.say(f"{flow.flow}: {error}", "red")


@contextmanager
def _shown() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on the terminal; nothing where nobody watches."""
    console = output.console(stderr=True)
    if not console.is_terminal:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task, before = bar.add_task("…", total=None), ""

        def tell(text: str, done: int, total: int) -> None:
            nonlocal before
            if text != before:
                before = text
                bar.reset(task, total=total or None, completed=done, description=words.clean(text))
            bar.update(task, total=max(total, done) if total else None, completed=done)

        yield tell
