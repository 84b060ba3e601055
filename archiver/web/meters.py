"""What is counted: in this process as it happens, and in the database whenever somebody looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from archiver.client import RequestNote
from archiver.queries.vitals import PassVitals, Vitals

FRESH = 10.0  # seconds for which what the database said is good enough
FILES_FRESH = 300.0  # the same for the files, which it takes longer to count

Files = list[tuple[str, str, int]]

_PASSES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ANSWERS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Meters:
    """Prometheus metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._standing: _Standing | None = None
        self.integrator_requests = Counter(
            "archiver_integrator_requests",
            "Requests to Integrators by this process, by the status of the answer (none: no answer came).",
            ["path", "status"],
            registry=registry,
        )
        self.integrator_seconds = Counter(
            "archiver_integrator_request_seconds",
            "Seconds that requests to Integrators took.",
            ["path"],
            registry=registry,
        )
        self.web_requests = Counter(
            "archiver_web_requests", "Requests that this server answered.", ["route", "status"], registry=registry
        )
        self.web_seconds = Histogram(
            "archiver_web_request_seconds",
            "Seconds until the answer was out.",
            ["route"],
            buckets=_ANSWERS,
            registry=registry,
        )
        self.logins = Counter(
            "archiver_web_logins", "Logins to this server, accepted or refused.", ["outcome"], registry=registry
        )
        self.connections = Gauge(
            "archiver_database_connections",
            "Database connections of the web pages, in use or idle.",
            ["state"],
            registry=registry,
        )
        self.under_way = Gauge(
            "archiver_web_requests_under_way", "Requests that are answered now or wait for it.", registry=registry
        )
        self.passes = _PassMeters(registry)

    def on_request(self, note: RequestNote) -> None:
        """An Integrator answered, or did not."""
        self.integrator_requests.labels(note.path, "none" if note.status is None else str(note.status)).inc()
        self.integrator_seconds.labels(note.path).inc(note.seconds)

    def watch(self, look: Callable[[datetime | None], Vitals], files: Callable[[], Files]) -> None:
        """Let what the database knows be part of the metrics. `look`: given when it looked last."""
        self._standing = _Standing(look, files, self.passes)
        self.registry.register(self._standing)

    def exposition(self) -> bytes:
        """The metrics as text."""
        if self._standing is not None:
            self._standing.refresh()  # it counts what others show
        return generate_latest(self.registry)


class _PassMeters:
    """What passes came to since this process started: of all processes, as the database tells of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "archiver_pass_seconds",
            "Duration of the passes that ended since this process started, of all processes.",
            ["flow", "outcome"],
            buckets=_PASSES,
            registry=registry,
        )
        self._rows = Counter(
            "archiver_pass_rows",
            "Rows that passes found new or changed, since this process started.",
            ["flow", "kind"],
            registry=registry,
        )
        self._requests = Counter(
            "archiver_pass_requests", "Requests of passes, since this process started.", ["flow"], registry=registry
        )

    def count(self, passes: Iterable[PassVitals]) -> None:
        """Passes that have ended since the last look."""
        for one in passes:
            for _ in range(one.turns):
                self._seconds.labels(one.flow, one.outcome).observe(one.seconds / one.turns)
            self._requests.labels(one.flow).inc(one.requests)
            self._rows.labels(one.flow, "new").inc(one.rows_new)
            self._rows.labels(one.flow, "changed").inc(one.rows_changed)


class _Standing(Collector):
    """How each flow stands, asked for when somebody looks, though not more often than every FRESH seconds."""

    def __init__(
        self, look: Callable[[datetime | None], Vitals], files: Callable[[], Files], passes: _PassMeters
    ) -> None:
        self._look = look
        self._files = files
        self._passes = passes
        self._lock = Lock()
        self._looked_at: datetime | None = None
        self._seen: Vitals | None = None
        self._counted: Files = []
        self._at = self._files_at = float("-inf")

    def describe(self) -> Iterable[Metric]:
        return []

    def refresh(self) -> None:
        """Ask the database, unless that was done a moment ago."""
        with self._lock:
            if time.monotonic() - self._at > FRESH:
                self._seen = self._look(self._looked_at)
                self._at = time.monotonic()
                self._passes.count(self._seen.passes)
                self._looked_at = self._seen.looked_at
            if time.monotonic() - self._files_at > FILES_FRESH:
                self._counted = self._files()
                self._files_at = time.monotonic()

    def collect(self) -> Iterable[Metric]:
        return [] if self._seen is None else _families(self._seen, self._counted)


def _families(seen: Vitals, files: Files) -> Iterable[Metric]:
    lag = GaugeMetricFamily("archiver_frontier_lag_seconds", "Age of the newest certain moment.", None, ["flow"])
    runs = GaugeMetricFamily(
        "archiver_runs", "Runs that are not sealed yet: open, pending lines, settling, stuck.", None, ["flow", "state"]
    )
    failing = GaugeMetricFamily("archiver_failures_in_a_row", "Turns that failed one after the other.", None, ["flow"])
    details = GaugeMetricFamily("archiver_details", "Downloaded files, by outcome.", None, ["flow", "outcome"])
    refused = GaugeMetricFamily(
        "archiver_login_refusals", "Times that Integrators refused the login that is held back now."
    )
    for flow in seen.flows:
        if flow.lag_seconds is not None:
            lag.add_metric([flow.flow], flow.lag_seconds)
        failing.add_metric([flow.flow], flow.failures)
    for name, state, number in seen.runs:
        runs.add_metric([name, state], number)
    for name, outcome, number in files:
        details.add_metric([name, outcome], number)
    refused.add_metric([], seen.refusals)
    return lag, runs, failing, details, refused
