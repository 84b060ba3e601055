"""The web page and the replayed Logs API: by themselves, or beside the daemon."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from archiver.cli import output, words
from archiver.cli.call import WrongCall, call_of, database
from archiver.cli.options import OPERATE, examples
from archiver.errors import ConfigError, MissingExtra, extra

if TYPE_CHECKING:
    from types import FrameType

    from archiver.client import RequestNote
    from archiver.config import Config
    from archiver.daemon import Workplace

one = typer.Typer()


@one.command(rich_help_panel=OPERATE, epilog=examples("archiver serve", "archiver serve --listen 127.0.0.1:9000"))
def serve(
    context: typer.Context,
    *,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Else what web.listen says, or 127.0.0.1:8080.")
    ] = None,
) -> int:
    """The web page and the replayed Logs API, alone. SIGTERM or Ctrl-C ends it.

    Beyond this machine it listens only where web.tokens has a token. `archiver run` serves the same where the
    configuration has a `web` section.
    """
    require()
    from archiver import web
    from archiver.cli.log import configure_logging

    call = call_of(context)
    config = _listening(call.any_config(), listen)
    configure_logging(config.logging, debug=call.debug)
    stop = threading.Event()

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()

    previous = {one: signal.signal(one, on_signal) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        with database(config) as engine, web.serving(engine, config, clock=_now) as server:
            output.note(f"serving on {server.url}")
            while server.thread.is_alive() and not stop.wait(1.0):
                pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0 if stop.is_set() else 1


class Beside(NamedTuple):
    """What `archiver run` does while it works: `page` serves, `on_request` counts."""

    page: Callable[[Workplace], AbstractContextManager[object]] = nullcontext
    on_request: Callable[[RequestNote], None] | None = None


def beside(config: Config) -> Beside:
    """The web page of a configuration that has a web section; else nothing."""
    if config.web is None:
        return Beside()
    require()
    from archiver import web

    meters = web.Meters()

    def serving(place: Workplace) -> AbstractContextManager[object]:
        return web.serving(place.engine, config, clock=_now, flow_keys=lambda: set(place.keys.values()), meters=meters)

    return Beside(serving, meters.on_request)


def is_installed() -> bool:
    """Whether the packages of the web page are there."""
    return all(find_spec(name) for name in ("starlette", "uvicorn", "jinja2", "prometheus_client"))


def require() -> None:
    """Raises MissingExtra where the packages of the web page are not installed."""
    if not is_installed():
        raise MissingExtra(f"the web page needs {extra('web')}")


def _listening(config: Config, listen: str | None) -> Config:
    from archiver.config import Web, is_loopback, listen_address

    web = config.web or Web()
    if listen is not None:
        try:
            host, port = listen_address(listen)
        except ValueError as exc:
            raise WrongCall(f"--listen: {words.clean(listen)!r} {exc}") from exc
        web = replace(web, host=host, port=port)
    if not is_loopback(web.host) and not web.tokens:
        raise ConfigError([f"{web.host} is reachable from other machines, and there is no token; give web.tokens"])
    return replace(config, web=web)


def _now() -> datetime:
    return datetime.now(UTC)
