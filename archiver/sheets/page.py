"""Pages of lines, from the bytes of the answer."""

from __future__ import annotations

from typing import NamedTuple

from archiver.redact import page_of
from archiver.sheets.sheet import Sheet, glanced, sheet_of


class ReadPage(NamedTuple):
    """A page of lines. `total`: how many the Integrator says that there are."""

    sheet: Sheet
    total: int | None


def read_page(body: bytes, rules: tuple[str, ...]) -> ReadPage:
    """Lines, read; `rules`: of a flow's `redact`. Raises PageUnreadable."""
    page = page_of(body, rules)
    return ReadPage(sheet_of(page.rows), page.count)


def recognise_page(body: bytes, rules: tuple[str, ...]) -> ReadPage:
    """Lines that are most likely known. Those that were not read are left without their page (`Sheet.keep`)."""
    page = page_of(body, rules)
    return ReadPage(glanced(page.rows), page.count)
