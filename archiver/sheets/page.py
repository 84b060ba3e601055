"""Pages of lines, from the bytes of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archiver.logs import Row
from archiver.redact import page_of
from archiver.sheets.sheet import Sheet, glanced, sheet_of
from archiver.window import Listed


class ReadPage(NamedTuple):
    """A page of lines, and what a sweep looks at of it. `runs`: those that its lines name."""

    sheet: Sheet
    listed: Listed
    runs: frozenset[str]

    def glance(self) -> ReadPage | None:
        """The page as if its lines had only been recognised; None where some of them lack what that takes."""
        sheet = self.sheet
        if sheet.loose or not sheet.hashes:
            return None
        return self._replace(sheet=Sheet(sheet.ids, sheet.hashes, times=sheet.times, months=sheet.months))


def read_page(body: bytes, rules: tuple[str, ...]) -> ReadPage:
    """Lines, read; `rules`: of a flow's `redact`. Raises PageUnreadable."""
    page = page_of(body, rules)
    sheet = sheet_of(page.rows)
    return ReadPage(sheet, Listed.of(sheet.ids, page.count, page.limit), _runs(page.rows))


def recognise_page(body: bytes, rules: tuple[str, ...]) -> ReadPage:
    """Lines that are most likely known. Those that were not read are left without their page (`Sheet.keep`)."""
    page = page_of(body, rules)
    sheet = glanced(page.rows)
    return ReadPage(sheet, Listed.of(sheet.ids, page.count, page.limit), _runs(page.rows))


def _runs(rows: Sequence[Row]) -> frozenset[str]:
    return frozenset(run for row in rows if isinstance(run := row.get("original_filename_uuid"), str))
