"""When a flow is due: `every` or by `cron`, with some jitter; and which of those that are due go first."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger

from archiver.config import Flow

JITTER = 0.1  # of the interval, at most half a minute: flows do not all come at once
LONGEST_JITTER = 30.0


class Schedule:
    """The due times of one flow. `cron` counts in UTC, where no hour is skipped or comes twice."""

    def __init__(self, flow: Flow, seed: int = 0) -> None:
        self._every = flow.every.total_seconds() if flow.every is not None else 300.0
        self._cron: Any = CronTrigger.from_crontab(flow.cron, timezone="UTC") if flow.cron else None
        self._random = random.Random(f"{flow.flow_id}/{seed}")  # noqa: S311 - spreads load, guards nothing

    def wait(self, now: datetime) -> float:
        """Seconds from now until the flow is due again."""
        wait, interval = self._next(now)
        return wait + self._random.uniform(0, min(interval * JITTER, LONGEST_JITTER))

    def is_due(self, seconds: float, now: datetime) -> bool:
        """Whether a flow is due that should be in `seconds` from now. One that should wait longer than its schedule
        ever waits is due as well: the database's clock was set back."""
        if seconds <= 0:
            return True
        wait, interval = self._next(now)
        return seconds > wait + min(interval * JITTER, LONGEST_JITTER) + 60.0

    def _next(self, now: datetime) -> tuple[float, float]:
        """Seconds until the next time, and from that one to the one after it."""
        if self._cron is not None:
            first = self._cron.get_next_fire_time(None, now)
            second = first and self._cron.get_next_fire_time(first, first)
            if second is not None:
                return max(0.0, (first - now).total_seconds()), (second - first).total_seconds()
        return self._every, self._every


class Heartbeat(BaseTrigger):  # type: ignore[misc]  # carries no types
    """Every so many seconds, from now on. APScheduler's own interval first lists every run that a clock has jumped
    over: after ten years, three hundred million."""

    def __init__(self, seconds: float) -> None:
        self._pause = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:  # noqa: ARG002
        return now + self._pause


def first_served(due: Iterable[int], integrator_of: Mapping[int, str], busy: Counter[str], workers: int) -> list[int]:
    """Which flows get a worker now, of those that are due, given the longest overdue first.

    `busy`: workers by integrator. No integrator takes the workers that the others need, one each: where it hangs, it
    hangs for its own flows.
    """
    most = max(1, workers - len(set(integrator_of.values())) + 1)
    busy, idle = Counter(busy), workers - busy.total()
    chosen: list[int] = []
    for key in due:
        if len(chosen) < idle and busy[integrator_of[key]] < most:
            busy[integrator_of[key]] += 1
            chosen.append(key)
    return chosen
