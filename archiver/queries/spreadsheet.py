"""Values and records of CSV, for commands and pages alike: harmless to spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from archiver.queries.reader import Json

_FORMULA = re.compile(r" *[=+\-@\t\r\n]")  # not %, which begins percentages in Turkish: %18
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*(?:[eE][+-]?[0-9]+)?")


def record(values: Sequence[Any]) -> str:
    """A line of CSV, with its end."""
    line = io.StringIO()
    # Where its lines end with a line feed alone, Python leaves a carriage return within a value unquoted.
    csv.writer(line, lineterminator="\r\n").writerow([cell(value) for value in values])
    return line.getvalue().removesuffix("\r\n") + "\n"


def cell(value: Any) -> str:
    """What a spreadsheet would take for a formula has an apostrophe before it. Numbers stay, negative ones too."""
    text = plain(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def plain(value: Any) -> str:
    """A value as text: the same that JSON would show, without quotes."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return orjson.dumps(value, default=_default, option=orjson.OPT_PASSTHROUGH_SUBCLASS).decode()


def _default(value: Any) -> Any:
    return orjson.Fragment(str(value)) if isinstance(value, Json) else str(value)
