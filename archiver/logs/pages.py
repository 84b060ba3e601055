"""Pages: the answers of `/logs`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from archiver.errors import PageUnreadable
from archiver.logs.exact import load_exact
from archiver.logs.rows import Row


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of `/logs`: its rows as they came, and what it says of itself.

    `count`: rows over all pages; `limit`: rows that a page may have. None where the source does not say so, or not as
    a natural number.
    `signpost` is the HTTP `Date` of the answer less the time that the request took: no row that the Integrator had
    accepted by then can be missing from the list for a reason of timing other than lateness.
    """

    rows: list[Row]
    count: int | None
    limit: int | None
    signpost: datetime | None = None


NO_OBJECT = "$result"
# orjson reads numbers as 64-bit integers or doubles. A longer number than this may have lost digits on the way.
_LONG = b"0" * 17
_DIGITS = bytes.maketrans(b"0123456789.", b"0" * 11)
_LONG_NUMBER = re.compile(rb"[:\[,]\s*-?[\d.]{17,}")


def parse_page(body: bytes) -> Page:
    """Read an answer of `/logs`.

    Numbers keep all their digits: those that no int or float holds become Decimal, but for sixteen digits with an
    exponent and without a point, and for what is nearer to zero than a float can be. Bytes that are no UTF-8 become
    lone surrogates; one result among others that is no object becomes one, under `NO_OBJECT`.

    Raises PageUnreadable where the body is not a JSON object with a list of objects under `results`.
    """
    try:
        page = _load(body)
    except (ValueError, RecursionError):
        raise PageUnreadable(f"the answer of {len(body):,} bytes is not JSON") from None  # the cause has a copy of it
    if not isinstance(page, dict) or not isinstance(page.get("results"), list):
        raise PageUnreadable("the answer is JSON, but it has no list of results")
    rows = page["results"]
    if not all(isinstance(row, dict) for row in rows):
        if not any(isinstance(row, dict) for row in rows):
            raise PageUnreadable("no result in the answer is an object")
        rows = [row if isinstance(row, dict) else {NO_OBJECT: row} for row in rows]  # without an id: quarantine
    return Page(rows, _natural(page.get("count")), _natural(page.get("limit")))


def _natural(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return value if type(value) is int and value >= 0 else None


def _load(body: bytes) -> Any:
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError:
        return load_exact(_decoded(body))
    if _LONG in body.translate(_DIGITS) and _LONG_NUMBER.search(body):
        return load_exact(body.decode())
    return page


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig", "surrogatepass")
    except UnicodeDecodeError:
        return body.decode("utf-8-sig", "surrogateescape")
