"""How much of a file from elsewhere is looked at."""

from __future__ import annotations

from typing import NamedTuple

_MIB = 1 << 20


class Limits(NamedTuple):
    """Bounds of memory and time. The file itself is kept in any case; beyond a bound it has no document.

    `total`: bytes that may come out of one zip. `ratio`: how many times more than went in; the first 4 MiB are free.
    `entries`: files and folders in one zip. `depth`: levels of nesting in a document; far below what jsonb takes, but
    what JSON readers and writers around it can follow. `memory`: bytes, roughly, that checking a document may take.
    """

    total: int = 64 * _MIB
    ratio: int = 500
    entries: int = 1000
    depth: int = 250
    memory: int = 192 * _MIB
