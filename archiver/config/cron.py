"""Cron expressions, as crontab means them.

APScheduler counts week days from Monday = 0 and crontab from Sunday = 0, so numbers become names here. Where both the
day of the month and the day of the week are restricted, crontab fires on either and APScheduler only on both: refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?:\*|([0-7])(?:-([0-7]))?)(?:/([1-9]\d?))?", re.ASCII)
_LEAP_YEAR = datetime(2024, 1, 1, tzinfo=UTC)


def crontab(text: object) -> str:
    """Five fields in UTC, with week days by name; raises ValueError for what can never fire or not be read."""
    fields = str(text).lower().split()
    if len(fields) != 5:
        raise ValueError('must be five fields (minute hour day month weekday); write it as "*/10 * * * *"')
    if fields[2] != "*" and fields[4] != "*":
        raise ValueError("restricts both the day of the month and of the week, which crons read differently; use one")
    fields[4] = _weekdays(fields[4])
    expression = " ".join(fields)
    _prove(expression)
    return expression


def twice(expression: str, since: datetime) -> timedelta:
    """From then until the expression, as `crontab` gives it, has fired two times: what two intervals are to `every`."""
    # Imported here: most commands need no scheduler.
    from apscheduler.triggers.cron import CronTrigger

    trigger = CronTrigger.from_crontab(expression, timezone=UTC)
    first = trigger.get_next_fire_time(since, since)
    second = first and trigger.get_next_fire_time(first, first)
    return (second or datetime.max.replace(tzinfo=UTC)) - since


def _weekdays(field: str) -> str:
    if field == "*":
        return field
    days: set[int] = set()
    for part in re.sub("|".join(_DAYS), lambda name: str(_DAYS.index(name[0])), field).split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError("has a weekday that cannot be read; write names, as in mon-fri or sat,sun")
        low = int(match[1] or 0)
        high = int(match[2]) if match[2] else low if match[1] and not match[3] else 6
        if low > high:
            raise ValueError("has a range of weekdays that runs backwards; write names, separated by commas")
        days |= {day % 7 for day in range(low, high + 1, int(match[3] or 1))}
    return ",".join(_DAYS[day] for day in sorted(days))


def _prove(expression: str) -> None:
    # The scheduler itself is the judge of what it can read. Imported here: most commands need no scheduler.
    from apscheduler.triggers.cron import CronTrigger

    try:
        trigger = CronTrigger.from_crontab(expression, timezone=UTC)
        fires = trigger.get_next_fire_time(None, _LEAP_YEAR) is not None
    except (ValueError, TypeError, KeyError) as exc:
        raise ValueError(f"is no cron expression ({exc}); write it as */10 * * * *") from None
    if not fires:
        raise ValueError("never fires: there is no such day; choose another")
