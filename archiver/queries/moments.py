"""The times that people write when they ask: `7d`, `today`, a date, a moment."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_DAYS = {"today": 0, "yesterday": 1}


def moment(text: str, now: datetime, *, zone: tzinfo | None = None, end: bool = False) -> datetime:
    """`7d` (before now), today, yesterday, a date, or a time; without an offset in `zone`, or this machine's.

    `end`: a date means the end of its day. Raises ValueError.
    """
    word = text.strip().lower()
    match = re.fullmatch(r"(\d{1,9})\s?(s|m|h|d|w|y)", word, re.ASCII)
    try:
        if match:
            return now - timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
        if word in _DAYS:
            day = now.astimezone(zone) - timedelta(days=_DAYS[word])
            value, is_day = day.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None), True
        else:
            value, is_day = datetime.fromisoformat(text.strip()), _is_date(text.strip())
        if is_day and end:
            value += timedelta(days=1)
        if value.tzinfo is None and zone is not None:
            value = value.replace(tzinfo=zone)
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies too far back or ahead") from None
    except ValueError:
        raise ValueError("is no time: write 7d, 12h, today, 2025-01-31 or 2025-01-31T12:00") from None


def _is_date(text: str) -> bool:
    """Whether a time, as ISO 8601 spells it, is a whole day: an hour may stand behind it without a colon or a T."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
