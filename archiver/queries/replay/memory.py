"""What one page learns for the next ones: where in a long list a position is."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from threading import Lock
from typing import Any

Place = tuple[Any, ...]  # what a list is sorted by, of one row


class Memory:
    """Places by list, safe between threads; the lists that were asked for least recently are forgotten,
    and of counts and other answers the oldest.

    The key of a list holds its count: a list that has grown is another list, so that no place is ever out of date.
    """

    def __init__(self, room: int = 50_000) -> None:
        self._room = room
        self._lock = Lock()
        self._places = 0
        self._lists: OrderedDict[Hashable, tuple[list[int], list[Place]]] = OrderedDict()
        self._counts: OrderedDict[Hashable, int] = OrderedDict()
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self.counting = Lock()
        """Held by whoever counts what takes long: one at a time."""

    def before(self, key: Hashable, offset: int) -> tuple[int, Place | None]:
        """The nearest known place at or before `offset`: how many rows come up to it, and the last of these."""
        with self._lock:
            known = self._lists.get(key)
            if known is None:
                return 0, None
            self._lists.move_to_end(key)
            index = bisect_right(known[0], offset)
            return (0, None) if index == 0 else (known[0][index - 1], known[1][index - 1])

    def after(self, key: Hashable, offset: int) -> Place | None:
        """The nearest known place at or behind `offset`; None where none is known."""
        with self._lock:
            known = self._lists.get(key)
            if known is None:
                return None
            index = bisect_right(known[0], offset - 1)
            return known[1][index] if index < len(known[0]) else None

    def knows(self, key: Hashable) -> bool:
        """Whether anything is known of a list."""
        with self._lock:
            return key in self._lists

    def note(self, key: Hashable, rows_before: int, place: Place) -> None:
        """Remember the row that `rows_before` rows end with."""
        with self._lock:
            positions, places = self._lists.setdefault(key, ([], []))
            self._lists.move_to_end(key)
            index = bisect_right(positions, rows_before)
            if index and positions[index - 1] == rows_before:
                return
            positions.insert(index, rows_before)
            places.insert(index, place)
            self._places += 1
            self._forget()

    def fill(self, key: Hashable, known: Sequence[tuple[int, Place]]) -> None:
        """Remember many places of a list at once, in their order."""
        with self._lock:
            old = self._lists.pop(key, ([], []))
            self._lists[key] = ([position for position, _ in known], [place for _, place in known])
            self._places += len(known) - len(old[0])
            self._forget()

    def count(self, key: Hashable) -> int | None:
        """How many rows a list has, where that took long to find out."""
        with self._lock:
            return self._counts.get(key)

    def note_count(self, key: Hashable, count: int) -> None:
        """Remember how many rows a list has."""
        with self._lock:
            self._counts[key] = count
            while len(self._counts) > 1000:
                self._counts.popitem(last=False)

    def recall(self, key: Hashable) -> Any:
        """What was kept under a key; None where nothing is known."""
        with self._lock:
            return self._kept.get(key)

    def keep(self, key: Hashable, value: Any) -> None:
        """Keep a value under a key."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > 1000:
                self._kept.popitem(last=False)

    def _forget(self) -> None:
        while self._places > self._room and len(self._lists) > 1:
            _, (positions, _) = self._lists.popitem(last=False)
            self._places -= len(positions)
        if self._places > self._room:  # one list alone: every other place will do
            ((key, (positions, places)),) = self._lists.items()
            self._lists[key] = (positions[::2], places[::2])
            self._places = len(self._lists[key][0])
