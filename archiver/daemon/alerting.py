"""Alerts beside the daemon's work, in threads of their own: no mail server that hangs delays a poll."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from archiver.alerts import Rounds
from archiver.daemon.place import Workplace
from archiver.errors import ArchiverError

DECIDE = 20.0  # seconds between two looks at what is well, at least
SHARE = 20.0  # and so many times as long as a look takes
BEAT = 60.0  # seconds between two heartbeats
FORGET = 6 * 3600.0

log = structlog.get_logger("archiver.alerts")


class Alerting:
    """Two threads: one decides, one sends and lets the heart beat."""

    def __init__(self, place: Workplace, stop: threading.Event) -> None:
        self._rounds = Rounds(
            place.engine, lambda: place.config, lambda: {key: flow for flow, key in place.keys.items()}
        )
        self._stop = stop
        self._trouble: dict[str, str] = {}

    def start(self) -> None:
        for name, work in (("alerts", self._decide), ("alerts-send", self._send)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def _decide(self) -> None:
        forgot = float("-inf")
        while not self._stop.is_set():
            began = time.monotonic()
            self._try("decide", self._rounds.decide)
            if began - forgot > FORGET:
                forgot = began
                self._try("forget", self._rounds.forget_old)
            self._stop.wait(max(DECIDE, SHARE * (time.monotonic() - began)))

    def _send(self) -> None:
        beaten = float("-inf")
        while not self._stop.wait(min(DECIDE / 4, BEAT)):
            self._try("send", self._rounds.send)
            if time.monotonic() - beaten >= BEAT:
                beaten = time.monotonic()
                self._try("heartbeat", self._rounds.beat)

    def _try(self, what: str, work: Callable[[], object]) -> None:
        """Alerts never end the daemon; what hinders them is told once."""
        try:
            work()
        except ArchiverError as exc:
            if self._trouble.get(what) != str(exc):
                log.error("alerts do not work", step=what, error=str(exc))
            self._trouble[what] = str(exc)
        except Exception:
            if self._trouble.get(what) != "crash":
                log.exception("alerts crashed", step=what)
            self._trouble[what] = "crash"
        else:
            self._trouble.pop(what, None)
