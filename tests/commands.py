"""Command lines that documents and deployments show, held against the command line that there is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer

from archiver.cli import app

ROOT: Any = typer.main.get_command(app)
NO_VALUE = {"-h", "--help"}
# A word of the documents that stands for another, or that ends what the shell gives to the command.
_ENDS = re.compile(r"^(?:[|;&><].*|\d?>.*|\)|\\)$")


def problem(words: list[str]) -> str | None:
    """What is wrong with `archiver WORDS`: an unknown command or option; None where nothing is."""
    command, waiting = ROOT, list(words)
    while waiting:
        word = waiting.pop(0)
        if _ENDS.match(word):
            break
        if word.startswith("-") and word != "-":
            name, _, value = word.partition("=")
            option = _option(command, name)
            if option is None:
                return f"{command.name} has no option {name}"
            if option and not value:
                waiting[:1] = []
        elif hasattr(command, "commands"):
            if word not in command.commands:
                return f"{command.name} has no command {word}"
            command = command.commands[word]
        elif not any(one.param_type_name == "argument" for one in command.params):
            return f"{command.name} takes no {word}"
    return None


def _option(command: Any, name: str) -> bool | None:
    """Whether the option takes a value; None where there is none of this name."""
    if name in NO_VALUE:
        return False
    for one in command.params:
        if one.param_type_name == "option" and name in (*one.opts, *one.secondary_opts):
            return not (one.is_flag or one.count)
    return None


_SEPARATORS = re.compile(r"&&|\|\||[;|]|\$\(|\s#\s")
_BEFORE = re.compile(
    r"""\$\s | (?:export\s+)?[A-Z_]+=\S*\s | sudo\s(?:-u\s\S+\s)? | docker\ compose\s.*?\sexec\s\S+\s
      | kubectl\s.*?\s--\s | docker\ run\s.*?\s(?=archiver\s)""",
    re.VERBOSE,
)


def in_shell(text: str) -> Iterator[list[str]]:
    """The words behind `archiver` of every call in a shell text."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in _SEPARATORS.split(line):
            plain = part.strip().strip('"')
            while match := _BEFORE.match(plain):
                plain = plain[match.end() :].lstrip()
            program, *rest = plain.split(None, 1) or [""]
            if program == "archiver" or program.endswith("/bin/archiver"):
                yield _words(rest[0] if rest else "")


def _words(text: str) -> list[str]:
    text = text.replace("…", "X").split(')"')[0]
    try:
        return shlex.split(text)
    except ValueError:  # a quote that the next line ends, or the end of a $(…)
        return text.rstrip(")\"'").split()
