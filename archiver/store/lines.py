"""Lines into the archive, those of many runs at once: a statement takes as long as a hundred lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from functools import cache
from typing import NamedTuple

import psycopg

from archiver.logs import Line, LogType
from archiver.store import days, errors
from archiver.store.copied import line_of
from archiver.store.errors import FAILED
from archiver.store.ledger import Before, Ledger, Logs, Moves, Written
from archiver.store.rows import Put
from archiver.store.search_fields import note_fields
from archiver.store.sheets import Sheet, sheet_of_lines

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
        apart = len(set().union(*(one.sheet.hashes for one in some))) == sum(len(one.sheet.hashes) for one in some)
        puts = self._put_together(some) if apart else [self._put_together([one])[0] for one in some]
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

    def _put_together(self, some: Sequence[OfRun]) -> list[Put]:
        """The same for lines that are listed once."""
        whole, owner, barred = Sheet(), dict[int, int](), set[int]()
        for (log_id, _, _), sheet, _ in some:
            whole.add(sheet)
            owner |= dict.fromkeys(sheet.hashes, log_id)
            if sheet.hashes:
                barred |= self._bar.lines(self._cursor, log_id, sheet.hashes.keys())
        wanted = whole.hashes.keys() - barred
        have = self._before_of([one.sheet for one in some if not one.fresh], wanted)
        try:
            put = self._put_news(whole, owner, wanted, have)
        except psycopg.errors.UniqueViolation:  # one that is called fresh was there before
            have |= self._before_of([one.sheet for one in some if one.fresh], wanted)
            put = self._put_news(whole, owner, wanted, have)
        return self._count([one.run for one in some], owner, whole.failed, have, put)

    def _put_news(
        self, sheet: Sheet, owner: Mapping[int, int], wanted: Collection[int], have: Mapping[int, Before]
    ) -> Written:
        """Write what is new or has changed of the lines that are wanted. `owner`: their runs' log ids."""
        hashes = sheet.hashes
        news = [one for one in wanted if one not in have or have[one].src_hash != hashes[one]]
        if not news:
            return Written()
        sheet.read(news)
        line = cache(lambda one: line_of(sheet.texts[one]))
        failed = [line(one) for one in news if one in sheet.failed]
        moves = Moves(self._messages((), (), failed))
        for one in failed:
            moves.look(LogType.LINE, one, one.created, one.original_filename_uuid)
        texts = {one: sheet.texts[one] for one in news}
        put = self._put(Logs(LogType.LINE, texts, line, owner.__getitem__), have, moves)
        note_fields(self._cursor, self._flow_key, sheet.names)
        errors.move(self._cursor, self._flow_key, moves.gone, moves.come)
        return put

    def _count(
        self, runs: Sequence[Of], owner: Mapping[int, int], failed: Set[int], have: Mapping[int, Before], put: Written
    ) -> list[Put]:
        """Count what was written, in the runs and in their days; what became of each run's lines."""
        new, changed, refused = (Counter(map(owner.__getitem__, ids)) for ids in put)
        more_failed = Counter(owner[one] for one in failed & {*put.new, *put.changed})
        more_failed.subtract(owner[one] for one in put.changed if have[one].status == FAILED)
        touched = [run for run in runs if new[run[0]] or changed[run[0]]]
        if touched:
            ids, lines = [run[0] for run in touched], [new[run[0]] for run in touched]
            failures = [more_failed[run[0]] for run in touched]
            self._run(
                "UPDATE archive.run r SET line_count = line_count + one.lines,"
                " failed_line_count = failed_line_count + one.failures"
                " FROM unnest(%(ids)s::bigint[], %(lines)s::bigint[], %(failures)s::bigint[])"
                " AS one(id, lines, failures) WHERE r.flow_key = %(flow_key)s AND r.log_id = one.id",
                ids=ids,
                lines=lines,
                failures=failures,
            )
            moments = [run[2] for run in touched]
            days.add_lines(self._cursor, self._flow_key, moments, lines=lines, failed=failures)
        return [Put(new[log_id], changed[log_id], refused[log_id]) for log_id, _, _ in runs]

    def _before_of(self, sheets: Sequence[Sheet], wanted: Collection[int]) -> dict[int, Before]:
        """Lines as they are stored, by id. Each sheet is asked for by itself, for its times tell where to look."""
        have: dict[int, Before] = {}
        for sheet in sheets:
            if come := {one: src_hash for one, src_hash in sheet.hashes.items() if one in wanted}:
                have |= self._lines_before(come, min(sheet.times), max(sheet.times))
        return have

    def _lines_before(self, come: Mapping[int, int], oldest: str, newest: str) -> dict[int, Before]:
        """Those that have come, given by id with their hash, as they are stored; those that are unchanged with their
        hash alone. `created` never changes (A2), so that it finds the partitions."""
        stored = (
            " FROM archive.line WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s::bigint[])"
            " AND created BETWEEN %(oldest)s AND %(newest)s"
        )
        times = {"oldest": oldest, "newest": newest}
        rows = self._run(f"SELECT log_id, src_hash{stored}", ids=list(come), **times)
        hashes: dict[int, int] = dict(rows.fetchall())
        have = {one: Before(was, None, None, None, "", "") for one, was in hashes.items() if was == come[one]}
        if changed := [one for one in hashes if one not in have]:
            # Most did not fail: only those that did are asked for the rest.
            found = self._run(
                "SELECT log_id, src_hash, state, status, error_key,"
                f" CASE WHEN error_key IS NOT NULL THEN {errors.MOMENT} END, original_filename_uuid{stored}",
                ids=changed,
                **times,
            )
            have |= {row[0]: Before(*row[1:]) for row in found}
        return have
