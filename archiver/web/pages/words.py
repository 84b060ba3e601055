"""Values in words, as the pages show them; and text of others made harmless beyond what escaping does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from archiver.amounts import many, size
from archiver.invisible import INVISIBLE
from archiver.logs import dump_exact, load_exact
from archiver.queries.names import STATUSES

_UNSEEN = re.compile(rf"(?![\t\n])[{INVISIBLE}]")  # line feeds and tabs stay

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def clean(value: Any) -> Any:
    """A value as a template shows it: text without what acts on text around it; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", value)


def span(seconds: float | None) -> str:
    """`42 s`, `3 min`, `2 h 5 min`, `4 d`: two units at most."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    left, words = round(seconds), []
    for length, unit in _UNITS:
        if left >= length:
            words.append(f"{left // length:,} {unit}")
            left %= length
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
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length):,} {unit}"
    return f"{int(seconds)} s"


def number(value: int | None) -> str:
    """With thousands apart; a dash for none."""
    return "—" if value is None else f"{value:,}"


def utc(moment: datetime | str | None) -> str:
    """`2026-03-01 12:00:05` in UTC; Postgres's own text for what Python has no datetime for."""
    if moment is None or isinstance(moment, str):
        return moment or ""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def share(pair: tuple[int, int]) -> str:
    """The first as a share of the second: `0.4 %`, `12 %`; nothing of nothing."""
    part, whole = pair
    if not part or not whole:
        return ""
    percent = 100 * part / whole
    return "< 0.1 %" if percent < 0.1 else f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


_LABELS = {
    "not_found": "Not found",
    "rate_limit": "Rate limit",
    "too_large": "Too large",
    "wanted": "Not there yet",
    "stored": "Stored",
}
# What the colours and shapes of a result say; everything unknown is worth a look.
_KINDS = {
    "success": "good",
    "stored": "good",
    "done": "good",
    "ok": "good",
    "failed": "bad",
    "missing": "bad",
    "unreadable": "bad",
    "too_large": "bad",
    "in_progress": "going",
    "started": "going",
    "empty": "empty",
    "erased": "empty",
}


def label(word: str | None) -> str:
    """`in_progress` as people write it."""
    text = word or ""
    return _LABELS.get(text, text.replace("_", " ").capitalize())


def kind(word: str | None) -> str:
    """The class of a result: good, bad, going, empty or other."""
    return _KINDS.get(word or "", "other")


KINDS = {number: kind(word) for word, number in STATUSES.items()}  # of the numbers that statuses are


def pairs(fields: str | None, most: int = 160) -> str:
    """A line's fields in one row: `sku=X, price=12`; without its message, and without what has parts of its own."""
    found = load_exact(fields or "{}")
    words = [
        f"{name}={value if isinstance(value, str) else dump_exact(value)}"
        for name, value in found.items()
        if name != "message" and value not in (None, "") and not isinstance(value, dict | list)
    ]
    text = ", ".join(words)
    return text if len(text) <= most else f"{text[:most]}…"


FILTERS = (ago, kind, label, many, number, pairs, share, size, span, until, utc)
"""What templates may call."""
