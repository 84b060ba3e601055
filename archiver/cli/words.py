"""Values in words for people. Archived text comes from anywhere: nothing of it may act on a terminal."""

from __future__ import annotations

import re
from datetime import datetime

from archiver.invisible import INVISIBLE

_UNSEEN = re.compile(f"[{INVISIBLE}]")
_SPACE = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")


def clean(text: object) -> str:
    """One line that shows what cannot be seen: `\\x1b[31m` and `\\u202e` are spelled out, line breaks become spaces."""
    return _UNSEEN.sub(_spelled, _SPACE.sub(" ", str(text)))


def clean_lines(text: str) -> str:
    """The same for text whose lines are wanted."""
    return "\n".join(clean(line) for line in text.split("\n"))


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def local(moment: object) -> str:
    """A time in the zone of this machine; empty for None."""
    if not isinstance(moment, datetime):
        return "" if moment is None else clean(moment)
    try:
        return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError):
        return moment.isoformat()


def ago(moment: object, now: datetime) -> str:
    """`40 s ago`, `2 min ago`, `in 5 min`; the local date beyond a week."""
    if not isinstance(moment, datetime):
        return "" if moment is None else clean(moment)
    seconds = (now - moment).total_seconds()
    if abs(seconds) > 7 * 86_400:
        return local(moment)[:16]
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds, short=True)} ago" if seconds > 0 else f"in {span(-seconds, short=True)}"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def span(seconds: float | None, *, short: bool = False) -> str:
    """`0.8 s`, `12 s`, `3 min 20 s`; short: the largest unit alone. Empty for None."""
    if seconds is None:
        return ""
    if seconds < 0:
        return f"-{span(-seconds, short=short)}"
    if seconds < 10 and not short:
        return f"{round(seconds, 1):g} s"
    rest = round(seconds)
    for index, (size, unit) in enumerate(_UNITS[:-1]):
        if rest >= size:
            next_size, next_unit = _UNITS[index + 1]
            smaller = rest % size // next_size
            return f"{rest // size} {unit}" + (f" {smaller} {next_unit}" if smaller and not short else "")
    return f"{rest} s"


def number(value: int | None) -> str:
    """With thousands apart; empty for None."""
    return "" if value is None else f"{value:,}"


def moment(text: str, now: datetime, *, end: bool = False) -> datetime:
    """What `--since` and `--until` take, in the zone of this machine: see `archiver.queries.moments`.

    `end`: a date means the end of its day. Raises ValueError.
    """
    from archiver.queries.moments import moment as meant

    try:
        return meant(text, now, end=end)
    except ValueError as exc:
        raise ValueError(f"{clean(text)!r} {exc}") from None
