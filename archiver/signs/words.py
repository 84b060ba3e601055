"""Numbers and texts in words for people."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from archiver.invisible import INVISIBLE

LONGEST = 300  # characters of a sample

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_UNSEEN = re.compile(f"[{INVISIBLE}]+")


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2 d`."""
    rest = max(0, round(seconds))
    for index, (size, unit) in enumerate(_UNITS[:-1]):
        if rest >= size:
            small, small_unit = _UNITS[index + 1]
            more = rest % size // small
            return f"{rest // size} {unit}" + (f" {more} {small_unit}" if more and rest < 10 * size else "")
    return f"{rest} s"


def moment(at: datetime, zone: str) -> str:
    """`Tue 03 Mar 14:05`, where the business is."""
    return at.astimezone(ZoneInfo(zone)).strftime("%a %d %b %H:%M")


def share(value: float) -> str:
    """`3.5 %`."""
    return f"{value * 100:.1f} %" if value < 0.1 else f"{value * 100:.0f} %"


def one_line(text: str) -> str:
    """Text from anywhere, harmless and short."""
    line = _UNSEEN.sub(" ", text).strip()
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
