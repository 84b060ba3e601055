"""Lines into the archive, those of many runs at once: a statement takes as long as a hundred lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cache
from typing import NamedTuple

import psycopg

from archiver.logs import Line, LogType, Status
from archiver.sheets import Sheet, line_of, sheet_of_lines
from archiver.store import days, errors
from archiver.store.ledger import Before, Ledger, Logs, Moves, Written
from archiver.store.rows import Put
from archiver.store.search_fields import note_fields

Of = tuple[int, str, str]  # a run: log id, run id, created


class OfRun(NamedTuple):
    """Lines of a run as pages have them. `fresh`: none of the run was stored before, so that it need not be asked
    which are; where that is not true, it is asked after all."""

    run: Of
    sheet: Sheet
    fresh: bool = False


class LineLedger(Ledger):
    """Writes lines."""

    def put_lines(self, lines: Iterable[Line], run: Of) -> Put:
        """Store lines of a run. A line without a usable time takes the run's."""
        return self.put_sheets([OfRun(run, sheet_of_lines(lines))])[0]

    def put_sheets(self, some: Sequence[OfRun]) -> list[Put]:
        """Store the lines of several runs, each given once; what became of each. Where a line is listed under two of
        them, they are stored one after the other."""
        unusable = [self._settle(one) for one in some]
        whole = Sheet()
        for one in some:
            whole.add(one.sheet)
        apart = len(whole.hashes) == sum(len(one.sheet.hashes) for one in some)
        puts = self._put_together(some, whole) if apart else [self._put_together([one], one.sheet)[0] for one in some]
        return [put._replace(refused=put.refused + more) for put, more in zip(puts, unusable, strict=True)]

    def _settle(self, one: OfRun) -> int:
        """Give lines what they lack; answers how many more are in quarantine, for want of an id."""
        (run_log_id, run_id, created), sheet, _ = one
        refused = 0
        for line in sheet.loose:
            if line.log_id is None:
                refused += self.quarantine(LogType.LINE, line.src_hash, run_log_id, line, "it has no usable id")
        sheet.settle(run_id, created)
        return refused

    def _put_together(self, some: Sequence[OfRun], whole: Sheet) -> list[Put]:
        """Store the lines of runs that share none. `whole`: all their sheets in one."""
        owner, barred = dict[int, int](), set[int]()
        for (log_id, _, _), sheet, _ in some:
            owner |= dict.fromkeys(sheet.hashes, log_id)
            if sheet.hashes:
                barred |= self._bar.lines(self._cursor, log_id, sheet.hashes.keys())
        wanted = whole.hashes.keys() - barred if barred else whole.hashes.keys()
        news, have = self._news_of([one.sheet for one in some if not one.fresh], wanted)
        try:
            put = self._put_news(whole, owner, news, have)
        except psycopg.errors.UniqueViolation:  # one that is called fresh was there before
            news, more = self._news_of([one.sheet for one in some if one.fresh], news)
            have |= more
            put = self._put_news(whole, owner, news, have)
        return self._count(some, owner, whole.failed, have, put)

    def _put_news(self, sheet: Sheet, owner: Mapping[int, int], news: Set[int], have: Mapping[int, Before]) -> Written:
        """Write lines that are new or have changed: those that have changed are in `have`. `owner`: their runs'
        log ids."""
        if not news:
            return Written()
        sheet.read(news)
        line = cache(lambda one: line_of(sheet.texts[one]))
        failed = [line(one) for one in sheet.failed & news]
        moves = Moves(self._messages((), (), failed))
        for one in failed:
            moves.look(LogType.LINE, one, one.created, one.original_filename_uuid)
        texts = sheet.texts if sheet.texts.keys() == news else {one: sheet.texts[one] for one in news}
        put = self._put(Logs(LogType.LINE, texts, line, owner.__getitem__), have, moves)
        note_fields(self._cursor, self._flow_key, sheet.names)
        errors.move(self._cursor, self._flow_key, moves.gone, moves.come)
        return put

    def _count(
        self,
        some: Sequence[OfRun],
        owner: Mapping[int, int],
        failed: Set[int],
        have: Mapping[int, Before],
        put: Written,
    ) -> list[Put]:
        """Count what was written, in the runs and in their days; what became of each run's lines."""
        puts = [Put(*(len(one.sheet.hashes.keys() & ids) for ids in put)) for one in some]
        more_failed = Counter(owner[one] for one in failed if put.wrote(one))
        more_failed.subtract(owner[one] for one in put.changed if have[one].status == Status.FAILED)
        touched = [(one.run, did) for one, did in zip(some, puts, strict=True) if did.new or did.changed]
        if touched:
            ids, lines = [run[0] for run, _ in touched], [did.new for _, did in touched]
            failures = [more_failed[one] for one in ids]
            self._run(
                "UPDATE archive.run r SET line_count = line_count + one.lines,"
                " failed_line_count = failed_line_count + one.failures"
                " FROM unnest(%(ids)s::bigint[], %(lines)s::bigint[], %(failures)s::bigint[])"
                " AS one(id, lines, failures) WHERE r.flow_key = %(flow_key)s AND r.log_id = one.id",
                ids=ids,
                lines=lines,
                failures=failures,
            )
            moments = [run[2] for run, _ in touched]
            days.add_lines(self._cursor, self._flow_key, moments, lines=lines, failed=failures)
        return puts

    def _news_of(self, sheets: Sequence[Sheet], wanted: Set[int]) -> tuple[Set[int], dict[int, Before]]:
        """The wanted lines that are new or have changed, those in none of these sheets among them; and, by id, how the
        changed ones are stored. One query for each sheet: its times say which partitions to look in."""
        have: dict[int, Before] = {}
        for sheet in sheets:
            come = sheet.hashes
            if not come.keys() <= wanted:
                come = {one: src_hash for one, src_hash in come.items() if one in wanted}
            if come:
                times = {"oldest": min(sheet.times), "newest": max(sheet.times)}
                hashes = self._hashes(come, times)
                changed = [] if hashes == come else [one for one, was in hashes.items() if was != come[one]]
                have |= self._changed(changed, times)
                wanted = wanted - (hashes.keys() - changed)
        return wanted, have

    def _hashes(self, ids: Iterable[int], times: Mapping[str, str]) -> dict[int, int]:
        """`src_hash` of those of these lines that are stored, by id."""
        # As text, for psycopg takes five times as long for a list.
        rows = self._run(f"SELECT log_id, src_hash{_STORED}", ids=f"{{{','.join(map(str, ids))}}}", **times)
        return dict(rows.fetchall())

    def _changed(self, ids: Sequence[int], times: Mapping[str, str]) -> dict[int, Before]:
        """Stored lines, by id. Most did not fail: only those that did are asked for all."""
        if not ids:
            return {}
        rows = self._run(
            "SELECT log_id, src_hash, state, status, error_key,"
            f" CASE WHEN error_key IS NOT NULL THEN {errors.MOMENT} END, original_filename_uuid{_STORED}",
            ids=list(ids),
            **times,
        )
        return {row[0]: Before(*row[1:]) for row in rows}


# `created` never changes (A2), so that it finds the partitions.
_STORED = """ FROM archive.line WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s::bigint[])
    AND created BETWEEN %(oldest)s AND %(newest)s"""
