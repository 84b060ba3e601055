"""One flow against its source: the list of runs twice, then each run's lines and files, newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import islice

from archiver.errors import ArchiverError, PageUnreadable, RequestRefused, SourceUnavailable
from archiver.logs import LogType, Page, Row, Run, parse_run
from archiver.queries.holdings import HeldRun, Runs, SettledRun
from archiver.verify import verdict as says
from archiver.verify.case import Case
from archiver.verify.files import judge_files
from archiver.verify.lines import judge_lines
from archiver.verify.verdict import ALARMS, Counts, Finding, Verdict
from archiver.verify.walker import FIRST, SECOND, walk

BATCH = 100  # runs whose lines are looked at in a row
ORDERED = 300  # rows that came newest first before an audit of the newest ones believes that older ones follow
SLACK = timedelta(days=1)  # by which such a list may be out of order


@dataclass(frozen=True, slots=True)
class Scope:
    """What is looked at. `since`: only runs that began then or later; `sample`: this share of the runs has its lines
    and files compared, chosen by chance. The list of runs is compared as a whole."""

    since: datetime | None = None
    sample: float = 1.0

    def words(self) -> dict[str, object]:
        """As `archive.audit` keeps it."""
        return {"since": None if self.since is None else self.since.isoformat(), "sample": self.sample}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an audit is. `total` is 0 while it is not known."""

    flow: str
    doing: str
    done: int
    total: int
    findings: int


@dataclass(slots=True)
class Audited:
    """What came of it. `errors`: why the audit, or that of a run, could not be finished."""

    flow: str
    flow_key: int
    began: datetime
    counts: Counts = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def audit_flow(case: Case, scope: Scope, *, progress: Callable[[Progress], None] = lambda _: None) -> Audited:
    """Compare a flow with its source. What goes wrong with the source is in the answer; the database's errors are
    raised, and the notebook tells where to go on."""
    book = case.book
    report = Audited(case.flow.name, case.holdings.flow_key, book.began)
    audit = _Audit(case, scope, progress)
    try:
        audit.runs()
        audit.doubts()
        audit.purged()
        audit.deep()
    except (PageUnreadable, RequestRefused, SourceUnavailable) as exc:
        report.errors.append(str(exc))
    report.errors += audit.errors
    report.counts = book.counts()
    report.findings = list(book.findings())
    return report


class _Audit:
    def __init__(self, case: Case, scope: Scope, progress: Callable[[Progress], None]) -> None:
        self.case, self.scope, self.progress = case, scope, progress
        self.flow, self.holdings, self.source, self.book, self.mender = case
        self.findings = 0
        self.errors: list[str] = []

    # --- the list of runs ---

    def runs(self) -> None:
        """Two walks; each run is judged when it is first seen."""
        for number, limit in ((1, FIRST), (2, SECOND)):
            name = f"walk {number}"
            at = int(self.book.note(name, "1"))
            if at:
                self._walk(name, limit, at)

    def _walk(self, name: str, limit: int, start: int) -> None:
        ordered = _Ordered(self.scope.since)
        for number, page in walk(self.source, self.flow, LogType.MAIN, limit=limit, start=start):
            rows = [(row, parse_run(row)) for row in page.rows]
            with self.book.step():
                self.book.count(self._judge(rows))
                self.book.set_note(name, str(number + 1))
            total = -(-page.count // limit) if page.count else 0
            self._tell(f"list of runs, {name}", number, total)
            if ordered.leaves([run for _, run in rows]):
                break
        with self.book.step():
            self.book.set_note(name, "0")

    def _judge(self, rows: Sequence[tuple[Row, Run]]) -> Counts:
        """Runs that were not judged before."""
        fresh = self.book.list_ids([_name(run) for _, run in rows])
        news = {_name(run): (row, run) for row, run in rows if _name(run) in fresh}
        answer = self.holdings.runs([one for one in news if one in fresh], [run.src_hash for _, run in news.values()])
        counts: Counts = Counter()
        for log_id, (row, run) in news.items():
            verdict = self._verdict(row, run, answer)
            if verdict is None:
                continue
            if verdict in ALARMS:
                self.book.doubt(log_id, row)
            else:
                _count_run(counts, verdict, run)
        return counts

    def _verdict(self, row: Row, run: Run, answer: Runs) -> Verdict | None:
        """None where the run is not wanted: older than what is asked for, or than what is kept."""
        if _name(run) in answer.refused or run.src_hash in answer.refused:
            return Verdict.GAP
        if run.log_id is None or run.created is None:
            return Verdict.LOST
        created = datetime.fromisoformat(run.created)
        floors = (self.flow.since, answer.standing.kept_from, self.scope.since)
        if any(floor is not None and created < floor for floor in floors):
            return None
        held = answer.held.get(run.log_id)
        if held is None:
            if answer.standing.explains(created):
                return Verdict.GAP
            return Verdict.LOST if answer.standing.promises(created) else Verdict.DELAYED
        return _of_stored(row, run, held, self.flow.redact)

    def doubts(self) -> None:
        """Ask for each doubtful run by itself, and look again: only what is wrong now is reported."""
        while doubts := self.book.next_doubts(50):
            for log_id, row in doubts:
                listed = self._asked_again(log_id, row)
                run = parse_run(listed or row)
                answer = self.holdings.runs([log_id], [run.src_hash])
                verdict = self._verdict(listed or row, run, answer)
                with self.book.step():
                    self._conclude(log_id, listed or row, run, verdict, answer, is_listed=listed is not None)
                self._tell("asking again", 0, 0)

    def _asked_again(self, log_id: int, row: Row) -> Row | None:
        """The run as it is listed now; None where it is not any more, the row itself where it cannot be asked for."""
        run = parse_run(row)
        if run.filename_uuid is None or run.log_id is None:
            return row
        page = self.source.list_logs(self.flow, LogType.MAIN, limit=25, page=1, run_id=run.filename_uuid)
        for one in page.rows:
            if parse_run(one).log_id == log_id:
                return one
        return row if page.rows else None  # others: the filter is ignored, and says nothing

    def _conclude(
        self, log_id: int, row: Row, run: Run, verdict: Verdict | None, answer: Runs, *, is_listed: bool
    ) -> None:
        self.book.settle_doubt(log_id)
        if verdict is None:
            return
        counts: Counts = Counter()
        if verdict is Verdict.STALE and not is_listed:
            verdict = Verdict.PURGED  # what it was last is what is stored, as far as anybody can tell
        _count_run(counts, verdict, run)
        self.book.count(counts)
        if verdict not in ALARMS:
            return
        what = _what(verdict, row, answer.held.get(log_id))
        if not is_listed:
            what += "; the Integrator has stopped listing it"
        mended = self._mend(row, run, verdict) if is_listed else False
        run_id = run.filename_uuid or run.original_filename_uuid
        self._report(Finding("run", 1, log_id, verdict, what, log_id, run_id, run.created, mended))

    def _mend(self, row: Row, run: Run, verdict: Verdict) -> bool:
        if self.mender is None or run.log_id is None or run.created is None:
            return False
        self.mender.put_run(run)
        answer = self.holdings.runs([run.log_id], [run.src_hash])
        return verdict in ALARMS and self._verdict(row, run, answer) not in ALARMS

    def _report(self, finding: Finding) -> None:
        self.book.find(finding)
        self.findings += 1

    # --- what is archived and not listed ---

    def purged(self) -> None:
        """Runs that were stored before the audit began, and that neither walk has shown."""
        if self.book.note("purged", "no") == "yes":
            return
        gone = sum(not self.book.is_listed(one) for one in self.holdings.run_ids(self.scope.since, self.book.began))
        with self.book.step():
            self.book.count(Counter({("run", Verdict.PURGED): gone}))
            self.book.set_note("purged", "yes")

    # --- lines and files ---

    def deep(self) -> None:
        """The lines and files of each run that was confirmed or is settling, newest first."""
        total = self.holdings.count_of_runs(self.scope.since)
        done = int(self.book.note("runs done", "0"))
        for run, first in self._ahead(self._chosen()):
            with self.book.step():
                try:
                    self._deep(run, first)
                except (PageUnreadable, RequestRefused) as exc:  # this run's own: the others need not wait for it
                    self.errors.append(f"run {run.run_id or run.log_id}: {exc}")
                done += 1
                self.book.set_note("deep", f"{run.created} {run.log_id}")
                self.book.set_note("runs done", str(done))
            self._tell("lines and files", done, total)

    def _deep(self, run: SettledRun, first: Page | ArchiverError | None) -> None:
        if isinstance(first, ArchiverError):
            raise first
        counts: Counts = Counter()
        if first is not None:
            for finding in judge_lines(self.case, run, first, counts):
                self._report(finding)
        for finding in judge_files(self.case, run, counts):
            self._report(finding)
        self.book.count(counts)

    def _chosen(self) -> Iterator[SettledRun]:
        """The runs whose turn it is, behind those that are done."""
        at = self.book.note("deep", "")
        created, _, log_id = at.rpartition(" ")
        after = (created, int(log_id)) if at else None
        while runs := self.holdings.settled_runs(self.scope.since, after, BATCH):
            for run in runs:
                if self._is_sampled(run.log_id) and self.book.is_listed(run.log_id):
                    yield run
            after = (runs[-1].created, runs[-1].log_id)

    def _is_sampled(self, log_id: int) -> bool:
        if self.scope.sample >= 1.0:
            return True
        draw = blake2b(f"{self.book.began.isoformat()} {log_id}".encode(), digest_size=8).digest()
        return int.from_bytes(draw, "big") < self.scope.sample * 2**64

    def _ahead(self, runs: Iterator[SettledRun]) -> Iterator[tuple[SettledRun, Page | ArchiverError | None]]:
        """Runs with the first page of their lines, fetched over all connections; None where lines are not wanted."""

        def first(run: SettledRun) -> Page | ArchiverError | None:
            if run.run_id is None or run.lines_pruned or "line" not in self.flow.levels:
                return None
            try:
                return self.source.list_logs(self.flow, LogType.LINE, limit=FIRST, page=1, run_id=run.run_id)
            except ArchiverError as exc:
                return exc

        width = self.source.connections
        with ThreadPoolExecutor(width, thread_name_prefix="verify") as pool:
            while some := list(islice(runs, 4 * width)):
                yield from zip(some, pool.map(first, some), strict=True)

    def _tell(self, doing: str, done: int, total: int) -> None:
        self.progress(Progress(self.flow.name, doing, done, total, self.findings))


class _Ordered:
    """Whether a list that came newest first has passed what is asked for."""

    def __init__(self, since: datetime | None) -> None:
        self._since = None if since is None else (since - SLACK).isoformat()
        self._last: str | None = None
        self._rows = 0
        self._broken = False

    def leaves(self, runs: Sequence[Run]) -> bool:
        times = [run.created for run in runs if run.created is not None]
        for created in times:
            self._broken |= self._last is not None and created > self._last and _apart(created, self._last)
            self._last = created
        self._rows += len(times)
        enough = self._since is not None and not self._broken and self._rows >= ORDERED
        return bool(enough and times and max(times) < str(self._since))


def _apart(created: str, last: str) -> bool:
    return datetime.fromisoformat(created) - datetime.fromisoformat(last) > SLACK / 2


def _name(run: Run) -> int:
    """What a run goes by: its id, or the hash of its row where it has none that can be used."""
    return run.src_hash if run.log_id is None else run.log_id


def _of_stored(row: Row, run: Run, held: HeldRun, redact: Sequence[str]) -> Verdict:
    if not held.masked and not held.odd_steps and not says.is_intact(held.log):
        return Verdict.CORRUPT
    if held.archive_state in ("open", "stuck"):
        return Verdict.OPEN
    if held.archive_state == "lost":
        return Verdict.STALE  # given up, and listed again
    if says.agrees(row, run, held.log, (*redact, *held.masked)):
        return Verdict.OPEN if held.archive_state == "pending" else Verdict.FOUND
    return Verdict.STALE if held.archive_state == "sealed" else Verdict.DELAYED


def _what(verdict: Verdict, row: Row, held: HeldRun | None) -> str:
    if held is None:
        return "the Integrator lists it, its time is certified, and it is not archived"
    if verdict is Verdict.CORRUPT:
        return says.CHANGED
    if held.archive_state == "lost":
        return "given up as lost, and the Integrator lists it"
    return f"differs from what the Integrator shows: {says.differing(row, held.log)}"


def _count_run(counts: Counts, verdict: Verdict, run: Run) -> None:
    counts["run", verdict] += 1
    counts["step", verdict] += len(run.steps)
