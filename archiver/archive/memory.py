"""What pages of lines said when they were last read, for as long as the process lives.

The lines of some runs are read more than once: those of failed ones after the settle time and a day later, those of
stuck ones daily, those of a list that moved at once. Most of these pages come byte for byte as before. What a page says
follows from its bytes alone, so that its digest stands for the reading; what of it is archived is looked up each time.
"""

from __future__ import annotations

import pickle
import threading
from collections import OrderedDict
from hashlib import sha256

from archiver.sheets import ReadPage

MOST = 8 * 2**20  # bytes: some 300,000 lines
_EACH = 300  # bytes that a page takes besides its own

Key = tuple[bytes, tuple[str, ...]]


class PageMemory:
    """The pages that came last, for any number of threads. `most`: bytes; 0 remembers nothing, and costs nothing."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._pages: OrderedDict[Key, bytes] = OrderedDict()  # pickled, for a Sheet grows under its reader's hands
        self._size = 0

    def find(self, body: bytes, rules: tuple[str, ...]) -> ReadPage | None:
        """The page of these bytes as `recognise_page` gives it, if it is remembered. `rules`: of a flow's `redact`."""
        if not self._pages:
            return None
        key = _key(body, rules)
        with self._lock:
            if (pickled := self._pages.get(key)) is None:
                return None
            self._pages.move_to_end(key)
        page: ReadPage = pickle.loads(pickled)  # noqa: S301 - pickled below
        return page

    def keep(self, body: bytes, rules: tuple[str, ...], page: ReadPage) -> None:
        """Remember what these bytes say; the pages that nobody has asked for longest are forgotten for it."""
        if not self._most or (glance := page.glance()) is None:
            return
        key, pickled = _key(body, rules), pickle.dumps(glance)
        with self._lock:
            if (before := self._pages.pop(key, None)) is not None:
                self._size -= len(before) + _EACH
            self._pages[key] = pickled
            self._size += len(pickled) + _EACH
            while self._size > self._most:
                self._size -= len(self._pages.popitem(last=False)[1]) + _EACH


def _key(body: bytes, rules: tuple[str, ...]) -> Key:
    return sha256(body).digest(), rules


NONE = PageMemory(0)
