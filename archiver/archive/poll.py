"""New runs, and history: the chain of windows over a flow's list of main logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from archiver.archive.turn import Turn
from archiver.errors import RequestRefused, SourceUnavailable
from archiver.logs import LogType, Page, Run, State, micros, parse_run
from archiver.store import Checkpoint, Writer
from archiver.window import Answer, Ask, Mark, Order, Outcome, Walk, cover, covers

SECOND = 1_000_000
SKEW = 5 * 60 * SECOND  # a `Date` further ahead of the database's clock is not believed
LATEST = 24 * 60 * 60 * SECOND  # lateness is never raised beyond this
EARLIEST = "2000-01-01"  # of a `created` that is believed
DOWN = (None, 429, 502, 503, 504)  # statuses that tell nothing of the page that was asked for
SLICE = 20  # windows of history, before newer things have their turn
DOUBT = 24 * 60 * 60 * SECOND  # beyond the age at which rows were seen, until an empty list is believed to have aged
ABOUT = 0.9  # of the age at which a source drops rows, which do not all go at the same one
TOO_DEEP = 3  # passes that fail at the same depth: the source does not list further


@dataclass(frozen=True, slots=True)
class Learnt:
    """What earlier passes have learnt of the source; kept in `checkpoint.source`. Times in microseconds."""

    order: Order = Order.UNKNOWN
    count_holds: bool = False
    total: int | None = None
    lateness: int = 0
    retention: int | None = None  # rows have been seen listed at this age
    late: int = 0  # rows that showed up later than the lateness
    deep: int = 0  # passes in a row that failed at `depth`
    depth: int = 0
    head: int | None = None  # `created` of the newest row listed

    @classmethod
    def from_json(cls, source: Mapping[str, Any]) -> Learnt:
        """From `checkpoint.source`, of this version or another one."""
        known = {name: source[name] for name in cls.__slots__ if name in source}
        return cls(**{**known, "order": Order(source.get("order", Order.UNKNOWN))})

    def to_json(self) -> dict[str, Any]:
        """For `checkpoint.source`."""
        return asdict(self)


def poll(turn: Turn) -> None:
    """Find what is new since the frontier, and move the frontier up.

    The first poll of a long list in order ends as soon as the order is known: the frontier stands then, and what lies
    further down is left to the backfill.
    """
    checkpoint = turn.store.checkpoint(turn.flow_key, lateness=_configured(turn))
    learnt = Learnt.from_json(checkpoint.source)
    walk = _resumed(checkpoint.walk, learnt) or _begin(turn, checkpoint, learnt)
    pass_ = _Pass(turn, checkpoint, learnt)
    while walk.outcome is Outcome.GOING:
        turn.breathe()
        walk = pass_.window(walk)
        if walk.frontier is None and walk.outcome is Outcome.GOING and walk.reach is not None:
            return
    if walk.outcome is Outcome.UNCERTIFIED:
        turn.report.errors.append(f"the list of runs could not be read for certain: {walk.reason}")


def backfill(turn: Turn, checkpoint: Checkpoint | None = None) -> bool:
    """One slice of history, down to `since`; answers whether it came further. `checkpoint`: one read since the poll."""
    checkpoint = checkpoint or turn.store.checkpoint(turn.flow_key)
    learnt = Learnt.from_json(checkpoint.source)
    walk = _resumed(checkpoint.backfill, learnt)
    if walk is None:
        if not _owes_history(turn, checkpoint, learnt):
            return False
        walk = _begin_walk(turn, checkpoint, learnt, frontier=None)
    pass_ = _Pass(turn, checkpoint, learnt, history=True)
    for _ in range(SLICE):
        turn.breathe()
        walk = pass_.window(walk)
        if walk.outcome is not Outcome.GOING:
            break
    if walk.outcome is Outcome.UNCERTIFIED:
        turn.report.errors.append(f"history could not be read for certain: {walk.reason}")
    return walk.outcome is Outcome.GOING or walk.certified


def _resumed(state: Mapping[str, Any] | None, learnt: Learnt) -> Walk | None:
    """The walk that was under way; one that believes in an order which the list was since seen not to have is over."""
    walk = Walk.from_json(state) if state else None
    return None if walk and walk.order is not learnt.order is Order.ARBITRARY else walk


def _owes_history(turn: Turn, checkpoint: Checkpoint, learnt: Learnt) -> bool:
    """Whether history is left that polls do not cover: only a list in order is polled at one end. A gap down there
    is known to be out of reach."""
    if not checkpoint.intervals or learnt.order not in (Order.NEWEST_FIRST, Order.OLDEST_FIRST):
        return False
    start = checkpoint.intervals[-1].start
    return start > _floor(turn, checkpoint) and not any(
        gap["from"] is None or micros(gap["from"]) < start for gap in checkpoint.gaps
    )


def _floor(turn: Turn, checkpoint: Checkpoint) -> int:
    """History is wanted down to `since`, and nothing of it back that was pruned."""
    return max(micros(turn.flow.since), checkpoint.kept_from or 0)


def _configured(turn: Turn) -> int:
    return int(turn.flow.lateness.total_seconds() * SECOND)


def _lateness(turn: Turn, learnt: Learnt) -> int:
    return max(_configured(turn), learnt.lateness)


def _begin_walk(turn: Turn, checkpoint: Checkpoint, learnt: Learnt, frontier: int | None, limit: int = 100) -> Walk:
    return Walk.begin(
        lateness=_lateness(turn, learnt),
        floor=_floor(turn, checkpoint),
        frontier=frontier,
        order=learnt.order,
        count_holds=learnt.count_holds,
        limit=limit,
        total=learnt.total,
        head=learnt.head,
    )


def _begin(turn: Turn, checkpoint: Checkpoint, learnt: Learnt) -> Walk:
    limit = 100
    if checkpoint.frontier is not None and learnt.order is Order.NEWEST_FIRST:
        limit = checkpoint.newer_runs + 5
    return _begin_walk(turn, checkpoint, learnt, checkpoint.frontier, limit)


class _Pass:
    """Windows of one walk, each stored in one transaction with the state of the walk."""

    def __init__(self, turn: Turn, checkpoint: Checkpoint, learnt: Learnt, *, history: bool = False) -> None:
        self.turn = turn
        self.checkpoint = checkpoint
        self.learnt = learnt
        self.history = history
        self.intervals = checkpoint.intervals

    def window(self, walk: Walk) -> Walk:
        """Ask for the next window and store what it brings."""
        ask = walk.ask()
        try:
            page = self.turn.source.list_logs(self.turn.flow, LogType.MAIN, limit=ask.limit, page=ask.page)
        except (RequestRefused, SourceUnavailable) as exc:
            down = isinstance(exc, SourceUnavailable) and exc.status in DOWN
            if ask.page == 1 or not walk.windows or down:
                raise
            return self._too_deep(walk, ask, exc)
        runs = [parse_run(row) for row in page.rows]
        wanted = [run for run in runs if not _has_believable_time(run) or micros(str(run.created)) >= walk.floor]
        marks = _marks(runs, walk, self.checkpoint.now)
        with self.turn.store.writing(self.turn.lease) as writer:
            known = self._known(writer, runs)
            put = writer.put_runs(wanted)
            finished = [run.log_id for run in wanted if run.state == State.FINISHED and run.log_id is not None]
            if put.new or put.changed:
                writer.want_details(finished, self.turn.flow.details)
            doubtful = {_name(run) for run in runs if not _has_believable_time(run)}
            self._note_late([mark for mark in marks if mark.id not in doubtful], known, walk)
            signpost = self._signpost(page, marks) if walk.signpost is None else None
            walk = walk.take(ask, Answer(marks, page.count, page.limit), known, signpost)
            self._write(writer, walk)
        self.turn.report.count_runs(put)
        return walk

    @staticmethod
    def _known(writer: Writer, runs: Sequence[Run]) -> set[int]:
        """The marks of those rows that the archive holds, be it in quarantine."""
        known = writer.known([run.log_id for run in runs if run.log_id is not None])
        news = [run for run in runs if run.log_id not in known]
        refused = writer.quarantined([run.src_hash for run in news])
        return known | {_name(run) for run in news if run.src_hash in refused}

    def _signpost(self, page: Page, marks: Sequence[Mark]) -> int:
        """D of the first answer: its Date less the time it took, else the greatest `created` that it shows."""
        now = self.checkpoint.now
        if page.signpost is None:
            return min(max((mark.created for mark in marks), default=0), now)
        date = micros(page.signpost)
        if abs(date - now) > SKEW:
            skew = (date - now) // SECOND
            self.turn.report.notes.append(f"the Integrator's clock is {skew:+d} s off the database's")
        return min(date, now) if date - now > SKEW else date

    def _note_late(self, marks: Sequence[Mark], known: set[int], walk: Walk) -> None:
        """A row that shows up where all was certified came later than Λ: raise Λ to what it took."""
        frontier = self.checkpoint.frontier
        if frontier is None or walk.floor > frontier:
            return
        late = [
            mark
            for mark in marks
            if mark.id not in known and mark.created >= walk.floor and covers(self.intervals, mark.created)
        ]
        if late:
            seen_free_of_it = frontier + walk.lateness  # the signpost of the pass that certified up to there
            needed = seen_free_of_it - min(mark.created for mark in late) + SECOND
            self.learnt = replace(
                self.learnt, lateness=max(self.learnt.lateness, min(needed, LATEST)), late=self.learnt.late + len(late)
            )
            self.turn.report.late += len(late)

    def _write(self, writer: Writer, walk: Walk) -> None:
        """The state of the pass; at its end, the certificate."""
        if walk.outcome is Outcome.GOING:
            if walk.order is Order.ARBITRARY is not self.learnt.order:
                self._learn(writer, walk)  # at once: no other pass may stop early any more
            if walk.reach is not None and (self.history or walk.frontier is None) and walk.ordered:
                self._cover(writer, max(walk.reach, walk.floor), walk.settled, walk)
                if not self.history:
                    writer.save_walk(None)
                writer.save_backfill(walk.to_json())
            else:
                self._save(writer, walk.to_json())
            return
        self._save(writer, None)
        if walk.outcome is Outcome.EMPTY:
            self._empty(writer, walk)
        elif walk.certified:
            self._certify(writer, walk)

    def _save(self, writer: Writer, state: Mapping[str, Any] | None) -> None:
        (writer.save_backfill if self.history else writer.save_walk)(state)

    def _cover(self, writer: Writer, start: int, end: int, walk: Walk) -> None:
        self.intervals = cover(self.intervals, start, end)
        writer.certify(self.intervals, end)
        self._learn(writer, walk)

    def _learn(self, writer: Writer, walk: Walk, **more: Any) -> None:
        order = Order.ARBITRARY if self.learnt.order is Order.ARBITRARY else walk.order
        self.learnt = replace(self.learnt, order=order, count_holds=walk.count_holds, total=walk.count, **more)
        if not self.history and walk.probe.newest is not None:
            self.learnt = replace(self.learnt, head=walk.probe.newest)
        if self.history or not self.checkpoint.backfill:  # a poll at the head says nothing of how deep history goes
            self.learnt = replace(self.learnt, deep=0, depth=0)
        writer.save_source(self.learnt.to_json())

    def _certify(self, writer: Writer, walk: Walk) -> None:
        whole = walk.outcome is Outcome.ENDED or (
            bool(walk.border) and walk.outermost.created < walk.floor - walk.lateness
        )
        if whole and not self.history:
            self._note_purged(writer, walk)
        start = walk.floor if whole or walk.frontier is None else walk.frontier
        self._cover(writer, min(start, walk.settled), walk.settled, walk)
        if whole and not self.history:
            writer.save_backfill(None)

    def _note_purged(self, writer: Writer, walk: Walk) -> None:
        """At the end of the list: how long does the source keep rows, and did it drop some that nobody had read?"""
        listed = walk.probe.oldest if walk.probe.oldest is not None else walk.settled
        stored, signpost = self.checkpoint.newest_run, walk.settled + walk.lateness
        retention = max(self.learnt.retention or 0, signpost - listed)
        if stored is not None and stored < listed and (age := signpost - stored) < retention:
            # It drops rows earlier than it did. Much earlier: sure is only that what it shows is not dropped yet.
            retention = age if age > retention * ABOUT else signpost - listed
        self.learnt = replace(self.learnt, retention=retention)
        if walk.frontier is None or stored is None or listed <= walk.frontier:
            return
        certified_at = walk.frontier + walk.lateness
        if certified_at < listed and signpost - certified_at > retention:
            writer.add_gap(walk.frontier, listed, "the Integrator had dropped rows before they were read")
            self.turn.report.errors.append("rows may be missing: the Integrator dropped some while nobody read them")

    def _empty(self, writer: Writer, walk: Walk) -> None:
        newest = self.checkpoint.newest_run
        if newest is None:
            self.turn.report.notes.append("no run was ever listed: is the flow's id right?")
            return
        if self._has_aged(writer, newest, walk.settled + walk.lateness):
            start = walk.floor if walk.frontier is None else walk.frontier
            self._cover(writer, min(start, walk.settled), walk.settled, walk)
            return
        self.turn.is_list_credible = False
        self.turn.report.errors.append(
            "the list of runs is suddenly empty, though newer runs were stored than it drops: check the ids of the flow"
            " and of its project; the frontier stays where it is"
        )

    def _has_aged(self, writer: Writer, newest: int, signpost: int) -> bool:
        """Whether the newest run is old enough to have gone from the list. What nobody has seen a source drop before
        is doubted for a day."""
        retention, oldest = self.learnt.retention, writer.oldest_run()
        if retention is None or oldest is None:
            return False
        drops = signpost - oldest > retention + DOUBT
        return signpost - newest > retention + (0 if drops else DOUBT)

    def _too_deep(self, walk: Walk, ask: Ask, exc: Exception) -> Walk:
        """The source answers for the first pages and not for a deep one. After a few passes, that is its limit, be it
        that it is out of order or that it refuses: a gateway in between refuses now and then what it does not like."""
        same = ask.start >= self.learnt.depth > 0
        deep = self.learnt.deep + 1 if same else 1
        self.learnt = replace(self.learnt, deep=deep, depth=self.learnt.depth if same else ask.start)
        with self.turn.store.writing(self.turn.lease) as writer:
            writer.save_source(self.learnt.to_json())
            if deep < TOO_DEEP:
                self._save(writer, walk.to_json())
            else:
                end = max(walk.reach, walk.floor) if walk.reach is not None else None
                start = walk.floor if self.history or walk.frontier is None else walk.frontier
                if end is None or start < end:
                    writer.add_gap(start, end, f"depth_limited: the Integrator lists no further than row {ask.start:,}")
                self._save(writer, None)
                if end is not None and end < walk.settled:
                    self._cover(writer, end, walk.settled, walk)
        if deep >= TOO_DEEP:
            self.turn.report.errors.append(f"the Integrator lists no further than row {ask.start:,}: gap recorded")
            return Walk(walk.lateness, walk.floor, outcome=Outcome.STOPPED)
        raise exc


def _has_believable_time(run: Run) -> bool:
    """Whether `created` can be believed: seconds taken for milliseconds are a day of 1970. A run of which it cannot is
    kept, and says nothing of where the list has come to."""
    return run.created is not None and run.created >= EARLIEST


def _marks(runs: Sequence[Run], walk: Walk, now: int) -> list[Mark]:
    """What the walk looks at. A row without usable id or time keeps its place, by its hash and its neighbour's time."""
    marks: list[Mark] = []
    first = next((micros(str(run.created)) for run in runs if _has_believable_time(run)), now)
    created = walk.outermost.created if walk.border else first
    for run in runs:
        created = micros(str(run.created)) if _has_believable_time(run) else created
        marks.append(Mark(_name(run), created))
    return marks


def _name(run: Run) -> int:
    return run.src_hash if run.log_id is None or run.created is None else run.log_id
