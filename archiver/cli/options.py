"""Options and words that several commands share, and how help texts show examples."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archiver.cli.words import clean

if TYPE_CHECKING:
    from pydantic import SecretStr

OPERATE = "Operate"
READ = "Read"
DATABASE = "Database"

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs: all of it, times in UTC.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV for spreadsheets: all of it, times in UTC.")]
Flows = Annotated[
    list[str] | None,
    typer.Option("--flow", "-f", metavar="FLOW", help="Only this flow: its name, id, or project/name. Repeatable."),
]


def examples(*lines: str) -> str:
    """An epilog: each example on a line of its own."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="The role's password: the file's first line."),
]


def password_from(file: Path | None) -> SecretStr | None:
    """The password in a file that somebody named. Raises WrongCall where there is none."""
    from pydantic import SecretStr

    from archiver.cli.call import WrongCall

    if file is None:
        return None
    try:
        with file.open(encoding="utf-8") as lines:
            password = lines.readline(4096).rstrip("\r\n")
    except OSError as exc:
        raise WrongCall(f"--password-file {file} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise WrongCall(f"--password-file {file} is no text in UTF-8") from None
    if not password or "\0" in password:
        raise WrongCall(f"--password-file {file} holds no password in its first line")
    return SecretStr(password)


def id_reader(what: str, listed: str) -> Callable[[str], int]:
    """Reads an id of the archive's own. `what` it is of, and in `listed` which command shows those there are."""

    def read(text: str) -> int:
        from archiver.cli.call import WrongCall

        if re.fullmatch(r"[0-9]{1,19}", text) is None or int(text) >= 2**63:
            raise WrongCall(f"{clean(text)!r} is no {what} id: {listed}")
        return int(text)

    return read


def limit_option(text: str) -> Any:
    """`--limit`: at most so many of what is listed; `text` is its help."""
    return typer.Option("--limit", "-n", metavar="N", min=1, max=10**9, help=text)
