"""Failed logs that were stored before the archiver knew kinds of errors."""

from __future__ import annotations

from archiver.archive.turn import Turn
from archiver.store.backlog import Backlog, classify, owed


def recognise(turn: Turn) -> bool:
    """Give them their kinds, some a transaction; answers whether that was left to do."""
    left = owed(turn.store.engine, turn.flow_key)
    if left.classes:
        with turn.store.writing(turn.lease) as writer:
            classify(writer)
    backlog, more = Backlog(), left.kinds
    while more:
        turn.breathe()
        with turn.store.writing(turn.lease) as writer:
            more = backlog.step(writer)
    return left.kinds
