"""The replayed API over an archive that a test has made: a real server on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine

from archiver import web
from archiver.config import Config, Web
from archiver.store import connect

TOKEN = "the-token-of-the-tests"


def now() -> datetime:
    return datetime.now(UTC)


def config_of(*tokens: str, **settings: Any) -> Config:
    """A configuration without flows, for a server on a free port."""
    return Config(
        path=None,
        data_dir=Path("unused").absolute(),
        web=Web("127.0.0.1", 0, tuple(SecretStr(token) for token in tokens), **settings),
    )


@contextmanager
def replaying(
    database: str | Engine,
    *tokens: str,
    clock: Callable[[], datetime] = now,
    flow_keys: tuple[int, ...] | None = None,
    meters: web.Meters | None = None,
    **settings: Any,
) -> Iterator[str]:
    """The URL of a web server over an archive."""
    engine = connect(database) if isinstance(database, str) else database
    config = config_of(*(tokens or (TOKEN,)), **settings)
    polled = None if flow_keys is None else lambda: flow_keys
    with web.serving(engine, config, clock=clock, flow_keys=polled, meters=meters) as server:
        yield server.url
    if isinstance(database, str):
        engine.dispose()
