"""Conditions over time: what begins, gets worse or ends, and what of it is to be told now.

What is told is the difference between what holds and what was told of it. So nothing is told twice, a restart forgets
nothing, and what came and went in quiet hours is not told at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from archiver.signs.facts import Settings
from archiver.signs.rules import Condition

EVENTS = frozenset({"new_error"})  # that happen once; nothing recovers


@dataclass(frozen=True, slots=True)
class Alert:
    """One time that something was not well, as it is kept. `told_before`: when another time of it was told last."""

    alert_id: int
    kind: str
    subject: str
    flow_key: int | None
    level: int
    title: str
    detail: str
    path: str | None
    since: datetime
    raised_at: datetime
    resolved_at: datetime | None = None
    resolution: str | None = None
    told_level: int = 0
    told_at: datetime | None = None
    told_resolved_at: datetime | None = None
    acked_level: int | None = None
    told_before: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.subject


class Update(NamedTuple):
    """What has changed: conditions that begin, alerts with the condition that they are now, alerts that end."""

    raised: list[Condition]
    changed: list[tuple[Alert, Condition]]
    resolved: list[Alert]


def update(held: Iterable[Alert], now: Iterable[Condition], judged: Callable[[Alert], bool]) -> Update:
    """`held`: the alerts that are open; `judged` says of which the conditions of now would tell."""
    current = {one.key: one for one in now}
    before = {alert.key: alert for alert in held}
    return Update(
        [one for key, one in current.items() if key not in before],
        [(alert, current[key]) for key, alert in before.items() if key in current and _differs(alert, current[key])],
        [alert for key, alert in before.items() if key not in current and judged(alert)],
    )


def _differs(alert: Alert, condition: Condition) -> bool:
    mine = (alert.level, alert.title, alert.detail, alert.path)
    return mine != (condition.level, condition.title, condition.detail, condition.path)


def quiet(now: datetime, settings: Settings) -> bool:
    """Whether nobody is to be told now. Quiet hours may go over midnight."""
    if settings.quiet is None:
        return False
    begin, end = settings.quiet
    time = now.astimezone(ZoneInfo(settings.timezone)).time()
    return begin <= time < end if begin < end else time >= begin or time < end


class Telling(NamedTuple):
    """What is to be told: alerts that begin or got worse, those that ended; and those that go without saying."""

    begun: list[Alert]
    ended: list[Alert]
    silent: list[Alert]

    def __bool__(self) -> bool:
        return bool(self.begun or self.ended)


def to_tell(alerts: Sequence[Alert], settings: Settings, now: datetime) -> Telling:
    """`alerts`: the open ones, and those that ended and whose end was not told."""
    if quiet(now, settings):
        return Telling([], [], [])
    news = [alert for alert in alerts if _is_news(alert)]
    over = {alert.key: alert for alert in alerts if _is_over(alert)}
    # Over and back before anybody heard of it: for people it never went away.
    back = [alert for alert in news if alert.key in over and alert.level <= over[alert.key].told_level]
    failing = _known_to_fail(alerts)
    known = [alert for alert in news if alert.kind == "new_error" and alert.flow_key in failing]
    returned = {alert.key for alert in news}
    ended = [one for one in over.values() if one.key not in returned and one.kind not in EVENTS]
    begun = [one for one in news if one not in back and one not in known and not _cools(one, settings, now)]
    return Telling(begun, ended, [*back, *known, *(one for one in over.values() if one not in ended)])


def _is_news(alert: Alert) -> bool:
    return alert.resolved_at is None and alert.level > max(alert.told_level, alert.acked_level or 0)


def _is_over(alert: Alert) -> bool:
    return alert.resolved_at is not None and alert.told_level > 0 and alert.told_resolved_at is None


def _cools(alert: Alert, settings: Settings, now: datetime) -> bool:
    last = max((at for at in (alert.told_at, alert.told_before) if at is not None), default=None)
    return last is not None and now - last < settings.cooldown


def _known_to_fail(alerts: Iterable[Alert]) -> Collection[int | None]:
    """Flows that people know to fail, or hear of now: that they fail in yet another way calls nobody."""
    return {one.flow_key for one in alerts if one.kind == "failed" and one.resolved_at is None}
