"""The two ways out: JSON for programs, tables for people. All that a command prints on standard output goes here."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from archiver.cli.words import clean, clean_lines
from archiver.invisible import INVISIBLE

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

STYLES = {
    "success": "green",
    "ok": "green",
    "stored": "green",
    "up to date": "green",
    "failed": "bold red",
    "error": "bold red",
    "failing": "bold red",
    "incomplete": "bold red",
    "overdue": "bold red",
    "missing": "bold red",
    "unreadable": "bold red",
    "too_large": "bold red",
    "in_progress": "yellow",
    "started": "yellow",
    "warning": "yellow",
    "wanted": "yellow",
    "catching up": "yellow",
    "empty": "dim",
    "no runs": "yellow",
    "not polled yet": "dim",
}


GAP = 2  # columns of a table apart
LONGEST = 300  # characters of a cell that may be cut
NARROW = 32  # characters that a column of sentences has to have at least
INDENT = 4  # of what stands below its row


class PipeClosed(Exception):
    """Whoever reads our output has gone, as `head` does; there is nothing left to do."""


@contextmanager
def _quiet_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise PipeClosed from None


# --- for programs ---

_INVISIBLE = re.compile(f"[{INVISIBLE}]")


def json_text(value: Any) -> str:
    """JSON in one line, times in ISO 8601 with +00:00, invisible characters escaped."""
    import orjson

    return harmless(orjson.dumps(value, default=_default, option=orjson.OPT_PASSTHROUGH_SUBCLASS).decode())


def harmless(document: str) -> str:
    """JSON text that means the same, with every invisible character escaped but for line breaks between values."""
    return _INVISIBLE.sub(lambda match: match[0] if match[0] in "\n\r\t" else json.dumps(match[0])[1:-1], document)


def _default(value: Any) -> Any:
    import orjson

    if isinstance(value, str):  # Json, a subclass: its text is JSON already
        return orjson.Fragment(str(value))
    return str(value)


def write(text: str) -> None:
    """Text as UTF-8, whatever the terminal's encoding: what programs read."""
    write_bytes(text.encode())


def write_bytes(body: bytes) -> None:
    """Bytes as they are."""
    with _quiet_pipe():
        sys.stdout.flush()
        sys.stdout.buffer.write(body)


def write_list(rows: Iterable[Mapping[str, Any]]) -> None:
    """A list of objects, one a line: it can be read as a whole, or by line tools, and is not held in memory."""
    before = "[\n"
    for row in rows:
        write(before + json_text(row))
        before = ",\n"
    write("[]\n" if before == "[\n" else "\n]\n")


def write_object(values: Mapping[str, Any], **lists: Iterable[Mapping[str, Any]]) -> None:
    """An object, one of its values a line; the lists come last, and are not held in memory."""
    before = "{\n"
    for name, value in values.items():
        write(f"{before}{json_text(name)}: {json_text(value)}")
        before = ",\n"
    for name, rows in lists.items():
        write(f"{before}{json_text(name)}: ")
        write_list_within(rows)
        before = ",\n"
    write("\n}\n")


def write_list_within(rows: Iterable[Mapping[str, Any]]) -> None:
    """The list of an object's value."""
    before = "[\n  "
    for row in rows:
        write(before + json_text(row))
        before = ",\n  "
    write("[]" if before == "[\n  " else "\n]")


def write_csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A line of names and one of values for each row; no spreadsheet takes any of it for a formula."""
    from archiver.queries.spreadsheet import record

    for row in itertools.chain([names], rows):
        write(record(row))


def write_rows(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """CSV of rows that have these names, and perhaps more."""
    write_csv(names, ([row[name] for name in names] for row in rows))


# --- for people ---


def is_terminal() -> bool:
    """Whether a person watches standard output."""
    return sys.stdout.isatty()


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes no markup. Where nobody watches, lines are as long as they need to be."""
    from rich.console import Console

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise PipeClosed

    stream = sys.stderr if stderr else sys.stdout
    watched = stream.isatty() or "COLUMNS" in os.environ
    return _Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=None if watched else 100_000)


class Column(NamedTuple):
    """A column of a table. `keep`: is never cut; `right`: for numbers; `text`: sentences, which are wrapped, or stand
    below their row where there is no room beside it."""

    name: str
    right: bool = False
    keep: bool = False
    text: bool = False


def print_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], *, title: str = "", every: bool = False
) -> None:
    """A table without lines, fitted to the terminal. Columns without a value are left out, unless `every` is wanted."""
    filled = [
        [clean(cell if column.keep else _shortened(cell)) for cell, column in zip(row, columns, strict=True)]
        for row in rows
    ]
    shown = [index for index in range(len(columns)) if every or any(row[index] for row in filled)]
    room = console().width
    wanted, widths = _wanted(columns, filled, shown), _widths(columns, filled, shown, room)
    below = [
        at
        for at, wish, width in zip(shown, wanted, widths, strict=True)
        if columns[at].text and width < min(wish, NARROW)
    ]
    if title:
        heading(title)
    if below:
        _print_two_storeys(columns, filled, [at for at in shown if at not in below], below)
        return
    table = _grid(columns, shown, widths)
    _add_row(table, [column.name for column in columns], shown, "bold")
    for row in filled:
        _add_row(table, row, shown)
    show(table)


def _print_two_storeys(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], beside: Sequence[int], below: Sequence[int]
) -> None:
    """Each row with its sentences below it. As for a table, the first one names the columns."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    widths = _widths(columns, rows, beside, console().width)
    names = [column.name for column in columns]
    parts: list[RenderableType] = []
    for row, style in ((names, "bold"), *((row, "") for row in rows)):
        line = _grid(columns, beside, widths)
        _add_row(line, row, beside, style)
        sentences = [Padding(Text(row[at], style=style), (0, 0, 0, INDENT), expand=False) for at in below if row[at]]
        parts += [line, *sentences]
    show(Group(*parts))


def _grid(columns: Sequence[Column], shown: Sequence[int], widths: Sequence[int]) -> Table:
    """A table of these columns, still without a row."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, GAP, 0, 0))
    for at, width in zip(shown, widths, strict=True):
        column = columns[at]
        align: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(
            justify=align, no_wrap=not column.text, overflow="fold" if column.text else "ellipsis", width=width
        )
    return table


def _add_row(table: Table, row: Sequence[str], shown: Sequence[int], style: str = "") -> None:
    from rich.text import Text

    table.add_row(*(Text(row[at], style=style or STYLES.get(row[at], "")) for at in shown))


def _shortened(cell: str) -> str:
    """A pipe has room for all, but one long message would pad every row to its length. Programs take --json."""
    return cell if len(cell) <= LONGEST else f"{cell[: LONGEST - 1]}…"


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], shown: Sequence[int], room: int) -> list[int]:
    """How wide each column that is shown gets. Where there is too little room the widest of those that may be cut give
    way first; left to itself, rich would take from all alike, until the small ones are gone."""
    wanted = _wanted(columns, rows, shown)
    room -= GAP * (len(shown) - 1)

    def cut(most: int) -> list[int]:
        return [
            width if columns[at].keep else min(width, max(most, len(columns[at].name), 6))
            for at, width in zip(shown, wanted, strict=True)
        ]

    return cut(bisect_right(range(max(room, 0) + 1), room, key=lambda most: sum(cut(most))) - 1)


def _wanted(columns: Sequence[Column], rows: Sequence[Sequence[str]], shown: Sequence[int]) -> list[int]:
    """How wide each column would be in a wide enough room."""
    from rich.cells import cell_len

    return [max(map(cell_len, (columns[at].name, *(row[at] for row in rows)))) for at in shown]


def heading(text: str) -> None:
    """A line of its own in bold."""
    from rich.text import Text

    show(Text(clean(text), style="bold"))


def say(text: str, style: str = "") -> None:
    """One or more lines on standard output. A terminal wraps what is too long for it, so that a command in them can be
    copied as one line."""
    from rich.text import Text

    show(Text(clean_lines(text), style=style), soft_wrap=True)


def show(what: RenderableType, *, soft_wrap: bool = False) -> None:
    """Anything that rich can render; with `soft_wrap` lines stay as long as they are."""
    out = console()
    with _quiet_pipe():
        if out.is_terminal:
            out.print(what, soft_wrap=soft_wrap)
            return
        with out.capture() as captured:
            out.print(what, soft_wrap=soft_wrap)
        lines = [line.rstrip() for line in captured.get().splitlines()]
        encoding = sys.stdout.encoding or "utf-8"
        write_bytes(("\n".join(lines) + "\n").encode(encoding, "backslashreplace"))


def note(text: str, style: str = "") -> None:
    """A word on standard error, beside the output proper."""
    from rich.text import Text

    console(stderr=True).print(Text(clean_lines(text), style=style), soft_wrap=True)
