"""Reading a list from its first page to its last, as plainly as it can be done.

A page number is no place in a list that moves: a row that is deleted in front of the reader lets another slip past.
Such a row is not seen, so that nothing false is said of it; the second walk, whose pages end elsewhere, sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from archiver.config import Flow
from archiver.errors import PageUnreadable
from archiver.logs import LogType, Page

FIRST, SECOND = 100, 89  # rows of a page in the two walks
REPEATS = 3  # pages in a row that are the same: their number is ignored


class File(Protocol):
    """A download as it came."""

    @property
    def body(self) -> bytes: ...
    @property
    def too_large(self) -> bool: ...


class Source(Protocol):
    """The Integrator, as far as an audit needs it."""

    @property
    def connections(self) -> int: ...
    def list_logs(self, flow: Flow, log_type: LogType, *, limit: int, page: int, run_id: str | None = None) -> Page: ...
    def download(self, flow: Flow, log_id: int) -> File | None: ...


def walk(
    source: Source,
    flow: Flow,
    log_type: LogType,
    *,
    limit: int,
    run_id: str | None = None,
    start: int = 1,
    first: Page | None = None,
) -> Iterator[tuple[int, Page]]:
    """The pages of a list with their numbers, until one is empty. `first`: the page `start`, if it is here already."""
    number, before, repeats = start, None, 0
    while True:
        page = first or source.list_logs(flow, log_type, limit=limit, page=number, run_id=run_id)
        first = None
        if not page.rows:
            return
        ids = [row.get("id") for row in page.rows]
        repeats = repeats + 1 if ids == before else 0
        if repeats >= REPEATS:
            raise PageUnreadable(f"pages {number - repeats} to {number} are the same: the page number is ignored")
        before = ids
        yield number, page
        if len(page.rows) < limit and page.count is not None and page.count <= (number - 1) * limit + len(page.rows):
            return
        number += 1
