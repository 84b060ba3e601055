"""The lines of one finished run against its source: their list stands still, so that one look mostly settles it."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.logs import Line, LogType, Page, Row, parse_line
from archiver.queries.holdings import Lines, SettledRun
from archiver.verify import verdict as says
from archiver.verify.case import Case
from archiver.verify.verdict import ALARMS, Counts, Finding, Verdict
from archiver.verify.walker import FIRST, SECOND, walk

Listed = tuple[Row, Line]


def judge_lines(case: Case, run: SettledRun, first: Page, counts: Counts) -> Iterator[Finding]:
    """What is wrong with a run's lines. Where the first walk leaves a doubt, or does not come to the list's own count,
    a second one asks for all of them again. `first`: the first page, as it came."""
    return _Run(case, run, counts).judge(first)


class _Run:
    def __init__(self, case: Case, run: SettledRun, counts: Counts) -> None:
        self._case, self._book = case, case.book
        self._run, self._counts = run, counts
        self._held = 0
        self._stored = case.holdings.line_count(run.run_id) if run.run_id is not None else 0

    def judge(self, first: Page) -> Iterator[Finding]:
        self._book.begin_run()
        count = first.count
        for page in self._walk(FIRST, first):
            count = page.count
            self._doubt(self._fresh(page))
        if self._book.doubts_left() or count != self._book.seen:
            yield from self._again()
        self._note_purged()

    def _walk(self, limit: int, first: Page | None = None) -> Iterator[Page]:
        run_id = self._run.run_id
        for _, page in walk(self._case.source, self._case.flow, LogType.LINE, limit=limit, run_id=run_id, first=first):
            yield page

    def _fresh(self, page: Page) -> dict[int, Listed]:
        """The lines of a page that were not seen yet, by what they go by."""
        lines = {_name(line): (row, line) for row in page.rows for line in (parse_line(row),)}
        fresh = self._book.see(list(lines))
        return {one: listed for one, listed in lines.items() if one in fresh}

    def _doubt(self, lines: dict[int, Listed]) -> None:
        for one, (verdict, _, is_held) in self._verdicts(lines).items():
            self._held += is_held
            if verdict in ALARMS:
                self._book.doubt_line(one, verdict)
            else:
                self._counts["line", verdict] += 1

    def _verdicts(self, lines: dict[int, Listed]) -> dict[int, tuple[Verdict, str, bool]]:
        """What each is, why, and whether it is stored."""
        if not lines:
            return {}
        times = [line.created or self._run.created for _, line in lines.values()]
        ids = [line.log_id for _, line in lines.values() if line.log_id is not None]
        hashes = [line.src_hash for _, line in lines.values()]
        answer = self._case.holdings.lines(ids, hashes, min(times), max(times))
        return {
            one: (*self._verdict(row, line, answer), line.log_id in answer.held) for one, (row, line) in lines.items()
        }

    def _verdict(self, row: Row, line: Line, answer: Lines) -> tuple[Verdict, str]:
        if line.log_id in answer.erased:
            return Verdict.ERASED, ""
        held = answer.held.get(line.log_id) if line.log_id is not None else None
        if held is None:
            if line.src_hash in answer.refused:
                return Verdict.GAP, ""
            if self._run.archive_state != "sealed":
                return Verdict.DELAYED, ""
            return Verdict.LOST, "the Integrator lists it, its run is confirmed, and it is not archived"
        if not says.is_intact(held.log):
            return Verdict.CORRUPT, says.CHANGED
        if says.agrees(row, line, held.log, self._case.flow.redact):
            return Verdict.FOUND, ""
        if self._run.archive_state != "sealed":
            return Verdict.DELAYED, ""
        return Verdict.STALE, f"differs from what the Integrator shows: {says.differing(row, held.log)}"

    def _again(self) -> Iterator[Finding]:
        """The second walk: what was doubted is judged anew, and what the first one did not see."""
        listed_any = False
        for page in self._walk(SECOND):
            listed_any = True
            lines = {_name(line): (row, line) for row in page.rows for line in (parse_line(row),)}
            doubted, fresh = self._book.doubted(list(lines)), self._book.see(list(lines))
            yield from self._confirmed({one: lines[one] for one in lines if one in doubted or one in fresh}, fresh)
        for one, verdict in self._book.doubts_left():
            if listed_any:
                self._counts["line", verdict] += 1
                what = "the Integrator listed it a moment ago and no longer does"
                yield self._finding(one, verdict, what, None, mended=False)
            else:
                self._counts["line", Verdict.PURGED] += 1

    def _confirmed(self, lines: dict[int, Listed], fresh: set[int]) -> Iterator[Finding]:
        bad: dict[int, tuple[Verdict, str]] = {}
        for one, (verdict, what, is_held) in self._verdicts(lines).items():
            self._held += is_held and (one in fresh or self._book.doubt_of(one) is Verdict.LOST)
            self._book.settle_line(one)
            self._counts["line", verdict] += 1
            if verdict in ALARMS:
                bad[one] = (verdict, what)
        mended = self._mended({one: lines[one] for one in bad})
        for one, (verdict, what) in bad.items():
            yield self._finding(one, verdict, what, lines[one][1].created, mended=one in mended)

    def _mended(self, lines: dict[int, Listed]) -> set[int]:
        """Which of these are well after they were stored anew."""
        if self._case.mender is None or not lines or self._run.run_id is None:
            return set()
        run = (self._run.log_id, self._run.run_id, self._run.created)
        self._case.mender.put_lines([line for _, line in lines.values()], run)
        after = self._verdicts(lines)
        return {one for one, (verdict, _, _) in after.items() if verdict not in ALARMS}

    def _finding(self, one: int, verdict: Verdict, what: str, created: str | None, *, mended: bool) -> Finding:
        run = self._run
        return Finding("line", 3, one, verdict, what, run.log_id, run.run_id, created or run.created, mended)

    def _note_purged(self) -> None:
        """Lines that were archived when the look at the run began, and that the list did not show."""
        self._counts["line", Verdict.PURGED] += max(0, self._stored - self._held)


def _name(line: Line) -> int:
    return line.src_hash if line.log_id is None else line.log_id
