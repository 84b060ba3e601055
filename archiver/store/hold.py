"""The login hold: refused credentials are not tried again for a growing while, by any process."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Engine, text

from archiver.store.engine import translated

FIRST = 15 * 60  # seconds
LONGEST = 24 * 60 * 60

_REFUSE = text("""
    INSERT INTO archive.login_hold AS hold (credentials, refusals, held_until, reason)
    VALUES (:credentials, 1, now() + make_interval(secs => :first), :reason)
    ON CONFLICT (credentials) DO UPDATE SET
        refusals = hold.refusals + 1,
        reason = excluded.reason,
        held_until = now() + make_interval(secs => least(:longest, :first * power(4, least(hold.refusals, 10))))
    RETURNING extract(epoch FROM held_until - now())::float8
""")
_REFUSED = "credentials = :credentials AND refusals > 0"


class LoginHold:
    """Holds by a digest of the credentials: changed credentials are free at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def remaining(self, credentials: str) -> tuple[float, str]:
        """Seconds for which these credentials must not be tried, and why they were refused; 0 where they may."""
        with translated(), self._engine.connect() as connection:
            held = connection.execute(
                text(
                    "SELECT extract(epoch FROM held_until - now())::float8 AS seconds, reason FROM archive.login_hold"
                    " WHERE credentials = :credentials AND held_until > now()"
                ),
                {"credentials": credentials},
            ).one_or_none()
        return (0.0, "") if held is None else (held.seconds, held.reason)

    def refuse(self, credentials: str, reason: str) -> float:
        """The credentials were refused; answers for how many seconds they are held now: 15 minutes after the first
        refusal, four times as long after each further one, a day at most, by the database's clock."""
        bind = {"credentials": credentials, "reason": reason, "first": FIRST, "longest": LONGEST}
        with translated(), self._engine.begin() as connection:
            return cast(float, connection.scalar(_REFUSE, bind))

    def accept(self, credentials: str) -> None:
        """The credentials were taken: forget that they ever were refused. Writes only where there is something to
        forget, so that a role that may only read can audit."""
        with translated(), self._engine.begin() as connection:
            bind = {"credentials": credentials}
            if connection.scalar(text(f"SELECT EXISTS (SELECT FROM archive.login_hold WHERE {_REFUSED})"), bind):
                forget = f"UPDATE archive.login_hold SET refusals = 0, held_until = now() WHERE {_REFUSED}"
                connection.execute(text(forget), bind)
