"""Trying everything out before the daemon has to: one line for each thing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from archiver.amounts import many
from archiver.cli import output, words
from archiver.cli.call import Call, call_of
from archiver.cli.changes import changes
from archiver.cli.options import OPERATE, AsJson, examples
from archiver.errors import ArchiverError, ConfigError, NoArchive, SchemaMismatch, SchemaNewer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from archiver.client import Client, LoginHold
    from archiver.config import Config, Flow

one = typer.Typer()

LOOK = 100  # runs of a flow that are looked at for a file
FILES = 3  # that are asked for, at most, until one is there
SKEW = 10.0  # seconds between two clocks that are worth a warning


class Finding(NamedTuple):
    """What was tried, how it went (ok, warning, error), and what to know of it."""

    check: str
    level: str
    message: str


@one.command(rich_help_panel=OPERATE, epilog=examples("archiver check", "archiver check --diff"))
def check(
    context: typer.Context,
    *,
    diff: Annotated[
        bool, typer.Option("--diff", help="Only tell what the configuration changes in the archive that there is.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Try everything out: configuration, database, logins, flows.

    Also the schema and the clocks. Nothing in the archive is changed, but that a refused login is noted.

    Exit status 2 where something that is needed is wrong, 1 where there are only warnings.
    """
    levels: set[str] = set()

    def noted() -> Iterator[Finding]:
        call = call_of(context)
        for finding in (Finding(*one) for one in changes(call)) if diff else findings(call):
            levels.add(finding.level)
            yield finding

    if as_json:
        output.write_list(finding._asdict() for finding in noted())
    else:
        for finding in noted():
            _print(finding)
    return 2 if "error" in levels else 1 if "warning" in levels else 0


def _print(finding: Finding) -> None:
    from rich.text import Text

    line = Text(f"{finding.level:<8}", style=output.STYLES[finding.level])
    line.append(f"{words.clean(finding.check)}: {words.clean(finding.message)}", style="default")
    output.show(line)


def findings(call: Call) -> Iterator[Finding]:
    """Everything, as it is found out; what depends on something broken is left out."""
    from archiver.database import database

    try:
        config = call.config()
    except ConfigError as exc:
        yield from (Finding("configuration", "error", problem) for problem in exc.problems)
        return
    counts = f"{many(len(config.integrators), 'integrator')}, {many(len(config.flows), 'flow')}"
    level = "ok" if config.flows else "warning"
    yield Finding("configuration", level, f"{config.path}: {counts}")
    with ExitStack() as stack:
        hold: LoginHold = _Hold()
        try:
            engine = stack.enter_context(database(config, pool_size=4))
            yield _database(config, engine)
        except ArchiverError as exc:
            yield Finding("database", "error", str(exc))
        else:
            finding, usable = _schema(engine)
            yield finding
            if usable:
                from archiver.store.hold import LoginHold as KeptHold

                hold = KeptHold(engine)
            yield _database_clock(engine)
        yield from _integrators(config, hold)


class _Hold:
    """A login hold for as long as there is no schema to keep one: refused is refused until the end."""

    def __init__(self) -> None:
        self._refused: dict[str, str] = {}  # why, by credentials

    def remaining(self, credentials: str) -> tuple[float, str]:
        return (60.0, self._refused[credentials]) if credentials in self._refused else (0.0, "")

    def refuse(self, credentials: str, reason: str) -> float:
        self._refused[credentials] = reason
        return 60.0

    def accept(self, credentials: str) -> None:
        self._refused.pop(credentials, None)


def _database(config: Config, engine: Engine) -> Finding:
    from sqlalchemy import text

    from archiver.store import translated

    with translated(), engine.connect() as connection:
        version = connection.scalar(text("SHOW server_version"))
    # Neither user nor password: this line ends up in tickets.
    where = f"{engine.url.host}:{engine.url.port or 5432}/{engine.url.database}"
    kind = "embedded " if config.database.url is None else ""
    return Finding("database", "ok", f"{kind}PostgreSQL {version}, {where}")


def _schema(engine: Engine) -> tuple[Finding, bool]:
    """What state the schema is in, and whether its tables can be used."""
    from archiver import store

    try:
        store.require(engine)
    except NoArchive:
        return Finding("schema", "ok", "none yet: `archiver run` makes it, or `archiver migrate`"), False
    except SchemaMismatch as exc:
        return Finding("schema", "error" if isinstance(exc, SchemaNewer) else "warning", str(exc)), False
    except ArchiverError as exc:
        return Finding("schema", "error", str(exc)), False
    return Finding("schema", "ok", "up to date"), True


def _integrators(config: Config, hold: LoginHold) -> Iterator[Finding]:
    from archiver.client import Client

    for name, integrator in config.integrators.items():
        flows = [flow for flow in config.flows if flow.integrator == name]
        try:
            client = Client(integrator, hold)
        except ConfigError as exc:
            yield Finding(f"login {name}", "error", str(exc))
            continue
        with client:
            try:
                client.login()
            except ArchiverError as exc:
                yield Finding(f"login {name}", "error", str(exc))
                continue
            way = "with a fixed token, which the flows try out" if integrator.token else f"as {integrator.username}"
            yield Finding(f"login {name}", "ok", f"{integrator.base_url}, {way}")
            yield from _flows(client, name, flows)


def _flows(client: Client, integrator: str, flows: list[Flow]) -> Iterator[Finding]:
    """Each flow, several at a time, then a file of each project, and then the Integrator's clock, as the first answers
    tell it."""
    clock: Finding | None = None
    files: dict[str, list[tuple[Flow, int]]] = {}
    with ThreadPoolExecutor(client.connections) as pool:
        for flow, looked in zip(flows, pool.map(lambda flow: _flow(client, flow), flows), strict=True):
            yield looked.finding
            files.setdefault(flow.project_slug, []).extend((flow, log_id) for log_id in looked.files)
            if looked.skew is not None and clock is None:
                clock = _clock(f"clock of {integrator}", looked.skew)
    for slug, some in files.items():
        if some:
            yield _files(client, slug, some[:FILES])
    if clock is not None:
        yield clock


def _files(client: Client, slug: str, some: list[tuple[Flow, int]]) -> Finding:
    """Whether there is a file where the Integrator says so: nothing else asks for a project by its slug."""
    name = f"files of {slug}"
    try:
        if any(client.download(flow, log_id) is not None for flow, log_id in some):
            return Finding(name, "ok", "a file was downloaded")
    except ArchiverError as exc:
        return Finding(name, "warning", str(exc))
    return Finding(
        name,
        "warning",
        f"none, of {many(len(some), 'log')} that should have one: is {slug!r} the project's slug?",
    )


class _Looked(NamedTuple):
    """A flow's finding; by how many seconds the Integrator's clock is ahead of this machine's; runs with a file."""

    finding: Finding
    skew: float | None = None
    files: tuple[int, ...] = ()


def _flow(client: Client, flow: Flow) -> _Looked:
    from archiver.logs import LogType, State, parse_run

    name = f"flow {flow.name}"
    began = datetime.now(UTC)
    try:
        page = client.list_logs(flow, LogType.MAIN, limit=LOOK, page=1)
    except ArchiverError as exc:
        return _Looked(Finding(name, "error", str(exc)))
    skew = None if page.signpost is None else _beyond(began, page.signpost, datetime.now(UTC))
    if not page.rows:
        return _Looked(Finding(name, "warning", f"no runs listed: is the id {flow.flow_id} right?"), skew)
    runs = [parse_run(row) for row in page.rows]
    ended = [run for run in runs if run.state == State.FINISHED]
    announced = [run.log_id for run in ended if run.is_send_s3 == 1]
    announced += [step.log_id for run in ended for step in run.steps if step.is_send_s3 == 1]
    files = [log_id for log_id in announced if log_id is not None]
    created = runs[0].created
    count = "runs listed" if page.count is None else f"{many(page.count, 'run')} listed"
    first = f", the first in the list of {words.local(datetime.fromisoformat(created))}" if created else ""
    return _Looked(Finding(name, "ok", count + first), skew, tuple(files[:FILES]))


def _database_clock(engine: Engine) -> Finding:
    from sqlalchemy import text

    from archiver.store import translated

    with translated(), engine.connect() as connection:
        began = datetime.now(UTC)
        there = connection.scalar(text("SELECT clock_timestamp()"))
    return _clock("clock of the database", _beyond(began, there or began, datetime.now(UTC)))


def _beyond(began: datetime, there: datetime, ended: datetime) -> float:
    """How far a clock that was read between two moments lies outside of them, in seconds; HTTP dates are whole ones."""
    if there < began - timedelta(seconds=1):
        return (there - began).total_seconds()
    return max(0.0, (there - ended).total_seconds())


def _clock(subject: str, skew: float) -> Finding:
    if abs(skew) <= SKEW:
        return Finding(subject, "ok", "agrees with this machine's")
    way = "ahead of" if skew > 0 else "behind"
    return Finding(subject, "warning", f"{words.span(abs(skew))} {way} this machine's: set the clocks by NTP")
