"""What a command line imports: no more than it needs, for nothing else decides how soon it answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from archiver.store import connect, migrate

HEAVY = {"sqlalchemy", "psycopg", "requests", "alembic", "apscheduler", "structlog", "orjson", "yaml", "rich"}


def imported(*arguments: str, folder: Path, **environ: str) -> set[str]:
    """The packages, and the rooms of ours, that a command line has imported when it ends."""
    code = (
        "import sys; from archiver import cli; status = cli.main(sys.argv[1:]);"
        "print('\\n', *(name for name in sys.modules), file=sys.stderr); sys.exit(status == 2)"
    )
    command = [sys.executable, "-c", code, *arguments]
    said = subprocess.run(
        command, env=os.environ | environ, capture_output=True, cwd=folder, text=True, check=True, timeout=60
    )
    names = said.stderr.splitlines()[-1].split()
    return {name for name in names if "." not in name} | {name for name in names if name.startswith("archiver.")}


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    assert imported("--help", folder=tmp_path) & {*HEAVY, "archiver.config", "pydantic"} == set()


def test_a_command_imports_no_other(tmp_path: Path) -> None:
    had = imported("runs", "--help", folder=tmp_path)
    assert "archiver.cli.read" in had
    assert had & {*HEAVY, "archiver.config", "archiver.cli.status", "archiver.cli.search"} == set()


def test_a_reader_imports_neither_daemon_nor_client_nor_sqlalchemy(database: str, tmp_path: Path) -> None:
    engine = connect(database)
    migrate(engine)
    engine.dispose()
    had = imported("status", folder=tmp_path, ARCHIVER_DATABASE_URL=database)
    assert {"psycopg", "archiver.queries"} <= had
    unread = ("archive", "client", "daemon", "web", "demo", "export", "store", "cli.read")
    packages = {"requests", "urllib3", "sqlalchemy", "alembic", "apscheduler", "structlog", "starlette"}
    assert had & (packages | {f"archiver.{room}" for room in unread}) == set()
