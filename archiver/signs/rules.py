"""Which conditions hold, given the facts of a moment. Only what is current: history that is being read is no news."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from archiver.amounts import many, size
from archiver.signs.facts import Facts, FlowFacts, Settings, Space
from archiver.signs.words import moment, one_line, share, span

CURRENT = timedelta(days=7)  # a run that failed before is not what anybody should be called for
GRACE = timedelta(minutes=15)  # beyond a quarter more than the usual gap
LINES_AWAITED = 300.0  # seconds that a failed run's lines may take, so that its alert can name them
FEWEST_LINES = 50  # for an error rate
FEWEST_DAYS = 3  # of which usual values are learnt
KNOWN_FOR = timedelta(days=7)  # a kind of error is new where the time before it is archived
FREE = 1_000_000_000  # bytes of a disk that are too few, whatever the growth
SETTLING = 900.0  # seconds after the start in which it may still catch up


class Condition(NamedTuple):
    """Something that is not well now. `kind` and `subject` name it; `level` grows as it gets worse; `path` is of the
    page that shows it."""

    kind: str
    subject: str
    level: int
    title: str
    detail: str
    since: datetime
    flow_key: int | None = None
    path: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.subject


class View(NamedTuple):
    """What a rule looks at. `open`: the keys of the conditions that held before."""

    facts: Facts
    settings: Settings
    open: Collection[tuple[str, str]]

    def is_open(self, kind: str, subject: str) -> bool:
        """Whether a condition held before: it ends later than it begins."""
        return (kind, subject) in self.open


def conditions(facts: Facts, settings: Settings, held: Collection[tuple[str, str]] = ()) -> list[Condition]:
    """All conditions that hold, those of the archiver first. `held`: the keys of those that did before."""
    view = View(facts, settings, held)
    found = [*_logins(view), *_broken(view), *_space(view)]
    refused = {one.subject for one in found if one.kind == "login"}
    for flow in facts.flows:
        for rule in _RULES:
            if rule is not _lag or flow.integrator not in refused:
                found += rule(view, flow)
    return found


def _logins(view: View) -> Iterator[Condition]:
    """One for each Integrator, however many flows it stops."""
    for name in dict.fromkeys(flow.integrator for flow in view.facts.flows):
        stopped = [flow for flow in view.facts.flows if flow.integrator == name and flow.login_refused]
        if stopped:
            said = max((flow.last_error for flow in stopped), key=len)  # with the reason, where one has heard it
            detail = f"{one_line(said)}\n{many(len(stopped), 'flow')} cannot be read"
            yield Condition("login", name, 1, f"integrator {name} refuses the login", detail, view.facts.now)


def _broken(view: View) -> Iterator[Condition]:
    for owner, problem in view.facts.broken.items():
        title = f"the configuration on {owner} cannot be used"
        detail = f"{one_line(problem)}\nthe one before goes on"
        yield Condition("configuration", owner, 1, title, detail, view.facts.now)


def _space(view: View) -> Iterator[Condition]:
    space = view.facts.space
    if space is None or space.free is None:
        return
    days, threshold = space.days_left, view.settings.disk / timedelta(days=1)
    margin = 1.2 if view.is_open("disk", "database") else 1.0
    if days is not None and days < threshold * margin:
        title = f"the disk is full in {days:.0f} days" if days >= 2 else "the disk is full within two days"
    elif space.free < FREE * margin:
        title = f"the database's disk has {size(space.free)} left"
    else:
        return
    yield Condition("disk", "database", 1, title, _of_space(space), view.facts.now)


def _of_space(space: Space) -> str:
    grows = "" if space.growth is None else f", {size(space.growth)} more a day"
    return f"the archive has {size(space.size)}{grows}; {size(space.free or 0)} are free"


def _failed(view: View, flow: FlowFacts) -> Iterator[Condition]:
    since, newest, now = flow.failed_since, flow.failed_run_at, view.facts.now
    if flow.failed_in_a_row < view.settings.failures or since is None or newest is None or flow.covered_to is None:
        return
    if not view.is_open("failed", str(flow.flow_key)):
        awaited = not flow.is_read and flow.read_for < LINES_AWAITED
        if awaited or now - newest > CURRENT:
            return
    times = "failed" if flow.failed_in_a_row == 1 else f"failed {flow.failed_in_a_row:,} times in a row"
    zone = view.settings.timezone
    text = [f"newest failed run: {flow.failed_run or flow.failed_log_id}, {moment(newest, zone)}"]
    if flow.lines:
        text[0] += f", {flow.failed_lines:,} of {many(flow.lines, 'line')} failed"
    text.append(f"last good run: {moment(flow.last_good_at, zone)}" if flow.last_good_at else "no good run is known")
    if flow.sample:
        text.append(f"says: {one_line(flow.sample)}")
    path = f"/flows/{flow.flow_key}/runs/{flow.failed_log_id}"
    title = f"{flow.name} {times}"
    yield Condition("failed", str(flow.flow_key), 1, title, "\n".join(text), since, flow.flow_key, path)


def _stale(view: View, flow: FlowFacts) -> Iterator[Condition]:
    """Silent for longer than it ever is, up to where the archiver has looked: a dead Integrator is no silence."""
    if flow.last_run_at is None or flow.checked_at is None:
        return
    fixed = view.settings.stale_after
    if fixed is None and flow.usual_gap is None:
        return
    longest = fixed or timedelta(seconds=1.25 * (flow.usual_gap or 0.0)) + GRACE
    began = flow.last_run_at + longest
    if flow.checked_at < began or (began < flow.added_at and not view.is_open("stale", str(flow.flow_key))):
        return  # or it had long been dead when the archiver met it
    silent = (flow.checked_at - flow.last_run_at).total_seconds()
    usual = "" if flow.usual_gap is None else f"; usually a run comes within {span(flow.usual_gap)}"
    detail = f"last run: {moment(flow.last_run_at, view.settings.timezone)}, {span(silent)} ago{usual}"
    yield _of_flow("stale", flow, f"{flow.name} has not run for {span(silent)}", detail, began)


def _error_rate(view: View, flow: FlowFacts) -> Iterator[Condition]:
    fixed = view.settings.error_rate
    if flow.recent_lines < FEWEST_LINES or flow.failed_in_a_row:
        return
    if fixed is None and (flow.usual_rate is None or flow.usual_days < FEWEST_DAYS):
        return
    usual = flow.usual_rate or 0.0
    highest = fixed if fixed is not None else usual + max(0.05, 0.5 * usual)
    rate = flow.recent_failed_lines / flow.recent_lines
    if rate <= highest * (0.8 if view.is_open("error_rate", str(flow.flow_key)) else 1.0):
        return
    detail = f"{flow.recent_failed_lines:,} of the newest {many(flow.recent_lines, 'line')} failed"
    detail += "" if flow.usual_rate is None else f"; usually at most {share(usual)} do"
    if flow.sample:
        detail += f"\nsays: {one_line(flow.sample)}"
    yield _of_flow("error_rate", flow, f"{flow.name}: {share(rate)} of the lines fail", detail, view.facts.now)


def _duration(view: View, flow: FlowFacts) -> Iterator[Condition]:
    """Its newest runs take long, or the one under way does."""
    fixed, usual = view.settings.duration, flow.usual_duration
    if fixed is None and (usual is None or flow.usual_days < FEWEST_DAYS):
        return
    highest = fixed if fixed is not None else max(2 * (usual or 0.0), (usual or 0.0) + 60)
    highest *= 0.8 if view.is_open("duration", str(flow.flow_key)) else 1.0
    going = 0.0
    if flow.running_since is not None and flow.checked_at is not None:
        going = (flow.checked_at - flow.running_since).total_seconds()
    learnt = "" if usual is None else f"; usually at most {span(usual)}"
    if going > highest:
        title = f"{flow.name}: a run has been going on for {span(going)}"
        began = moment(flow.running_since or view.facts.now, view.settings.timezone)
        yield _of_flow("duration", flow, title, f"it began {began}{learnt}", view.facts.now)
    elif flow.recent_duration is not None and flow.recent_duration > highest:
        detail = f"the newest five runs took {span(flow.recent_duration)} (median){learnt}"
        yield _of_flow("duration", flow, f"{flow.name}: runs take long", detail, view.facts.now)


def _new_kinds(view: View, flow: FlowFacts) -> Iterator[Condition]:
    """New only where the time before is archived, so that a first history brings none."""
    for kind in flow.new_kinds:
        if flow.covered_from is None or flow.covered_from > kind.first_seen_at - KNOWN_FOR:
            continue
        detail = f"{many(kind.occurrences, 'time')} since {moment(kind.first_seen_at, view.settings.timezone)}"
        detail += f"\nsays: {one_line(kind.sample)}" if kind.sample else ""
        title = f"{flow.name}: a new kind of error ({kind.error_class})"
        subject = f"{flow.flow_key}/{kind.fingerprint}"
        path = f"/flows/{flow.flow_key}"
        yield Condition("new_error", subject, 1, title, detail, kind.first_seen_at, flow.flow_key, path)


def _lag(view: View, flow: FlowFacts) -> Iterator[Condition]:
    """The archiver does not get on with a flow."""
    now, certain = view.facts.now, flow.covered_to
    if not flow.failures and (flow.is_walking or view.facts.up_for < SETTLING):
        return
    if certain is None and (not flow.failures or flow.checked_at is not None):
        return
    behind = now - (flow.added_at if certain is None else certain + flow.lateness)
    if behind <= view.settings.lag + flow.two_polls:
        return
    text = [f"every run is certain up to {moment(certain, view.settings.timezone)}" if certain else "never read so far"]
    if flow.failures:
        text.append(f"failed {many(flow.failures, 'time')} in a row: {one_line(flow.last_error)}")
    if flow.retention is not None and certain is not None:
        left = (flow.retention - (now - certain)).total_seconds()
        text.append(f"in {span(left)} the Integrator drops runs that were not read" if left > 0 else _DROPPING)
    title = f"the archive of {flow.name} is {span(behind.total_seconds())} behind"
    yield _of_flow("lag", flow, title, "\n".join(text), now)


_DROPPING = "the Integrator drops runs that were not read by now"


def _missing(view: View, flow: FlowFacts) -> Iterator[Condition]:
    for kind, count, thing in (("gap", flow.gaps, "gap"), ("lost", flow.lost, "thing")):
        if count:
            title = f"{flow.name}: {many(count, thing)} {'in the archive' if kind == 'gap' else 'missing'}"
            command = f"archiver gaps --flow {shlex.quote(flow.name)}"
            detail = f"{one_line(flow.missing)}\n`{command}` lists them, `gaps ack` accepts them"
            one = _of_flow(kind, flow, title, detail, view.facts.now)
            yield one._replace(level=count)


def resolution(kind: str, flow: FlowFacts | None, zone: str) -> str | None:
    """How it ended, where there is more to say than that it did."""
    if flow is None:
        return None
    if kind == "failed" and flow.last_good_at is not None:
        return f"good again: the run of {moment(flow.last_good_at, zone)}"
    if kind == "stale" and flow.last_run_at is not None:
        return f"runs again: {moment(flow.last_run_at, zone)}"
    if kind in ("lag", "login") and flow.covered_to is not None:
        return f"every run is certain up to {moment(flow.covered_to, zone)}"
    return None


def _of_flow(kind: str, flow: FlowFacts, title: str, detail: str, since: datetime) -> Condition:
    return Condition(kind, str(flow.flow_key), 1, title, detail, since, flow.flow_key, f"/flows/{flow.flow_key}")


_RULES: tuple[Callable[[View, FlowFacts], Iterator[Condition]], ...] = (
    _lag,
    _missing,
    _failed,
    _stale,
    _error_rate,
    _duration,
    _new_kinds,
)
