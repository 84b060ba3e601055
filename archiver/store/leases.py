"""Leases: the right to work on a flow, for a short time, with a fence that makes a late owner harmless.

All times are the database's. A lease is renewed while its owner lives; the fence, one higher for each new owner, is
checked by every transaction that writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from sqlalchemy import Engine, text

from archiver.errors import ArchiverError
from archiver.store.engine import translated

SECONDS = 15
RENEW = 5
PATIENCE = 500  # milliseconds for a flow's row that somebody has locked; then the others have their turn
WAIT = 0.5  # between two looks at a lease that another process holds


@dataclass(frozen=True, slots=True)
class Lease:
    """`pass_id` is the number that the pass under this lease has, in its log lines and in archive.pass."""

    flow_key: int
    fence: int
    pass_id: int


# A lease that ends later than any can was granted before the database's clock was set back.
_CLAIM = text("""
    UPDATE archive.checkpoint
    SET lease_owner = :owner, lease_until = clock_timestamp() + make_interval(secs => :seconds), fence = fence + 1
    WHERE flow_key = :flow_key AND (lease_until IS NULL OR lease_until < clock_timestamp()
        OR lease_until > clock_timestamp() + 2 * make_interval(secs => :seconds))
    RETURNING fence, nextval('archive.pass_pass_id_seq')
""")
# Those that nobody has locked.
_RENEW_ALL = text("""
    UPDATE archive.checkpoint c SET lease_until = clock_timestamp() + make_interval(secs => :seconds)
    FROM (
        SELECT flow_key FROM archive.checkpoint WHERE lease_owner = :owner
            AND (flow_key, fence) IN (SELECT * FROM unnest(CAST(:keys AS int[]), CAST(:fences AS bigint[])))
        FOR NO KEY UPDATE SKIP LOCKED
    ) free WHERE c.flow_key = free.flow_key RETURNING c.flow_key
""")
_RENEW = text("""
    UPDATE archive.checkpoint SET lease_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE flow_key = :flow_key AND fence = :fence AND lease_owner = :owner
""")
_PATIENTLY = text(f"SET LOCAL lock_timeout = '{PATIENCE}ms'")
_RELEASE = text("""
    UPDATE archive.checkpoint SET lease_until = NULL, lease_owner = NULL
    WHERE flow_key = :flow_key AND fence = :fence
""")


class Leases:
    """The leases of this process, renewed by one thread while any are held."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner
        self._held: set[Lease] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def claim(self, flow_key: int) -> Lease | None:
        """The lease on a flow, or None while another process holds it."""
        with translated(), self._engine.begin() as connection:
            bind = {"owner": self._owner, "seconds": SECONDS, "flow_key": flow_key}
            claimed = connection.execute(_CLAIM, bind).one_or_none()
        if claimed is None:
            return None
        lease = Lease(flow_key, *claimed)
        with self._lock:
            self._held.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)
                self._thread.start()
        return lease

    def wait(self, flow_key: int, stopping: Callable[[], bool] = lambda: False) -> Lease | None:
        """The lease on a flow as soon as no other process holds it; None where `stopping` says so before that."""
        while not stopping():
            if (lease := self.claim(flow_key)) is not None:
                return lease
            time.sleep(WAIT)
        return None

    def release(self, lease: Lease) -> None:
        """Let another process have the flow at once. A lease that was lost already is nobody's business any more."""
        self.forget(lease)
        with translated(), self._engine.begin() as connection:
            connection.execute(_RELEASE, {"flow_key": lease.flow_key, "fence": lease.fence})

    def forget(self, lease: Lease) -> None:
        """Renew a lease no longer."""
        with self._lock:
            self._held.discard(lease)

    def _keep(self) -> None:
        pause: float = RENEW
        while not self._stop.wait(pause):
            with self._lock:
                held = set(self._held)
            pause = RENEW if self._renewed(held) else WAIT

    def _renewed(self, held: set[Lease]) -> bool:
        """Renew leases; answers whether all were. The fence decides: one that is not renewed only lets another process
        work."""
        bind: dict[str, object] = {"owner": self._owner, "seconds": SECONDS}
        left = sorted(held, key=lambda lease: lease.flow_key)
        many = {"keys": [one.flow_key for one in left], "fences": [one.fence for one in left]}
        with suppress(ArchiverError), translated(), self._engine.begin() as connection:
            free = set(connection.execute(_RENEW_ALL, bind | many).scalars())
            left = [one for one in left if one.flow_key not in free]
        locked = False
        for one in left:  # each by itself: whoever waits for one flow's row must not hold those of others
            try:
                with translated(), self._engine.begin() as connection:
                    connection.execute(_PATIENTLY)
                    connection.execute(_RENEW, bind | {"flow_key": one.flow_key, "fence": one.fence})
            except ArchiverError:
                locked = True
        return not locked

    def close(self) -> None:
        """Renew no lease any more; those that are held run out by themselves."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(RENEW)

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
