"""Running the archiver: a first configuration, the schema, the daemon, one go by hand."""

from __future__ import annotations

import re
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import many
from archiver.cli import output, words
from archiver.cli.call import WrongCall, call_of, configured_flows
from archiver.cli.options import OPERATE, PasswordFile, examples, password_from
from archiver.cli.output import Column
from archiver.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable

    from archiver.archive import FlowReport
    from archiver.config import Pasted
    from archiver.daemon import Workplace

work = typer.Typer()


@work.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        "archiver init",
        "archiver init 'https://flow.entegrator.akinon.net:3000/logs?projectid=98765-9876&flowId=123456-12345'",
        "archiver --config /etc/archiver.yaml init",
    ),
)
def init(
    context: typer.Context,
    *,
    urls: Annotated[
        list[str] | None,
        typer.Argument(metavar="URL", help="Addresses of the Integrator: project and flow are taken out of them."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a first configuration, and say what to do next.

    It goes to ./config.yaml, or where --config or $ARCHIVER_CONFIG says.
    """
    from archiver.config import example, filled

    path = call_of(context).path
    addresses = [_pasted(url) for url in urls or ()]
    text = filled(example(), addresses) if addresses else example()
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise WrongCall(f"{path} is there already: edit it, or overwrite it with --force") from None
    except OSError as exc:
        raise WrongCall(f"{path} cannot be written: {exc.strerror}") from exc
    command = "archiver" if path == Path("config.yaml") else f"archiver --config {shlex.quote(str(path))}"
    names = " and ".join(dict.fromkeys(re.findall(r"\$\{(\w+_(?:USERNAME|PASSWORD))\}", text)))
    edit = (
        "give its project a slug and its flows names"
        if urls
        else "put your project's id and slug and its flows into it"
    )
    output.say(
        f"{path} is written. Next:\n"
        f"  1. {edit}\n"
        f"  2. export {names}\n"
        f"  3. {command} check    tries everything out\n"
        f"  4. {command} run      archives from then on"
    )


def _pasted(url: str) -> Pasted:
    from archiver.config import pasted

    try:
        return pasted(url)
    except ValueError as exc:
        raise WrongCall(f"{words.clean(url.partition('?')[0])[:200]}: {exc}") from None


@work.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        "archiver migrate", "archiver migrate --writer archiver_writer", "archiver migrate --sql > schema.sql"
    ),
)
def migrate(
    context: typer.Context,
    *,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead; needs no database.")] = False,
    writer: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="Let this role archive without owning anything; it is made if need be."),
    ] = None,
    password_file: PasswordFile = None,
) -> None:
    """Bring the database's schema up to date.

    `archiver run` and `archiver sync` do that themselves where their role owns the archive. With --writer they can work
    as a role that may neither alter a table nor delete what is archived; its address is printed.
    """
    from archiver import access, daemon, store
    from archiver.cli.bi import tell
    from archiver.database import database

    if password_file is not None and writer is None:
        raise WrongCall("--password-file is for the role of --writer: name one")
    if sql and writer is not None:
        raise WrongCall("--sql prints the schema alone: leave --writer out")
    password = password_from(password_file)
    if sql:
        output.write(store.migration_sql())
        return
    config = call_of(context).any_config()
    with database(config) as engine:
        before, after = store.migrate(engine)
        if spread := store.distribute(engine):
            output.note(f"spread over Citus by flow: {', '.join(spread)}")
        for problem in daemon.build_indexes(engine, config).problems():
            output.note(problem, "yellow")
        done = f"the schema is up to date: {after}" if before == after else f"schema: {before or 'none'} → {after}"
        if writer is None:
            output.say(done)
        else:
            output.note(done)
            tell(engine, access.grant_writer(engine, writer, password=password), password)


@work.command(rich_help_panel=OPERATE, epilog=examples("archiver run", "archiver --config /etc/archiver.yaml run"))
def run(context: typer.Context) -> int:
    """The daemon: poll every flow by its schedule, and serve the web page where the configuration has `web`.

    SIGTERM or Ctrl-C ends it. Changed flows, integrators and alerts are taken over as soon as the file is saved, or on
    SIGHUP; what else has changed holds from the next start on, and the log names it.
    """
    with leaving_on_signal():
        from archiver import daemon
        from archiver.cli.log import configure_logging
        from archiver.cli.serve import beside

        call = call_of(context)
        config = call.config()
        configure_logging(config.logging, debug=call.debug)
        web = beside(config)
        return daemon.run(config, beside=web.page, on_request=web.on_request)


@work.command(rich_help_panel=OPERATE, epilog=examples("archiver sync", "archiver sync price stock"))
def sync(
    context: typer.Context,
    *,
    flows: Annotated[
        list[str] | None, typer.Argument(metavar="FLOW", help="Names, ids, or project/name; else all.")
    ] = None,
) -> int:
    """Poll each flow once, finish what is left over, and exit.

    Exit status 1 where something failed in this call, 2 where every login was refused. `archiver status` tells how the
    archive stands.
    """
    from archiver import daemon
    from archiver.cli.log import log_if_asked

    call = call_of(context)
    config = call.config()
    config.require_flows()
    log_if_asked(config.logging, debug=call.debug)
    wanted = configured_flows(config, flows or ())
    with stoppable() as stop, daemon.opened(config) as place, progress_shown() as progress:
        reports = daemon.sync(place, wanted, progress=progress, stopping=lambda: bool(stop))
        built = daemon.build_indexes(place.engine, config, stopping=lambda: bool(stop))
        problems = [*built.problems(), *([] if stop else _told(place))]
    print_reports(reports)
    for problem in problems:
        output.note(problem, "yellow")
    if stop:
        return 128 + stop[0]
    return status_of(reports)


def _told(place: Workplace) -> Iterator[str]:
    """Tell of what has changed; yields why that could not be done. It says nothing of what the go has done."""
    from archiver import daemon

    if not (place.config.alerts.to or place.config.alerts.heartbeat):
        return
    try:
        if not daemon.tell(place):
            yield "alerts could not be delivered: `archiver alerts test` tells why; the next go tries again"
    except (ConfigError, MissingExtra) as exc:
        yield f"alerts could not be delivered: {exc}"


def status_of(reports: Sequence[FlowReport]) -> int:
    """The exit status after a go over the flows; 2 where no login held, so that nothing could be done at all."""
    if reports and all(report.login_refused for report in reports):
        return 2
    return 1 if any(report.errors for report in reports) else 0


@contextmanager
def leaving_on_signal() -> Iterator[None]:
    """A signal ends the process with status 0: for the second in which the daemon is imported and configured. Later it
    has its own way to end."""

    def leave(_: int, __: FrameType | None) -> None:
        raise SystemExit(0)

    previous = {one: signal.signal(one, leave) for one in (signal.SIGINT, signal.SIGTERM)}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # there is nothing to read again yet
        previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        yield
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)


@contextmanager
def stoppable() -> Iterator[list[int]]:
    """The signals that came: the first lets the work end at the next safe point, a second one ends it at once."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        output.note("stopping after the step under way; once more stops at once")

    previous = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)


@contextmanager
def progress_shown() -> Iterator[Callable[[FlowReport], None]]:
    """What each flow has brought so far, in one line on the terminal; nothing where nobody watches."""
    console = output.console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.text import Text

    lock = threading.Lock()
    latest: dict[str, FlowReport] = {}
    with console.status(Text("archiving …")) as spinner:

        def progress(report: FlowReport) -> None:
            with lock:
                latest[report.flow] = report
                runs, lines = (sum(getattr(one, name) for one in latest.values()) for name in ("runs_new", "lines_new"))
                found = f"{many(runs, 'new run')}, {many(lines, 'new line')}"
                spinner.update(Text(words.clean(f"{found} · {report.flow}")))

        yield progress


def print_reports(reports: Sequence[FlowReport]) -> None:
    """What a go over the flows did, and what went wrong in it."""
    columns = [
        Column("FLOW"),
        Column("OUTCOME", keep=True),
        Column("NEW RUNS", right=True),
        Column("CHANGED", right=True),
        Column("NEW LINES", right=True),
        Column("FILES", right=True),
        Column("REQUESTS", right=True),
        Column("TOOK", right=True, keep=True),
    ]
    rows = [
        [
            report.flow,
            report.outcome,
            words.number(report.runs_new),
            words.number(report.runs_changed or None),
            words.number(report.lines_new),
            words.number(report.details or None),
            words.number(report.requests),
            words.span(report.seconds),
        ]
        for report in reports
    ]
    output.print_table(columns, rows)
    for report in reports:
        for text in dict.fromkeys(report.errors):
            output.note(f"{report.flow}: {text}", "red")
        for text in dict.fromkeys(report.notes):
            output.note(f"{report.flow}: {text}", "dim")
