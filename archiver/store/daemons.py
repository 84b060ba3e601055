"""Which daemons work on the archive. Each shows itself every few seconds, and how it stands to its configuration."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, text

from archiver.store.engine import translated

_SHOW = text("""
    INSERT INTO archive.daemon (owner, flows, config_path, config_read_at, config_error)
    VALUES (:owner, :flows, :config_path, :config_read_at, :config_error)
    ON CONFLICT (owner) DO UPDATE SET seen_at = now(), flows = excluded.flows, config_path = excluded.config_path,
        config_read_at = excluded.config_read_at, config_error = excluded.config_error
""")
_FORGET = text("DELETE FROM archive.daemon WHERE owner = :owner OR seen_at < now() - interval '1 day'")


class Presence:
    """One daemon's row. `owner` is its name in leases."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner

    def show(self, flows: int, config_path: str | None, config_read_at: datetime, config_error: str | None) -> None:
        """It lives, and polls so many flows. `config_error`: why the file as it is now was not taken over."""
        bind = {
            "owner": self._owner,
            "flows": flows,
            "config_path": config_path,
            "config_read_at": config_read_at,
            "config_error": config_error,
        }
        with translated(), self._engine.begin() as connection:
            connection.execute(_SHOW, bind)

    def leave(self) -> None:
        """It ends; the rows of those that were killed go with it, a day later."""
        with translated(), self._engine.begin() as connection:
            connection.execute(_FORGET, {"owner": self._owner})
