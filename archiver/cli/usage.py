"""What is wrong with a command line, in words of ours: the library's tell neither the value nor a way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from archiver.cli.rooms import COMMANDS, command
from archiver.cli.words import clean

GLOBAL = ("--config", "--debug", "--version")


def problem(exc: typer.TyperException, given: Sequence[str]) -> str:
    """What is wrong, and where to read on."""
    option, context = getattr(exc, "option_name", ""), getattr(exc, "ctx", None)
    if option in GLOBAL and context is not None:  # of the command: it has none of them
        return f"{option} stands before the command: archiver {option} …"
    where = context.command_path if context is not None else _command(given)
    return f"{_value(exc) or _words(exc)}\nSee `{where} --help`."


def _words(exc: typer.TyperException) -> str:
    text = exc.format_message().strip()
    return f"{text[0].lower()}{text[1:]}"


def _value(exc: typer.TyperException) -> str:
    """The option, its value and what is allowed; empty where it is not a value that is wrong."""
    errors = getattr(exc.__cause__, "errors", None)  # pydantic's, which checks the values
    parameter: Any = getattr(exc, "param", None)
    if errors is None or parameter is None:
        return ""
    allowed = _allowed(parameter)
    name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
    return f"{name}: {clean(errors()[0]['input'])!r} is {allowed}" if allowed else ""


def _allowed(parameter: Any) -> str:
    choices = parameter.type_descriptor.choices
    if choices:
        return f"none of {', '.join(choices)}"
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if least is None:
        return ""
    return f"no whole number from {least:,} " + ("on" if most is None else f"to {most:,}")


def _command(given: Sequence[str]) -> str:
    """The command that a command line is of, with those before it: for what fails before it is known to the library."""
    words = [word for word in given if not word.startswith("-")]
    name = next((word for word in words if word in COMMANDS), "")
    if not name:
        return "archiver"
    below = getattr(command(name), "commands", {})
    return " ".join(["archiver", name, *[word for word in words[words.index(name) + 1 :][:1] if word in below]])
