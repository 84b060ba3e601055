"""One round after the other: facts, decision, message; then sending, and the heartbeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from pydantic import SecretStr
from sqlalchemy import Engine

from archiver.alerts.channels import Channels, beat
from archiver.config import Config, Flow
from archiver.database import folder
from archiver.queries.reader import Reader, Row, reading
from archiver.queries.signs import flow_facts, missing
from archiver.queries.signs import now as clock_of
from archiver.queries.space import space
from archiver.queries.vitals import daemons, host_of
from archiver.signs import Alert, Condition, Facts, Settings, Space, compose, conditions, resolution, to_tell, update
from archiver.store import translated
from archiver.store.alerts import Alerts, Desk

SELDOM = 60.0  # seconds for which what is costly to find out is good enough, at least
SHARE = 200.0  # and so many times as long as it took
CLAIM = 600.0  # seconds that sending a message may take before somebody else tries
AGAIN = (30.0, 120.0, 600.0, 1800.0)  # seconds until the next try; the last one from then on
GIVEN_UP = 2 * 86_400.0  # seconds after which a message is too old to be sent
# What concerns the archiver itself: while one of these holds, no heart beats.
OWN = frozenset({"login", "lag", "configuration", "disk"})

log = structlog.get_logger("archiver.alerts")


def settings_of(config: Config) -> Settings:
    """What the configuration says about alerts, as the pure room takes it."""
    alerts, off = config.alerts, float("inf")
    rate, duration = alerts.error_rate, alerts.duration
    return Settings(
        failures=alerts.failures,
        stale_after=alerts.stale_after,
        error_rate=rate if isinstance(rate, float) else {"auto": None, "off": off}[rate],
        duration=duration.total_seconds() if isinstance(duration, timedelta) else {"auto": None, "off": off}[duration],
        lag=alerts.lag,
        disk=alerts.disk,
        quiet=alerts.quiet,
        cooldown=alerts.cooldown,
        timezone=config.reporting.timezone,
    )


class _Seldom(NamedTuple):
    until: float
    keys: frozenset[int]
    missing: Mapping[int, Row]
    space: Space


class Rounds:
    """The alerts of one process. `config` and `flows` (by key) are asked for at each round, for they may change.

    Raises the database's errors, and what `Channels` raises; what goes wrong with a channel is logged, and tried again.
    """

    def __init__(self, engine: Engine, config: Callable[[], Config], flows: Callable[[], Mapping[int, Flow]]) -> None:
        self._engine = engine
        self._config = config
        self._flows = flows
        self._kept = Alerts(engine)
        self._began = time.monotonic()
        self._seldom: _Seldom | None = None
        self._silent = ""  # why the heart does not beat, while it does not
        self._channels: tuple[tuple[SecretStr, ...], Channels] = ((), Channels(()))
        self.is_well = False

    def decide(self) -> list[Condition]:
        """Write down what begins, changes and ends, and what is to be told of it; answers what holds."""
        self.is_well = False  # until it is known
        config, flows = self._config(), self._flows()
        settings = settings_of(config)
        with self._kept.deciding() as desk:
            facts = self._facts(config, flows)
            held = desk.held()
            standing = [alert for alert in held if alert.resolved_at is None]
            found = conditions(facts, settings, {alert.key for alert in standing})
            self._write(desk, standing, found, facts, config)
            if config.alerts.to:
                self._tell(desk, config, settings, facts.now)
        self.is_well = not any(one.kind in OWN for one in found)
        return found

    def send(self) -> bool:
        """Send what waits to be sent; answers whether all went well."""
        config = self._config()
        if not config.alerts.to:
            return True
        if self._channels[0] != config.alerts.to:
            self._channels = (config.alerts.to, Channels(config.alerts.to))
        channels, well = self._channels[1], True
        while (post := self._kept.claim(CLAIM)) is not None:
            reached: list[str] = []
            failed: list[str] = []
            for delivery in channels.send(post.message, besides=list(post.delivered)):
                if delivery.error:
                    failed.append(f"{delivery.channel}: {delivery.error}")
                else:
                    reached.append(delivery.channel)
            again = AGAIN[min(post.attempts, len(AGAIN)) - 1] if failed and post.age < GIVEN_UP else None
            self._kept.delivered(post, reached, "; ".join(failed) or None, again)
            if failed:
                well = False
                log.error("alert not delivered", message=post.message_id, errors=failed, again_in=again)
            else:
                log.info("alert delivered", message=post.message_id, title=post.message.title, to=reached)
        return well

    def beat(self) -> None:
        """Ask for the heartbeat's address, unless something is not well with the archiver itself."""
        url = self._config().alerts.heartbeat
        if url is None or not self.is_well:
            return
        failure = beat(url)
        if failure and failure != self._silent:
            log.warning("heartbeat failed", error=failure)
        self._silent = failure

    def forget_old(self) -> None:
        """Forget alerts that are long over, and old messages."""
        self._kept.forget_old()

    def _facts(self, config: Config, flows: Mapping[int, Flow]) -> Facts:
        with translated(), reading(self._engine) as reader:
            seldom = self._look_seldom(reader, config, frozenset(flows))
            return Facts(
                clock_of(reader),
                flow_facts(reader, flows, seldom.missing),
                {host_of(one.owner): one.config_error for one in daemons(reader) if one.config_error},
                seldom.space,
                time.monotonic() - self._began,
            )

    def _look_seldom(self, reader: Reader, config: Config, keys: frozenset[int]) -> _Seldom:
        now = time.monotonic()
        if self._seldom is None or self._seldom.keys != keys or now > self._seldom.until:
            gone, room = missing(reader, list(keys)), space(reader, folder(config))
            until = max(now + SELDOM, now + SHARE * (time.monotonic() - now))
            self._seldom = _Seldom(until, keys, gone, room)
        return self._seldom

    def _write(self, desk: Desk, standing: list[Alert], found: list[Condition], facts: Facts, config: Config) -> None:
        flows = {flow.flow_key: flow for flow in facts.flows}
        strangers = [one.flow_key for one in standing if one.flow_key is not None and one.flow_key not in flows]
        unpolled = desk.unpolled(strangers) if strangers else set()
        changes = update(standing, found, lambda alert: _is_ours(alert, flows, config) or alert.flow_key in unpolled)
        desk.raise_(changes.raised)
        for alert, condition in changes.changed:
            desk.change(alert, condition)
        for alert in changes.resolved:
            flow = None if alert.flow_key is None else flows.get(alert.flow_key)
            gone = "nobody polls the flow any more" if alert.flow_key in unpolled else None
            desk.resolve(alert, gone or resolution(alert.kind, flow, config.reporting.timezone))
        for condition in changes.raised:
            log.warning("alert", kind=condition.kind, title=condition.title)
        for alert in changes.resolved:
            log.info("alert over", kind=alert.kind, title=alert.title, alert=alert.alert_id)

    def _tell(self, desk: Desk, config: Config, settings: Settings, now: datetime) -> None:
        telling = to_tell(desk.held(), settings, now)
        desk.told(telling.silent, aloud=False)
        if telling:
            base = None if config.web is None else config.web.public_url
            desk.post(compose(telling, base=base, zone=settings.timezone))
            desk.told([*telling.begun, *telling.ended])


def _is_ours(alert: Alert, flows: Mapping[int, object], config: Config) -> bool:
    """Whether this process looks at what the alert is about; another one may have other flows."""
    if alert.flow_key is not None:
        return alert.flow_key in flows
    return alert.kind != "login" or alert.subject in config.integrators
