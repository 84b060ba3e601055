"""The demonstration: a make-believe Integrator, the embedded Postgres and the archiver, in one process."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.amounts import many
from archiver.cli import output
from archiver.cli.call import WrongCall, call_of
from archiver.cli.operate import print_reports, progress_shown, stoppable
from archiver.cli.options import OPERATE, examples
from archiver.cli.output import Column
from archiver.process import alone

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.daemon import Workplace
    from archiver.demo.world import World

one = typer.Typer()

FOLDER = Path("archiver-demo")

# The question that people come with, and the archive's answer.
QUESTION = "Which products failed last, and what did the other side answer?"
ANSWER = """
SELECT created_at, flow_name, fields::jsonb ->> 'sku' AS sku, message
FROM reporting.line
WHERE is_failed = 1
ORDER BY created_at DESC
LIMIT 8
"""


@one.command(rich_help_panel=OPERATE, epilog=examples("archiver demo", "archiver demo --once"))
def demo(
    context: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="Archive the history, show it, and end.")] = False,
    days: Annotated[int, typer.Option("--days", metavar="N", min=1, max=60, help="Days of history.")] = 7,
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where its archive is kept.")] = FOLDER,
) -> int:
    """See it work: a make-believe Integrator of a fashion brand, archived into an embedded Postgres.

    Needs nothing: no Integrator, no Postgres, no credentials. What it archives stays in ./archiver-demo.
    Several at once need a --dir each.
    """
    from archiver import daemon
    from archiver.cli.log import configure_logging, no_logging
    from archiver.cli.serve import beside

    call = call_of(context)
    no_logging()
    with _alone(folder), _world(folder, call.now - timedelta(days=days)) as (config, start):
        history = many(max(1, round((call.now - start) / timedelta(days=1))), "day")
        output.say(f"A make-believe Integrator is up. Archiving {history} of its history into {folder}/ …")
        began = time.monotonic()
        with stoppable() as stop, daemon.opened(config) as place, progress_shown() as progress:
            reports = daemon.sync(place, config.flows, progress=progress, stopping=lambda: bool(stop))
            print_reports(reports)
            if stop:
                return 128 + stop[0]
            _answer(place, time.monotonic() - began)
        if any(report.errors for report in reports):
            return 1
        _say_next(folder, config, live=not once)
        if once:
            return 0
        configure_logging(config.logging, debug=call.debug)
        web = beside(config)
        return daemon.run(config, beside=web.page, on_request=web.on_request)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder's only demo: a second one would put its own Integrator's address in the configuration, and a daemon at
    work takes that over. Raises WrongCall where one lives."""
    with alone(folder / "lock") as is_alone:
        if not is_alone:
            raise WrongCall(f"a demo is already at work in {folder}: end it first, or give another folder with --dir")
        yield


@contextmanager
def _world(folder: Path, start: datetime) -> Iterator[tuple[Config, datetime]]:
    """The Integrator, a configuration that names it, and when its history begins: at `start`, but a folder that was
    used before goes on with its world."""
    import yaml

    from archiver import config
    from archiver.demo.server import serve
    from archiver.demo.world import World

    memory = folder / "world.json"
    if not memory.exists():
        memory.write_text(json.dumps({"start": start.isoformat()}), encoding="utf-8")
    start = datetime.fromisoformat(json.loads(memory.read_text(encoding="utf-8"))["start"])
    world = World(lambda: datetime.now(UTC), start=start)
    with serve(world) as server:
        path, settings = folder / "config.yaml", _settings(server.base_url, world)
        path.write_text(
            "# Written by `archiver demo`; its Integrator lives as long as the demo does.\n"
            + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120),
            encoding="utf-8",
        )
        yield config.load(path, {}), start


def _settings(base_url: str, world: World) -> dict[str, object]:
    """The configuration: all flows of a world, asked for often."""
    from archiver.demo.flows import BRAND
    from archiver.demo.server import PASSWORD, USERNAME

    return {
        "data_dir": "data",
        "integrators": {
            "demo": {
                "base_url": base_url,
                "username": USERNAME,
                "password": PASSWORD,
                "requests_per_second": 1000,
            }
        },
        "projects": [
            {
                "id": BRAND.project_id,
                "slug": BRAND.slug,
                "flows": [{"id": flow.flow_id, "name": flow.name} for flow in world.flows],
            }
        ],
        "defaults": {"every": "15s", "settle": "30s", "lateness": "1m", "search_fields": ["sku"]},
        **_pages(),
    }


def _pages() -> dict[str, object]:
    """The web page, on the first port that is free from 8080 on; none where its packages are not installed."""
    from archiver.cli.serve import is_installed

    if is_installed():
        for port in range(8080, 8100):
            with socket.socket() as trial, suppress(OSError):
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(("127.0.0.1", port))
                return {"web": {"listen": f"127.0.0.1:{port}"}}
    return {}


def _answer(place: Workplace, seconds: float) -> None:
    """What the archive holds, and one question that it answers."""
    from sqlalchemy import text

    with place.engine.connect() as connection:
        runs, lines, files = connection.execute(
            text(
                "SELECT (SELECT count(*) FROM reporting.run), (SELECT count(*) FROM reporting.line),"
                " (SELECT count(*) FROM reporting.detail WHERE outcome = 'stored')"
            )
        ).one()
        rows = connection.execute(text(ANSWER)).all()
    output.say(f"\n{runs:,} runs, {lines:,} lines and {files:,} files are archived; that took {seconds:.0f} s.")
    output.say(f"\n{QUESTION}")
    columns = [
        Column("WHEN", keep=True),
        Column("FLOW", keep=True),
        Column("SKU", keep=True),
        Column("ANSWER", text=True),
    ]
    shown = [[row.created_at.astimezone().strftime("%d %b %H:%M"), row.flow_name, row.sku, row.message] for row in rows]
    output.print_table(columns, shown)


def _say_next(folder: Path, config: Config, *, live: bool) -> None:
    if shutil.which("archiver"):
        program = "archiver"
    elif Path(sys.argv[0]).name == "__main__.py":
        program = "python -m archiver"
    else:  # `make demo` runs it from a virtual environment that is not on the PATH
        program = shlex.quote(os.path.relpath(sys.argv[0]))
    command = f"{program} --config {shlex.quote(f'{folder}/config.yaml')}"
    where = "in another terminal" if live else "next"
    output.say(
        f"\nTry {where}:\n"
        f"  {command} status\n"
        f"  {command} runs --status failed\n"
        f"  {command} errors\n"
        f"  {command} sql 'SELECT flow_name, status, count(*) FROM run GROUP BY 1, 2 ORDER BY 1, 2'\n"
        f"  {command} db psql"
    )
    if live and config.web is not None:
        output.say(f"\nThe same for looking: http://{config.web.host}:{config.web.port}")
    if live:
        output.say("\nNew runs are followed as they come; Ctrl-C ends the demo.")
