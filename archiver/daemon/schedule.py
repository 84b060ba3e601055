"""When a flow is due: `every`, with some jitter, or by `cron`."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

from apscheduler.triggers.cron import CronTrigger

from archiver.config import Flow

JITTER = 0.1  # of the interval, at most half a minute: flows do not all come at once


class Schedule:
    """The due times of one flow. `cron` counts in UTC, where no hour is skipped or comes twice."""

    def __init__(self, flow: Flow, seed: int = 0) -> None:
        self._every = flow.every.total_seconds() if flow.every is not None else None
        self._cron: Any = CronTrigger.from_crontab(flow.cron, timezone="UTC") if flow.cron else None
        self._random = random.Random(f"{flow.flow_id}/{seed}")  # noqa: S311 - spreads load, guards nothing

    def wait(self, now: datetime) -> float:
        """Seconds from now until the flow is due again."""
        if self._cron is not None:
            fire = self._cron.get_next_fire_time(None, now)
            if fire is not None:
                return max(0.0, float((fire - now).total_seconds()))
        every = self._every or 300.0
        return every + self._random.uniform(0, min(every * JITTER, 30.0))

    def is_due(self, seconds: float, now: datetime) -> bool:
        """Whether a flow is due that should be in `seconds` from now. One that should wait longer than its schedule
        ever waits is due as well: the database's clock was set back."""
        if seconds <= 0:
            return True
        if self._cron is not None:
            return seconds > self.wait(now) + 60.0
        return seconds > (self._every or 300.0) * (1 + JITTER) + 60.0
