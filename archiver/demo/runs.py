"""The runs of a world and the lines in them, planned once from (seed, flow, number): when they are, and how they end.

Times are epoch microseconds; a run's `created` has whole milliseconds, as main logs do on the wire.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from archiver.demo.flows import FlowShape, uuid_of
from archiver.demo.mishaps import LOGIN_MISHAPS, READ_MISHAPS, Mishap, line_mishaps

FOREVER = 1 << 62
FIRST_LINE = 16  # of the ids that a run reserves: 0 the main log, 1.. its steps, 16.. its lines
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PEOPLE = ("ayse.yilmaz@example.com\n", "integration@example.com\n", "m.ozturk@example.com\n")


def microseconds(moment: datetime | timedelta) -> int:
    """A moment as epoch microseconds, or a span in microseconds."""
    span = moment - EPOCH if isinstance(moment, datetime) else moment
    return span // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Run:
    """Everything about a run that does not depend on the time of asking."""

    flow: FlowShape
    seed: int
    number: int
    log_id: int
    uuid: str
    created: int
    finished: int  # FOREVER: it never does
    visible: int
    gone: int  # FOREVER: it stays
    lines: int
    status: int  # once it has finished
    fail_every: int  # every so manieth line fails; 0: none
    failed_step: int | None  # the step in which it broke off
    mishap: Mishap | None  # of the step in which it broke off
    triggered_by: str
    products: int  # the world's number of products
    span: int  # how long the run was meant to take

    @property
    def still(self) -> int:
        """From when on nothing about the run changes any more."""
        flow = self.flow
        habits = microseconds(max(flow.late_lines, flow.late_files, flow.late))
        return max(self.visible, self.finished + 1_000_000 + habits)  # a line finishes within a second

    @property
    def lasts(self) -> bool:
        """Whether the run and its lines stay in the list for ever."""
        return self.gone == FOREVER and self.flow.retention is None

    def is_shown(self, now: int) -> bool:
        """Whether the list of main logs shows the run."""
        return self.visible <= now < self.gone and self.created > forgotten(self.flow, now)


def forgotten(flow: FlowShape, now: int) -> int:
    """Rows created until then have left the list; the Integrator keeps its logs for a while only."""
    return -FOREVER if flow.retention is None else now - microseconds(flow.retention)


def plan(seed: int, flow: FlowShape, number: int, *, start: int, log_id: int, products: int) -> Run:
    """The run of that number: its time, its size and its fate."""
    draw = random.Random(f"{seed}/{flow.flow_id}/{number}")
    created = _run_created(seed, flow, number, start)
    fate, lines = _fate(draw, flow)
    failed_step, mishap = _breakdown(draw) if fate == "failed" else (None, None)
    lines = 0 if failed_step is not None or fate == "empty" else lines
    span = min(20_000_000 + 250_000 * lines, microseconds(flow.every) * 8 // 10)
    span = int(span * draw.uniform(0.6, 1.0)) // 1000 * 1000
    share = 1.0 if failed_step is None else flow.steps[failed_step].ends
    finished = FOREVER if fate == "unfinished" else created + int(span * share) // 1000 * 1000
    late = int(draw.random() * microseconds(flow.late)) if draw.random() < flow.late_share else 0
    return Run(
        flow=flow,
        seed=seed,
        number=number,
        log_id=log_id,
        uuid=uuid_of(blake2b(f"{seed}/{flow.flow_id}/{number}".encode(), digest_size=16).hexdigest()),
        created=created,
        finished=finished,
        visible=created + late,
        gone=_gone(draw, fate, created, span),
        lines=lines // 2 if fate == "unfinished" else lines,
        status={"failed": 3, "empty": 4}.get(fate, 2),
        fail_every=_fail_every(draw, fate, failed_step),
        failed_step=failed_step,
        mishap=mishap,
        triggered_by=draw.choice(_PEOPLE) if draw.random() < 0.04 else "System",
        products=products,
        span=span,
    )


def _run_created(seed: int, flow: FlowShape, number: int, start: int) -> int:
    number -= number % flow.equal_created
    every = microseconds(flow.every)
    jitter = random.Random(f"{seed}/{flow.flow_id}/{number}/created").random() * every / 10
    return (start + number * every + int(jitter)) // 1000 * 1000


def _fate(draw: random.Random, flow: FlowShape) -> tuple[str, int]:
    lines = round(flow.lines * draw.uniform(1 - flow.spread, 1 + flow.spread))
    shares = (
        ("failed", flow.failed),
        ("partial", flow.partial),
        ("empty", flow.empty),
        ("unfinished", flow.unfinished),
        ("vanishing", flow.vanishing),
        ("deleted", flow.deleted),
    )
    left = draw.random()
    for fate, share in shares:
        if left < share:
            return fate, lines
        left -= share
    return "well", lines


def _breakdown(draw: random.Random) -> tuple[int | None, Mishap | None]:
    """A third of the failed runs break off before their first line."""
    pick = draw.random()
    if pick < 0.1:
        return 0, draw.choice(LOGIN_MISHAPS)
    if pick < 0.33:
        return 1, draw.choice(READ_MISHAPS)
    return None, None


def _gone(draw: random.Random, fate: str, created: int, span: int) -> int:
    if fate == "vanishing":
        return created + span // 2
    if fate == "deleted":
        return created + span + int(draw.random() * 86_400_000_000)
    return FOREVER


def _fail_every(draw: random.Random, fate: str, failed_step: int | None) -> int:
    every = draw.randint(3, 25)
    if fate == "partial":
        return every
    return every if fate == "failed" and failed_step is None else 0


def line_created(run: Run, index: int) -> int:
    """When a line came to be; whole milliseconds, never before the line in front of it."""
    index -= index % run.flow.equal_created
    begins = run.flow.steps[-1].begins
    lead = int(run.span * begins)
    return (run.created + lead + index * (int(run.span * 0.97) - lead) // max(1, run.lines)) // 1000 * 1000


def line_digest(run: Run, index: int) -> bytes:
    """32 bytes of chance that belong to a line."""
    return blake2b(f"{run.uuid}/{index}".encode(), digest_size=32).digest()


def line_visible(run: Run, index: int) -> int:
    """When a line shows up in the list: at once, or late where the flow has that habit."""
    flow, created = run.flow, line_created(run, index)
    if not flow.late and not flow.late_lines:
        return created
    digest = line_digest(run, index)
    if digest[20] >= flow.late_share * 256:
        return created
    wait = int.from_bytes(digest[21:24]) / 2**24
    if flow.late_lines and run.finished != FOREVER:
        return run.finished + int(wait * microseconds(flow.late_lines))
    return created + int(wait * microseconds(flow.late))


def visible_lines(run: Run, now: int) -> range | list[int]:
    """The numbers of the lines that the list shows, in the order in which they were created."""
    if now >= run.gone:
        return range(0)
    count = bisect_right(range(run.lines), now, key=lambda index: line_created(run, index))
    first = bisect_right(range(run.lines), forgotten(run.flow, now), key=lambda index: line_created(run, index))
    if not run.flow.late and not run.flow.late_lines:
        return range(first, count)
    return [index for index in range(first, count) if line_visible(run, index) <= now]


def line_mishap(run: Run, index: int) -> Mishap | None:
    """What went wrong with a line, if anything; most failures of one run have the same cause."""
    if not run.fail_every or ((index + 1) % run.fail_every and run.lines >= run.fail_every):
        return None
    mishaps = line_mishaps(run.flow.kind)
    return mishaps[(run.number + (index % 7 == 3)) % len(mishaps)]


def counts(run: Run, now: int) -> tuple[int, int, int]:
    """Lines that a run has worked on at that time, those that went well, those that failed."""
    done = bisect_right(range(run.lines), now, key=lambda index: line_created(run, index))
    if not run.fail_every:
        return done, done, 0
    failed = done // run.fail_every if run.lines >= run.fail_every else done
    return done, done - failed, failed
