"""Failed logs that were stored before the archiver knew kinds of errors."""

from __future__ import annotations

from archiver.archive.turn import Turn
from archiver.store.backlog import Backlog, owed


def recognise(turn: Turn) -> bool:
    """Give them their kinds, some a transaction; answers whether that was left to do."""
    if not owed(turn.store.engine, turn.flow_key):
        return False
    backlog, more = Backlog(), True
    while more:
        turn.breathe()
        with turn.store.writing(turn.lease) as writer:
            more = backlog.step(writer)
    return True
