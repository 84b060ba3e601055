"""Lines of a run on their way into the archive: what a page becomes before it is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from archiver.logs import Line, Row, Status, field_names, glimpse, parse_columns, parse_line
from archiver.redact import page_of
from archiver.sheets.copied import texts_of

_ID, _CREATED, _RUN, _STATUS, _HASH = (
    Line._fields.index(name) for name in ("log_id", "created", "original_filename_uuid", "status", "src_hash")
)
_NEEDED = (_ID, _CREATED, _RUN)


@dataclass(slots=True, eq=False)
class Sheet:
    """Lines by log id. A line that is known already need not be read: of some there is only the page.

    `unread`: the ids of such lines, with the page's body and the rules by which it is masked.
    """

    ids: list[int] = field(default_factory=list)  # what a walk knows the rows by, one for each
    hashes: dict[int, int] = field(default_factory=dict)  # `src_hash`
    texts: dict[int, bytes] = field(default_factory=dict)  # for COPY, of lines that were read
    unread: list[tuple[list[int], bytes, tuple[str, ...]]] = field(default_factory=list)  # of the others
    failed: set[int] = field(default_factory=set)  # of those that were read
    loose: list[Line] = field(default_factory=list)  # without an id, a time or a run of their own
    times: list[str] = field(default_factory=list)  # bounds of `created`, two for each page added
    months: set[str] = field(default_factory=set)  # `2026-11`
    names: set[str] = field(default_factory=set)  # of the fields beside the columns, of those that were read

    def add(self, other: Sheet) -> None:
        """Take in a sheet that was listed later: where both have a line, the later one wins."""
        for one in self.hashes.keys() & other.hashes.keys():
            self.texts.pop(one, None)
            self.failed.discard(one)
        self.ids += other.ids
        self.hashes |= other.hashes
        self.texts |= other.texts
        self.unread += other.unread
        self.failed |= other.failed
        self.loose += other.loose
        self.times += other.times
        self.months |= other.months
        self.names |= other.names

    def keep(self, body: bytes, rules: tuple[str, ...]) -> None:
        """The page that these lines are of: from it they are read where they have only been recognised."""
        if self.hashes and not self.texts:
            self.unread.append(([*self.ids], body, rules))

    def read(self, wanted: Iterable[int]) -> None:
        """Read these lines, where it has not been done."""
        if not self.unread:
            return
        unread = set(wanted) - self.texts.keys()
        for ids, body, rules in self.unread:
            if not unread.isdisjoint(ids):
                rows = page_of(body, rules).rows
                self.add(sheet_of([row for row in rows if int(row["id"]) in unread]))

    def settle(self, run_id: str, created: str) -> None:
        """Loose lines become lines of this run: what they lack is taken from it. Those without an id stay loose."""
        some = [line for line in self.loose if line.log_id is not None]
        self.loose = [line for line in self.loose if line.log_id is None]
        self.add_lines(
            line._replace(
                created=created if line.created is None else line.created,
                original_filename_uuid=run_id if line.original_filename_uuid is None else line.original_filename_uuid,
            )
            for line in some
        )

    def add_lines(self, lines: Iterable[Line]) -> None:
        """Take in lines that were read one by one, but for their names."""
        whole: list[Line] = []
        for line in lines:
            if any(line[place] is None for place in _NEEDED):
                self.loose.append(line)
                self.ids.append(line.src_hash if line.log_id is None else line.log_id)
            else:
                whole.append(line)
        if whole:
            self.add_columns(list(zip(*whole, strict=True)))

    def add_columns(self, columns: Sequence[Sequence[Any]]) -> None:
        """Take in lines that have an id, a time and a run, given by the column."""
        ids, statuses = columns[_ID], columns[_STATUS]
        self.add_times(columns[_CREATED])
        self.ids += ids
        self.hashes.update(zip(ids, columns[_HASH], strict=True))
        self.texts.update(zip(ids, texts_of(columns), strict=True))
        if Status.FAILED in statuses or self.failed:
            for one, status in zip(ids, statuses, strict=True):
                (self.failed.add if status == Status.FAILED else self.failed.discard)(one)

    def add_times(self, created: Collection[str]) -> None:
        """Note the bounds and the months of these `created` (canonical text, at least one)."""
        self.times += (min(created), max(created))
        self.months |= {time[:7] for time in created}


def sheet_of(rows: Sequence[Row]) -> Sheet:
    """Lines as the Integrator lists them, read."""
    read = parse_columns(rows)
    sheet = Sheet(names=read.names)
    for block in read.alike:
        if any(None in block[place] for place in _NEEDED):
            sheet.add_lines(block.lines())
        else:
            sheet.add_columns(block)
    sheet.add_lines(read.odd)
    if len(sheet.hashes) + len(sheet.loose) < len(rows):  # a line is listed twice: what comes later holds
        return sheet_of_lines(map(parse_line, rows))
    return sheet


def sheet_of_lines(lines: Iterable[Line]) -> Sheet:
    """Lines that were read one by one."""
    some = list(lines)
    sheet = Sheet(names=field_names(some))
    sheet.add_lines(some)
    return sheet


def glanced(rows: Sequence[Row]) -> Sheet:
    """Lines as the Integrator lists them, which are most likely known: read only as far as it takes to recognise
    them. Whoever has their page gives it to `keep`."""
    seen = glimpse(rows)
    if seen is None:
        return sheet_of(rows)
    sheet = Sheet(ids=seen.ids, hashes=dict(zip(seen.ids, seen.hashes, strict=True)))
    sheet.add_times(seen.created)
    return sheet
