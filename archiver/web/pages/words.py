"""Values in words, as the pages show them; and text of others made harmless beyond what escaping does."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from markupsafe import Markup

# What changes the direction or the place of other text, and control characters; line feeds and tabs stay.
_HOSTILE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]|[\ud800-\udfff]"
)

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def clean(value: Any) -> Any:
    """A value as a template shows it: text without what acts on text around it; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _HOSTILE.sub("\N{REPLACEMENT CHARACTER}", value)


def span(seconds: float | None) -> str:
    """`42 s`, `3 min`, `2 h 5 min`, `4 d`: two units at most."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    left, words = round(seconds), []
    for size, unit in _UNITS:
        if left >= size:
            words.append(f"{left // size:,} {unit}")
            left %= size
    return " ".join(words[:2])


def ago(moment: datetime | None, now: datetime) -> str:
    """`5 min ago`, in one unit."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    return "just now" if seconds < 10 else f"{_one(seconds)} ago"


def until(moment: datetime | None, now: datetime) -> str:
    """`in 5 min`, in one unit; `now` for what is due."""
    if moment is None:
        return "not planned"
    seconds = (moment - now).total_seconds()
    return "now" if seconds <= 0 else f"in {_one(seconds)}"


def _one(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size):,} {unit}"
    return f"{int(seconds)} s"


def number(value: int | None) -> str:
    """With thousands apart; a dash for none."""
    return "—" if value is None else f"{value:,}"
