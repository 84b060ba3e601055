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
    """What is wrong with `archiver WORDS`: an unknown command or option, a missing command; None where nothing is."""
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
                if not waiting:
                    return f"{name} wants a value"
                waiting.pop(0)
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


def in_shell(text: str) -> Iterator[list[str]]:
    """The words behind `archiver` of every call in a shell text."""
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        plain = re.sub(r"^\s*[$#]\s+(?=archiver|sudo|ARCHIVER)", "", line).replace("…", "X")
        for match in re.finditer(r"(?:^|[\s(/;&|`])archiver(?:[ \t]+(?P<rest>[^`]*))?(?=$|`)", plain):
            yield from _calls(match["rest"] or "")


def _calls(rest: str) -> Iterator[list[str]]:
    rest = re.split(r"\s(?:#|&&|\|\||;|\|)\s?|;|\s#", rest)[0]
    lexer = shlex.shlex(rest, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:  # a quote that goes on in the next line, or the end of a $(…)
        words = rest.rstrip(")\"'").split()
    words = [word for word in words if word]
    while words and words[-1].endswith((")", '")')) and "(" not in words[-1]:
        words[-1] = words[-1].rstrip(')"')
    yield words
