"""Alerts and their messages: decided by one process at a time, sent by whichever comes first, told once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, text

from archiver.signs import Alert, Condition, Message
from archiver.store.engine import translated

_LOCK = 7_226_172_914  # one process decides at a time
KEPT = 90  # days that alerts and messages are kept when they are over

# What is open, and what is over while its end was not told.
_HELD = text("""
    SELECT alert_id, kind, subject, flow_key, level, title, detail, path, since, raised_at, resolved_at, resolution,
        told_level, told_at, told_resolved_at, acked_level,
        (SELECT max(b.told_at) FROM archive.alert b
         WHERE b.kind = a.kind AND b.subject = a.subject AND b.alert_id < a.alert_id) AS told_before
    FROM archive.alert a
    WHERE resolved_at IS NULL OR (told_level > 0 AND told_resolved_at IS NULL)
    ORDER BY alert_id
""")
_RAISE = text("""
    INSERT INTO archive.alert (kind, subject, flow_key, level, title, detail, path, since)
    VALUES (:kind, :subject, :flow_key, :level, :title, :detail, :path, :since)
    ON CONFLICT (kind, subject) WHERE resolved_at IS NULL DO NOTHING
""")
_CHANGE = text("""
    UPDATE archive.alert SET level = :level, title = :title, detail = :detail, path = :path WHERE alert_id = :alert_id
""")
_RESOLVE = text("""
    UPDATE archive.alert SET resolved_at = now(), resolution = :resolution WHERE alert_id = :alert_id
""")
_TOLD = text("""
    UPDATE archive.alert SET told_level = level, told_at = CASE WHEN :aloud THEN now() ELSE told_at END,
        told_resolved_at = CASE WHEN resolved_at IS NOT NULL THEN now() END
    WHERE alert_id IN :ids
""").bindparams(bindparam("ids", expanding=True))
_POST = text("INSERT INTO archive.alert_message (tone, title, body) VALUES (:tone, :title, :body)")
_CLAIM = text("""
    UPDATE archive.alert_message SET attempts = attempts + 1, claimed_until = now() + make_interval(secs => :seconds)
    WHERE message_id = (
        SELECT message_id FROM archive.alert_message
        WHERE done_at IS NULL AND next_attempt_at <= now() AND (claimed_until IS NULL OR claimed_until < now())
        ORDER BY message_id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING message_id, tone, title, body, delivered, attempts, extract(epoch FROM now() - made_at)::float8 AS age
""")
_DELIVERED = text("""
    UPDATE archive.alert_message SET claimed_until = NULL,
        delivered = delivered || (
            SELECT coalesce(jsonb_object_agg(channel, now()), '{}') FROM unnest(CAST(:reached AS text[])) channel
        ),
        error = :error, done_at = CASE WHEN CAST(:again AS float8) IS NULL THEN now() END,
        next_attempt_at = now() + make_interval(secs => coalesce(CAST(:again AS float8), 0))
    WHERE message_id = :message_id
""")
_UNPOLLED = text("""
    SELECT flow_key FROM archive.checkpoint
    WHERE flow_key = ANY(:keys) AND coalesce(next_due_at, '-infinity') < now() - interval '1 day'
""")


class Post(NamedTuple):
    """A message that this process has to deliver now. `delivered`: the channels that have it already."""

    message_id: int
    message: Message
    delivered: Collection[str]
    attempts: int
    age: float


class Desk:
    """One decision, in one transaction: nobody else decides until it ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def held(self) -> list[Alert]:
        """The alerts that are open, and those that are over while their end was not told."""
        return [Alert(**row._mapping) for row in self._connection.execute(_HELD)]

    def unpolled(self, keys: Sequence[int]) -> set[int]:
        """Which of these flows nobody has polled for a day."""
        return set(self._connection.scalars(_UNPOLLED, {"keys": list(keys)}))

    def raise_(self, conditions: Sequence[Condition]) -> None:
        """Open alerts for these; where one of that kind and subject is open, it stays as it is."""
        if conditions:
            self._connection.execute(_RAISE, [one._asdict() for one in conditions])

    def change(self, alert: Alert, condition: Condition) -> None:
        """An open alert as it is now: level, title, detail, path."""
        self._connection.execute(_CHANGE, {**condition._asdict(), "alert_id": alert.alert_id})

    def resolve(self, alert: Alert, resolution: str | None) -> None:
        """End an alert. `resolution`: why, for people."""
        self._connection.execute(_RESOLVE, {"alert_id": alert.alert_id, "resolution": resolution})

    def told(self, alerts: Sequence[Alert], *, aloud: bool = True) -> None:
        """These are known now as they stand; `aloud`: somebody was told."""
        if alerts:
            self._connection.execute(_TOLD, {"ids": [one.alert_id for one in alerts], "aloud": aloud})

    def post(self, message: Message) -> None:
        """Let the message be sent once this decision is committed."""
        self._connection.execute(_POST, message._asdict())


class Alerts:
    """The alerts of one archive."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def deciding(self) -> Iterator[Desk]:
        """A transaction in which nobody else decides."""
        with translated(), self._engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield Desk(connection)

    def claim(self, seconds: float) -> Post | None:
        """The oldest message that is to be sent now; nobody else gets it for so long."""
        with translated(), self._engine.begin() as connection:
            row = connection.execute(_CLAIM, {"seconds": seconds}).one_or_none()
        if row is None:
            return None
        return Post(row.message_id, Message(row.tone, row.title, row.body), row.delivered, row.attempts, row.age)

    def delivered(self, post: Post, reached: Sequence[str], error: str | None, again: float | None) -> None:
        """What came of a message: who has it now, what went wrong, and in how many seconds to try again, if ever."""
        bind: dict[str, Any] = {
            "message_id": post.message_id,
            "reached": list(reached),
            "error": error,
            "again": again,
        }
        with translated(), self._engine.begin() as connection:
            connection.execute(_DELIVERED, bind)

    def acknowledge(self, ids: Collection[int] | None, reason: str | None) -> list[int]:
        """Silence open alerts until they get worse or end (None: all of them); answers which were there."""
        statement = text("""
            UPDATE archive.alert SET acked_level = level, acked_at = now(), ack_reason = :reason
            WHERE resolved_at IS NULL AND (CAST(:ids AS bigint[]) IS NULL OR alert_id = ANY(:ids)) RETURNING alert_id
        """)
        with translated(), self._engine.begin() as connection:
            bind = {"ids": None if ids is None else list(ids), "reason": reason}
            return sorted(connection.scalars(statement, bind))

    def forget_old(self) -> None:
        """Alerts that are over, and messages, be they sent or not, are kept for a while only."""
        statements = (
            "DELETE FROM archive.alert WHERE resolved_at < now() - make_interval(days => :days)",
            "DELETE FROM archive.alert_message WHERE made_at < now() - make_interval(days => :days)",
        )
        with translated(), self._engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement), {"days": KEPT})
