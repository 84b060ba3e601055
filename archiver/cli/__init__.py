"""The command line: the contract with people and scripts.

Exit status: 0 done and healthy; 1 it worked, but something is not well; 2 the call, the configuration or a thing it
needs is wrong. Errors are one or two lines on standard error. What a command needs, it imports itself: `--help` has to
be quick. A new command is a module with a `typer.Typer()` of its own, named in `rooms`.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from archiver.cli import usage
from archiver.cli.call import Call
from archiver.cli.output import PipeClosed
from archiver.cli.rooms import Commands
from archiver.cli.words import clean_lines
from archiver.errors import ArchiverError, ConfigError, Stalled

__all__ = ["app", "main"]

app = typer.Typer(
    name="archiver",
    no_args_is_help=True,
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"archiver {version('archiver')}\n")
        raise typer.Exit


@app.callback(
    epilog="Exit status: 0 done and healthy, 1 something is not well, 2 the call or a thing it needs is wrong."
)
def archiver(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Else $ARCHIVER_CONFIG, else ./config.yaml."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and log more.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Archives the logs of Akinon's Integrator in Postgres, completely and for good."""
    context.obj = Call(config, debug, datetime.now(UTC))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status. Nothing but a SystemExit of the interpreter's own comes out of it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if sys.stdout is None:  # closed by who began this process
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as it lives
    if not debug:
        # What libraries have to say comes back as an exception as well; the daemon sets its own log up.
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        result = typer.main.get_command(app).main(given, prog_name="archiver", standalone_mode=False)
        sys.stdout.flush()
    except (PipeClosed, BrokenPipeError):
        _forget_output()
        return 141  # as any program that ends by SIGPIPE
    except typer.TyperException as exc:
        _refuse(exc, given)
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except ArchiverError as exc:
        return _explain(exc, debug=debug)
    except OSError as exc:
        _forget_output()
        return _fail(exc, debug=debug)
    except UnicodeEncodeError as exc:
        odd = next((one for one in given if not one.isascii() and one.encode(errors="replace").decode() != one), None)
        if odd is None:
            return _confess(exc, debug=debug)
        _complain(f"{odd.encode(errors='backslashreplace').decode()!r} is not UTF-8, as what is archived is")
        return 2
    except Exception as exc:  # noqa: BLE001 - the last line of defence: no traceback without --debug
        return _confess(exc, debug=debug)
    return result if isinstance(result, int) else 0


def _refuse(exc: typer.TyperException, given: Sequence[str]) -> None:
    text = exc.format_message().strip()
    if text.startswith("Usage: "):  # nothing was asked for: it is the help
        sys.stdout.write(f"{text}\n")
    else:
        _complain(usage.problem(exc, given))


def _explain(exc: ArchiverError, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(exc)
    for problem in exc.problems if isinstance(exc, ConfigError) else (str(exc),):
        _complain(problem)
    return 1 if isinstance(exc, Stalled) else 2


def _fail(exc: OSError, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(exc)
    _complain(": ".join(str(part) for part in (exc.filename, exc.strerror or type(exc).__name__) if part))
    return 2


def _confess(exc: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(exc)
    # Only the kind and the place of a failure nobody foresaw: its text may quote a row or a secret.
    _complain(f"unexpected {type(exc).__name__}{_place(exc)}: this is a bug in the archiver; --debug shows more")
    return 2


def _place(exc: Exception) -> str:
    """The last place of ours on the way to it, for whoever reports it: it may not come again."""
    ours = [
        f" at {module}:{line}"
        for frame, line in traceback.walk_tb(exc.__traceback__)
        if (module := str(frame.f_globals.get("__name__"))).startswith("archiver.")
    ]
    return ours[-1] if ours else ""


def _complain(text: str) -> None:
    if text:
        sys.stderr.write(f"archiver: {clean_lines(text)}\n")


def _forget_output() -> None:
    """Nobody reads what is still buffered; the interpreter's own flush at its end must not say so."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
