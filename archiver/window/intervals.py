"""Certified intervals of `created`: what the archive is known to hold completely."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Interval(NamedTuple):
    """All rows with start <= created < end that the Integrator showed are stored. Microseconds since 1970."""

    start: int
    end: int


def cover(intervals: Iterable[Interval], start: int, end: int) -> tuple[Interval, ...]:
    """The intervals with another one added, merged where they touch, oldest first. An empty one adds nothing."""
    merged: list[Interval] = []
    for interval in sorted([*intervals, *([Interval(start, end)] if start < end else [])]):
        if merged and interval.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, interval.end))
        else:
            merged.append(interval)
    return tuple(merged)


def covers(intervals: Iterable[Interval], moment: int) -> bool:
    """Whether a moment lies inside a certified interval."""
    return any(start <= moment < end for start, end in intervals)
