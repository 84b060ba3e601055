"""What is known at a moment: of each flow, of the archiver, of the room that is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator has decided. None learns a threshold from the flow's own past; infinity switches it off."""

    failures: int = 1
    stale_after: timedelta | None = None
    error_rate: float | None = None  # a share
    duration: float | None = None  # seconds
    lag: timedelta = timedelta(hours=1)
    disk: timedelta = timedelta(days=14)
    quiet: tuple[time, time] | None = None
    cooldown: timedelta = timedelta(minutes=30)
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class NewKind:
    """A kind of error that happened for the first time lately."""

    fingerprint: str
    error_class: str
    first_seen_at: datetime
    occurrences: int
    sample: str


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """One flow. Shares are between 0 and 1, durations and gaps in seconds; None where nothing is known.

    `failed_in_a_row` counts its newest finished runs, `failures` the archiver's own turns. `recent_…` are of its newest
    finished runs, `usual_…` of the days before. `missing`: what is known to be missing and not accepted, by whether it
    is a gap in time.
    """

    flow_key: int
    name: str
    integrator: str
    added_at: datetime
    lateness: timedelta = timedelta(minutes=10)
    two_polls: timedelta = timedelta(minutes=10)  # how long these take to come, from `covered_to` and `lateness` on
    covered_from: datetime | None = None
    covered_to: datetime | None = None
    checked_at: datetime | None = None
    is_walking: bool = False
    failures: int = 0
    last_error: str = ""
    login_refused: bool = False  # in the last turn
    retention: timedelta | None = None
    last_run_at: datetime | None = None
    last_good_at: datetime | None = None
    failed_in_a_row: int = 0
    failed_since: datetime | None = None
    failed_run_at: datetime | None = None
    failed_run: str = ""
    failed_log_id: int | None = None
    failed_lines: int = 0
    lines: int = 0
    is_read: bool = True  # the newest failed run's lines are archived
    read_for: float = 0.0  # seconds since it was seen
    sample: str = ""
    usual_gap: float | None = None
    recent_lines: int = 0
    recent_failed_lines: int = 0
    usual_rate: float | None = None
    recent_duration: float | None = None
    usual_duration: float | None = None
    usual_days: int = 0
    running_since: datetime | None = None
    new_kinds: tuple[NewKind, ...] = ()
    gaps: int = 0
    lost: int = 0
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Space:
    """The database: bytes, bytes more each day, bytes free; None where that cannot be known."""

    size: int
    growth: float | None
    free: int | None = None

    @property
    def days_left(self) -> float | None:
        """Until the disk is full, at the rate of the last week."""
        if self.free is None or not self.growth or self.growth <= 0:
            return None
        return self.free / self.growth


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it. `up_for`: seconds since the archiver that asks has started; `broken`: by daemon, why its
    configuration was not taken over."""

    now: datetime
    flows: tuple[FlowFacts, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    space: Space | None = None
    up_for: float = float("inf")
