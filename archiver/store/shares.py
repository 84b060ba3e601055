"""Sharing an Integrator's request rate: any number of processes on one archive, never more requests than one may send.

A *share* is a fraction of the configured rate that a client may use until a moment, by the database's clock. Whoever
wants one gets what is fair, one over the number of those who want some, but never more than the others have left;
whoever holds more than is fair gives the rest back at the next renewal. So the fractions never add up to more than one,
whatever dies when: what a killed process held is free when its time is up. A client that sends nothing lets its share
go.
"""

from __future__ import annotations

import threading
import time
from itertools import count
from weakref import WeakSet

from sqlalchemy import Connection, Engine, text

from archiver.errors import ArchiverError, DatabaseUnavailable
from archiver.store.engine import translated

SECONDS = 8.0  # for which a share holds
RENEW = 1.5
MARGIN = 1.0  # seconds before its end from which a share is not used any more
IDLE = 4.0  # seconds without a request, after which a share is let go

# Those who look at the shares of one Integrator do so one after the other.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('archiver rate ' || :integrator, 0))")
_OTHERS = text("""
    SELECT fraction FROM archive.rate_share
    WHERE integrator = :integrator AND owner <> :owner AND held_until > clock_timestamp()
""")
_HOLD = text("""
    UPDATE archive.rate_share
    SET fraction = :fraction, held_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE integrator = :integrator AND owner = :owner
""")
# Rows are used again: a writer may delete none.
_TAKE_OVER = text("""
    UPDATE archive.rate_share
    SET owner = :owner, fraction = :fraction, held_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE (integrator, owner) IN (SELECT integrator, owner FROM archive.rate_share
        WHERE integrator = :integrator AND held_until <= clock_timestamp() LIMIT 1)
""")
_INSERT = text("""
    INSERT INTO archive.rate_share (integrator, owner, fraction, held_until)
    VALUES (:integrator, :owner, :fraction, clock_timestamp() + make_interval(secs => :seconds))
""")
_MAY_WRITE = text("SELECT has_table_privilege('archive.rate_share', 'UPDATE')")
_LET_GO = text("""
    UPDATE archive.rate_share SET fraction = 0, held_until = clock_timestamp()
    WHERE integrator = :integrator AND owner = :owner
""")


class Share:
    """What one client may use of one Integrator's rate."""

    def __init__(self, engine: Engine, integrator: str, owner: str) -> None:
        self.integrator = integrator
        self.owner = owner
        self._engine = engine
        self._fraction = 0.0
        self._until = 0.0  # by this process's monotonic clock
        self._wanted = float("-inf")  # when it was last asked for
        self._lock = threading.Lock()

    def fraction(self) -> float:
        """The fraction that holds now; 0 while the others have it all, or the database does not answer."""
        now = time.monotonic()
        self._wanted = now
        if now >= self._until:
            with self._lock:
                if time.monotonic() >= self._until:
                    self._fraction = 0.0
                    self._renew()
        return self._fraction if time.monotonic() < self._until else 0.0

    def keep(self) -> None:
        """Renew it, or let it go where nobody uses it."""
        with self._lock:
            if self._until == 0.0:
                return
            if time.monotonic() - self._wanted > IDLE:
                self._let_go()
            else:
                self._renew()

    def let_go(self) -> None:
        """Leave it to the others at once."""
        with self._lock:
            if self._until:
                self._let_go()

    def _renew(self) -> None:
        asked = time.monotonic()
        fraction: float | None
        try:
            with translated(), self._engine.begin() as connection:
                fraction = self._settle(connection)
                # Less than before is held to before the others can see it; more, only when it is certain.
                self._fraction = min(self._fraction, fraction)
        except DatabaseUnavailable:
            fraction = self._left_over()
        except ArchiverError:
            return  # what was granted holds until its end
        if fraction is not None:
            self._fraction, self._until = fraction, asked + SECONDS - MARGIN

    def _left_over(self) -> float | None:
        """What the others leave now, for an auditor whose role may not write; None for whoever may, or without a
        database."""
        try:
            with translated(), self._engine.connect() as connection:
                if connection.scalar(_MAY_WRITE):
                    return None
                others = connection.scalars(_OTHERS, {"integrator": self.integrator, "owner": self.owner})
                return max(0.0, 1.0 - float(sum(others)))
        except ArchiverError:
            return None

    def _settle(self, connection: Connection) -> float:
        bind: dict[str, object] = {"integrator": self.integrator, "owner": self.owner}
        connection.execute(_LOCK, bind)
        others: list[float] = list(connection.scalars(_OTHERS, bind))
        fraction = max(0.0, min(1.0 / (len(others) + 1), 1.0 - sum(others)))
        bind |= {"fraction": fraction, "seconds": SECONDS}
        for statement in (_HOLD, _TAKE_OVER, _INSERT):
            if connection.execute(statement, bind).rowcount:
                break
        return fraction

    def _let_go(self) -> None:
        self._fraction, self._until = 0.0, 0.0
        try:
            with translated(), self._engine.begin() as connection:
                connection.execute(_LET_GO, {"integrator": self.integrator, "owner": self.owner})
        except ArchiverError:
            return  # it ends by itself


class Shares:
    """The shares of this process, renewed by one thread while any client sends."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner
        self._numbers = count(1)
        self._shares: WeakSet[Share] = WeakSet()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def of(self, integrator: str) -> Share:
        """A share of an Integrator, for one client. It holds nothing until it is asked for."""
        share = Share(self._engine, integrator, f"{self._owner}:{next(self._numbers)}")
        with self._lock:
            self._shares.add(share)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="shares", daemon=True)
                self._thread.start()
        return share

    def _keep(self) -> None:
        while not self._stop.wait(RENEW):
            for share in self._now():
                share.keep()

    def _now(self) -> list[Share]:
        with self._lock:
            return list(self._shares)

    def close(self) -> None:
        """Leave all of it to the others."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(RENEW)
        for share in self._now():
            share.let_go()
