"""The daemon: one scheduler whose tick hands due flows to a pool of workers, and a main thread that watches both."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from types import FrameType

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from archiver.archive import FlowReport, archive_flow
from archiver.client import RequestNote
from archiver.config import Config, Flow
from archiver.daemon.notify import notify, watchdog_seconds
from archiver.daemon.place import Workplace, opened, revive
from archiver.daemon.schedule import Schedule
from archiver.errors import ArchiverError

TICK = 1.0  # seconds
TURN = 30.0  # seconds of a flow's turn while others may wait
LATE = 5.0  # without a tick: the clock was set back, so that the scheduler sleeps
DEAD = 60.0  # without a tick: the scheduler is gone
STALLED = 15 * 60.0  # of a turn without a step: something hangs that no deadline caught
DRAIN = 4.0  # for turns to finish their window after a signal
ABORT = 3.0  # more for those that wait for an answer, which is then cut off
UPKEEP = 6 * 60 * 60.0

log = structlog.get_logger("archiver.daemon")


class Stalled(ArchiverError):
    """The daemon lives but makes no progress: it ends, so that its supervisor can start a new one."""


def run(
    config: Config,
    *,
    ready: Callable[[Workplace], None] = lambda _: None,
    beside: Callable[[Workplace], AbstractContextManager[object]] = nullcontext,
    on_request: Callable[[RequestNote], None] | None = None,
) -> int:
    """Poll by schedule until SIGTERM or SIGINT; answers the exit status, 0.

    `beside` is what lives as long as the daemon does: the web server. `on_request` hears of each request.

    Raises what keeps it from starting, and Stalled where it no longer makes progress.
    """
    config.require_flows()
    stop = threading.Event()
    with opened(config, on_request) as place, beside(place):
        daemon = Daemon(place, stop)
        previous = {one: signal.signal(one, daemon.on_signal) for one in (signal.SIGTERM, signal.SIGINT)}
        try:
            daemon.start()
            notify("READY=1")
            ready(place)
            daemon.watch()
        finally:
            notify("STOPPING=1")
            daemon.drain()
            for one, handler in previous.items():
                signal.signal(one, handler)
    return 0


class Daemon:
    """Scheduler, workers, and what the main thread needs to know of them."""

    def __init__(self, place: Workplace, stop: threading.Event) -> None:
        self._place = place
        self._stop = stop
        self._flows = {key: flow for flow, key in place.keys.items()}
        self._schedules = {key: Schedule(flow, seed=key) for key, flow in self._flows.items()}
        self._pool = ThreadPoolExecutor(place.config.workers, thread_name_prefix="flow")
        self._lock = threading.Lock()
        self._working: dict[int, float] = {}  # flow key → time of its last step, by the monotonic clock
        self._ticked = time.monotonic()
        self._kept_up = 0.0
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    def on_signal(self, number: int, _: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        self._stop.set()

    def start(self) -> None:
        self._scheduler.add_job(self._tick, "interval", seconds=TICK, id="tick", next_run_time=datetime.now(UTC))
        self._scheduler.start()
        log.info("started", flows=len(self._flows), workers=self._place.config.workers)

    def watch(self) -> None:
        """The main thread: sees that the scheduler ticks and that turns make steps, and tells systemd so."""
        every = watchdog_seconds()
        told = 0.0
        while not self._stop.wait(TICK):
            now = time.monotonic()
            silent = now - self._ticked
            if silent > DEAD or not self._scheduler.running:
                raise Stalled("the scheduler has stopped ticking")
            if silent > LATE:
                self._scheduler.modify_job("tick", next_run_time=datetime.now(UTC))
            with self._lock:
                stalled = [self._flows[key].name for key, at in self._working.items() if now - at > STALLED]
            if stalled:
                raise Stalled(f"no progress for {STALLED / 60:.0f} minutes in flow {', '.join(stalled)}")
            if every is not None and now - told >= min(every, 10.0):
                notify("WATCHDOG=1")
                told = now

    def drain(self) -> None:
        """Let turns finish the window under way; cut off those that wait for the Integrator."""
        self._stop.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if not self._idle_within(DRAIN):
            for client in self._place.clients.values():
                client.close()
            self._idle_within(ABORT)
        log.info("stopped")

    def _idle_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self._lock:
                if not self._working:
                    return True
            time.sleep(0.02)
        return False

    def _tick(self) -> None:
        """Hand the flows that are due to the workers, the longest overdue first, as long as there are idle ones."""
        self._ticked = time.monotonic()
        if self._stop.is_set():
            return
        try:
            self._hand_out()
            self._upkeep()
        except ArchiverError as exc:
            log.error("tick failed", error=str(exc))
            self._revive()
        self._ticked = time.monotonic()

    def _revive(self) -> None:
        try:
            revive(self._place.config)
        except ArchiverError as exc:
            log.error("the embedded Postgres cannot be started again", error=str(exc))

    def _hand_out(self) -> None:
        with self._lock:
            working = set(self._working)
        idle = self._place.config.workers - len(working)
        if idle <= 0:
            return
        now = datetime.now(UTC)
        waits = self._place.store.due(key for key in self._flows if key not in working)
        due = sorted((seconds, key) for key, seconds in waits.items() if self._schedules[key].is_due(seconds, now))
        for _, key in due[:idle]:
            with self._lock:
                self._working[key] = time.monotonic()
            self._pool.submit(self._turn, key)

    def _turn(self, key: int) -> None:
        flow = self._flows[key]
        try:
            lease = self._place.store.leases.claim(key)
            if lease is None:
                return  # another process works on it
            report = archive_flow(
                flow,
                self._place.clients[flow.integrator],
                self._place.store,
                lease,
                seconds=TURN,
                next_due=self._schedules[key].wait(datetime.now(UTC)),
                stopping=self._stop.is_set,
                progress=lambda _: self._note_step(key),
            )
            _log_report(flow, report)
        except ArchiverError as exc:
            log.error("turn failed", flow=flow.name, error=str(exc))
        except Exception:
            log.exception("turn crashed", flow=flow.name)
        finally:
            with self._lock:
                self._working.pop(key, None)

    def _note_step(self, key: int) -> None:
        with self._lock:
            self._working[key] = time.monotonic()

    def _upkeep(self) -> None:
        """A few times a day: partitions for the months ahead, and old passes forgotten."""
        if self._kept_up and time.monotonic() - self._kept_up < UPKEEP:
            return
        self._kept_up = time.monotonic()
        self._place.store.partitions.ensure_ahead()
        self._place.store.forget_old_passes()


def _log_report(flow: Flow, report: FlowReport) -> None:
    if report.crash is not None:
        log.error("turn crashed", flow=flow.name, exc_info=report.crash)
    level = log.warning if report.errors else log.info
    level(
        "turn",
        flow=flow.name,
        outcome=report.outcome,
        seconds=round(report.seconds, 3),
        requests=report.requests,
        runs_new=report.runs_new,
        runs_changed=report.runs_changed,
        lines_new=report.lines_new,
        lines_changed=report.lines_changed,
        sealed=report.sealed,
        details=report.details,
        late=report.late,
        **({"errors": report.errors} if report.errors else {}),
        **({"notes": report.notes} if report.notes else {}),
    )
