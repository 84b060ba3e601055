"""Options and words that several commands share, and how help texts show examples."""

from __future__ import annotations

from typing import Annotated

import typer

OPERATE = "Operate"
READ = "Read"
DATABASE = "Database"

AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs: all of it, times in UTC.")]
Flows = Annotated[
    list[str] | None,
    typer.Option("--flow", "-f", metavar="FLOW", help="Only this flow: its name, id, or project/name. Repeatable."),
]


def examples(*lines: str) -> str:
    """An epilog: each example on a line of its own."""
    return "\n\n".join(("Examples:", *(f"  {line.replace('[', chr(92) + '[')}" for line in lines)))
