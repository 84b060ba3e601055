"""The daemon: one scheduler whose tick hands due flows to a pool of workers, and a main thread that watches both."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from datetime import UTC, datetime

import structlog
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from archiver.archive import PageMemory, archive_flow
from archiver.client import Client, RequestNote
from archiver.config import Config, Flow
from archiver.daemon.alerting import Alerting
from archiver.daemon.indexes import IndexBuilder
from archiver.daemon.notify import notify, watchdog_seconds
from archiver.daemon.passes import log_pass, numbered
from archiver.daemon.place import Workplace, opened
from archiver.daemon.polled import Polled, flow_changes, waits_for_start
from archiver.daemon.reload import Reloader
from archiver.daemon.retiring import Retiring
from archiver.daemon.schedule import Heartbeat, Schedule, first_served
from archiver.daemon.signals import Interrupted, Signals
from archiver.daemon.upkeep import Upkeep
from archiver.database import revive
from archiver.errors import ArchiverError, Stalled

TICK = 1.0  # seconds
TURN = 30.0  # seconds of a flow's turn while others may wait
LATE = 5.0  # without a tick: the clock was set back, so that the scheduler sleeps
DEAD = 60.0  # without a tick: the scheduler is gone
STALLED = 15 * 60.0  # of a turn without a step: something hangs that no deadline caught
DRAIN = 4.0  # for turns to finish their window after a signal
ABORT = 3.0  # more for those that wait for an answer, which is then cut off
SURVEY = 30.0  # from one look at the times of all flows to the next

log = structlog.get_logger("archiver.daemon")


def run(
    config: Config,
    *,
    ready: Callable[[Workplace], None] = lambda _: None,
    beside: Callable[[Workplace], AbstractContextManager[object]] = nullcontext,
    on_request: Callable[[RequestNote], None] | None = None,
) -> int:
    """Poll by schedule until SIGTERM or SIGINT; answers the exit status, 0.

    `beside` is what lives as long as the daemon does: the web server. `on_request` hears of each request.

    Raises what keeps it from starting, and Stalled where it no longer makes progress. Where a thread hangs, the
    process ends a few seconds later, whatever the caller does.
    """
    config.require_flows()
    with Signals() as signals:
        try:
            with opened(config, on_request) as place:
                signals.started()
                with beside(place):
                    _work(place, signals, ready)
        except Interrupted:
            log.info("stopped before the start was over")
    return 0


def _work(place: Workplace, signals: Signals, ready: Callable[[Workplace], None]) -> None:
    daemon = Daemon(place, signals.stop, hangups=lambda: signals.hangups)
    try:
        daemon.start()
        notify("READY=1")
        ready(place)
        daemon.watch()
    except Stalled as exc:
        log.critical("stalled", error=str(exc))
        signals.give_up()
        raise
    finally:
        notify("STOPPING=1")
        daemon.drain()


class Daemon:
    """Scheduler, workers, and what the main thread needs to know of them."""

    def __init__(self, place: Workplace, stop: threading.Event, *, hangups: Callable[[], int] = lambda: 0) -> None:
        self._place = place
        self._stop = stop
        self._polled = Polled.of(place.keys, place.clients)
        self._retiring = Retiring()
        self._memory = PageMemory()
        self._pool = ThreadPoolExecutor(place.config.workers, thread_name_prefix="flow")
        self._lock = threading.Lock()
        self._choosing = threading.Lock()  # one looks at what is due at a time
        self._working: dict[int, float] = {}  # flow key → time of its last step, by the monotonic clock
        self._waiting = False  # flows are due that no worker was idle for
        self._ticked = time.monotonic()
        self._trouble = ""  # why ticks fail, while they do
        self._crash: Exception | None = None  # of a tick, by a mistake of ours
        self._reviver: threading.Thread | None = None
        self._surveyed = float("-inf")
        self._indexes = IndexBuilder(place.engine, lambda: place.config, self._stop.is_set)
        self._upkeep = Upkeep(place.store, self._indexes.start, self._stop.is_set)
        self._reloader = Reloader(place.config, self._reconfigure, place.store.presence, hangups=hangups, stop=stop)
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    def start(self) -> None:
        """Begin to tick, to watch the configuration and to alert, in threads of their own."""
        self._scheduler.add_job(self._tick, Heartbeat(TICK), id="tick", next_run_time=datetime.now(UTC))
        self._scheduler.start()
        self._reloader.start()
        Alerting(self._place, self._stop).start()
        log.info("started", flows=len(self._polled.flows), workers=self._place.config.workers)

    def watch(self) -> None:
        """The main thread: sees that the scheduler ticks and that turns make steps, and tells systemd so."""
        every = watchdog_seconds()
        look = min(TICK, every or TICK)
        told = float("-inf")
        while not self._stop.wait(look):
            now = time.monotonic()
            self._judge(now)
            if every is not None and now - told >= min(every, 10.0) - look:
                notify("WATCHDOG=1")
                told = now

    def _judge(self, now: float) -> None:
        """Raises Stalled where nothing moves any more."""
        silent = now - self._ticked
        if self._crash is not None:
            raise Stalled(f"the scheduler's tick failed: {type(self._crash).__name__}") from self._crash
        if silent > DEAD or not self._scheduler.running:
            raise Stalled("the scheduler has stopped ticking")
        if silent > LATE:
            with suppress(JobLookupError):  # the scheduler is shut down
                self._scheduler.modify_job("tick", next_run_time=datetime.now(UTC))
        with self._lock:
            stalled = [key for key, at in self._working.items() if now - at > STALLED]
            names = [self._polled.flows[key].name for key in stalled if key in self._polled.flows]
        if stalled:
            raise Stalled(f"no progress for {STALLED / 60:.0f} minutes in flow {', '.join(names)}")

    def drain(self) -> None:
        """Let turns finish the window under way; cut off those that wait for the Integrator."""
        self._stop.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if not self._idle_within(DRAIN):
            self._place.close()
            self._retiring.close()
            self._idle_within(ABORT)
        with suppress(ArchiverError):
            self._place.store.presence.leave()
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
        self._ticked = time.monotonic()
        self._round()
        self._ticked = time.monotonic()

    def _round(self) -> None:
        """One look at what is due. Workers that have become free while flows waited do not wait for the tick."""
        if self._stop.is_set():
            return
        try:
            with self._choosing:
                self._hand_out()
                self._upkeep.look()
        except ArchiverError as exc:
            self._note_trouble(str(exc))
            self._revive()
        except Exception as exc:  # the main thread ends the process; APScheduler would go on
            self._crash = self._crash or exc
            log.exception("tick crashed")
        else:
            self._note_trouble("")

    def _note_trouble(self, trouble: str) -> None:
        """Once when it begins and once when it is over, not at every tick."""
        if trouble and trouble != self._trouble:
            log.error("tick failed", error=trouble)
        elif self._trouble and not trouble:
            log.info("the database answers again")
        self._trouble = trouble

    def _revive(self) -> None:
        """Bring the embedded Postgres back; that may take minutes, and the tick has to go on."""
        if self._reviver is None or not self._reviver.is_alive():
            self._reviver = threading.Thread(target=self._try_to_revive, name="revive", daemon=True)
            self._reviver.start()

    def _try_to_revive(self) -> None:
        try:
            revive(self._place.config)
        except ArchiverError as exc:
            log.error("the embedded Postgres cannot be started again", error=str(exc))

    def _hand_out(self) -> None:
        """Give the flows that are due to the workers, the longest overdue first, as long as there are idle ones."""
        with self._lock:
            working = set(self._working)
        workers = self._place.config.workers
        if len(working) >= workers:
            self._waiting = True
            return
        now = datetime.now(UTC)
        polled, leaving = self._polled, self._retiring.let_go()
        free = [key for key, name in polled.integrators.items() if key not in working and name not in leaving]
        waits = self._place.store.due(free, self._horizon())
        due = sorted((seconds, key) for key, seconds in waits.items() if polled.schedules[key].is_due(seconds, now))
        busy = Counter(polled.integrators[key] for key in working if key in polled.integrators)
        chosen = first_served([key for _, key in due], polled.integrators, busy, workers)
        self._waiting = len(chosen) < len(due)
        for key in chosen:
            self._begin(key)

    def _horizon(self) -> float | None:
        """Most ticks ask for what is due alone. Now and then one looks at all flows, also at those whose time lies too
        far ahead: the database's clock was set back."""
        if time.monotonic() - self._surveyed < SURVEY:
            return 0.0
        self._surveyed = time.monotonic()
        return None

    def _begin(self, key: int) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            self._working[key] = time.monotonic()
        try:
            self._pool.submit(self._turn, key)
        except RuntimeError:  # it was shut down meanwhile
            self._end(key)

    def _end(self, key: int) -> None:
        self._retiring.give_back(key)
        with self._lock:
            self._working.pop(key, None)

    def _take_up(self, key: int) -> tuple[Flow, Schedule, Client] | None:
        with self._lock:
            flow = self._polled.flows.get(key)
            if flow is None:
                return None
            client = self._polled.clients[flow.integrator]
            if not self._retiring.take(key, client, flow.integrator):
                return None
            return flow, self._polled.schedules[key], client

    def _turn(self, key: int) -> None:
        taken = self._take_up(key)
        if taken is None:  # the configuration has just changed
            self._end(key)
            return
        flow, schedule, client = taken
        try:
            lease = self._place.store.leases.claim(key)
            if lease is None:
                return  # another process works on it
            with numbered(flow, lease):
                report = archive_flow(
                    flow,
                    client,
                    self._place.store,
                    lease,
                    helpers=self._place.helpers,
                    memory=self._memory,
                    seconds=TURN,
                    next_due=lambda: schedule.wait(datetime.now(UTC)),
                    stopping=lambda: self._stop.is_set() or client in self._retiring,
                    progress=lambda _: self._note_step(key),
                )
                log_pass(report)
        except ArchiverError as exc:
            log.error("turn failed", flow=flow.name, error=str(exc))
        except Exception:
            log.exception("turn crashed", flow=flow.name)
        finally:
            self._end(key)
            if self._waiting:
                self._round()

    def _note_step(self, key: int) -> None:
        with self._lock:
            self._working[key] = time.monotonic()

    # --- the configuration ---

    def _reconfigure(self, new: Config) -> None:
        """Poll what another configuration says. Raises ConfigError, and changes nothing then.

        Turns under way on an integrator whose settings changed end at their next step; nothing is asked of it with
        the new ones before that.
        """
        place, old = self._place, self._place.config
        kept = place.keys.keys() & set(new.flows)
        keys = {flow: place.keys[flow] for flow in kept}
        with ExitStack() as made:
            clients = {
                name: place.clients[name]
                if old.integrators.get(name) == integrator
                else made.enter_context(place.client(integrator))
                for name, integrator in new.integrators.items()
            }
            keys |= place.store.register(flow for flow in new.flows if flow not in kept)
            made.pop_all()
        with self._choosing, self._lock:
            gone = {one: name for name, one in place.clients.items() if clients.get(name) is not one}
            self._retiring.retire(gone)
            self._polled = Polled.of(keys, clients)
            self._surveyed = float("-inf")  # what is due by the new schedules
            place.config, place.clients, place.keys = new, clients, keys
        self._indexes.start()
        changes, later = flow_changes(old, new), waits_for_start(old, new)
        log.info("configuration taken over", flows=len(keys), integrators=list(gone.values()), **changes._asdict())
        if later:
            log.warning("settings that hold from the next start on", settings=later)
