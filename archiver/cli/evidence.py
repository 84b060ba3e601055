"""One file that proves a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated

import typer

from archiver.amounts import many
from archiver.cli import output
from archiver.cli.call import WrongCall, archive, call_of
from archiver.cli.options import READ, Flows, examples
from archiver.cli.show import only_run

proving = typer.Typer()


@proving.command(
    rich_help_panel=READ,
    epilog=examples("archiver evidence 3f0c9a1e", "archiver evidence 48213377 --to ./proof.zip"),
)
def evidence(
    context: typer.Context,
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its run id or the beginning of it, or a log id.")],
    flow: Flows = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Else evidence-RUN.zip, here.")] = None,
) -> int:
    """Write one zip that proves a run: rows as they came, files byte for byte, checksums, a readable page.

    Exit status 1 where the run is not confirmed to be complete in the archive; the page says so too.
    """
    from archiver import evidence as room

    with archive(context) as reader:
        row = only_run(reader, run, flow or ())
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(row["run_id"] or row["log_id"]))[:100]
        path = to or Path(f"evidence-{name}.zip")
        if path.exists():
            raise WrongCall(f"{path} is there already: name another file with --to")
        with _complete(path) as file:
            proof = room.write(reader, row, file, call_of(context).now)
    output.say(f"{path}: {many(proof.lines, 'line')}, {many(proof.files, 'file')}")
    if proof.archive_state != "sealed":
        output.note(f"the run is {proof.archive_state} in the archive: it is not confirmed to be complete", "yellow")
        return 1
    return 0


@contextmanager
def _complete(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when all of it is written. Raises WrongCall where that cannot be."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as exc:
        raise WrongCall(f"{path} cannot be written: {exc.strerror or exc}") from exc
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
