"""The commands and the modules they live in: a call imports the module of its own command and no other."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

# Each command's `typer.Typer()`, as module and name in this folder, in the order in which help shows them.
COMMANDS = {
    "demo": "demo.one",
    "init": "operate.work",
    "migrate": "operate.work",
    "run": "operate.work",
    "sync": "operate.work",
    "serve": "serve.one",
    "check": "check.one",
    "prune": "prune.retention",
    "forget": "forget.erasing",
    "status": "status.one",
    "errors": "errors.one",
    "runs": "read.read",
    "sql": "read.read",
    "show": "show.one",
    "detail": "show.one",
    "search": "search.find",
    "history": "search.find",
    "export": "export.parquet",
    "evidence": "evidence.proving",
    "gaps": "gaps.gaps",
    "verify": "verify.one",
    "alerts": "alerts.alerts",
    "tail": "tail.one",
    "db": "db.db",
    "bi": "bi.bi",
}


class Command(TyperCommand):
    """A command whose help names its arguments as people do: the library puts Python's types and braces beside them."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [re.sub(r"^\{(.*)\}$", r"\1", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is not None:
                rows[one.param_type_name].append(record)
        arguments = [(name.partition(" <")[0], text) for name, text in rows["argument"]]
        for title, found in (("Arguments", arguments), ("Options", rows["option"])):
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)


class Commands(TyperGroup):
    """All commands, each imported when it is asked for; help shows them by panel."""

    @property
    def commands(self) -> dict[str, Any]:
        """All of them, imported: for "did you mean", and for whoever reads the command line as a whole."""
        return {name: command(name) for name in COMMANDS}

    @commands.setter
    def commands(self, given: object) -> None:
        """Typer gives none: they are not added to the application one by one."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's signatures
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:  # noqa: ARG002
        return command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        width = max(map(len, COMMANDS))
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in COMMANDS:
            one = command(name)
            summary = one.get_short_help_str(limit=200)
            panels.setdefault(str(one.rich_help_panel), []).append((name.ljust(width), summary))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


def command(name: str) -> TyperCommand | TyperGroup:
    """The command of this name, with its module."""
    module, attribute = COMMANDS[name].split(".")
    room: typer.Typer = getattr(import_module(f"archiver.cli.{module}"), attribute)
    room.rich_markup_mode = None  # rich takes longer to import than all else that a help text needs
    for info in room.registered_commands:
        info.cls = Command
    group = typer.main.get_group(room)
    if name in group.commands:
        return cast("TyperCommand", group.commands[name])
    group.rich_help_panel = cast("str", room.rich_help_panel)
    return group
