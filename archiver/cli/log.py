"""How the daemon's log is written: for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from archiver.cli.words import clean, clean_lines

if TYPE_CHECKING:
    from structlog.typing import Processor

    from archiver.config import Logging

# Belt and braces: nothing that logs is given a secret, and nothing that looks like one gets through.
_SECRET_NAME = re.compile(r"password|passwd|secret|token|authorization|credential|dsn", re.IGNORECASE)
_IN_URL = re.compile(r"(\w+://[^\s:/@]*):[^\s/@]+@")
_BEARER = re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+")


def configure_logging(settings: Logging, *, debug: bool = False) -> None:
    """Send the log, also that of libraries, to standard error as `settings` say; `debug` lowers the level."""
    level = logging.DEBUG if debug else logging.getLevelNamesMapping()[settings.level.upper()]
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=not console),
        structlog.stdlib.ExtraAdder(),
        # As text, before secrets are looked for. structlog's other ways show the local variables of every frame.
        structlog.processors.format_exc_info,
        _without_secrets,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=_last(console=console))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("alembic", "urllib3", "sqlalchemy", "requests"):
        logging.getLogger(chatty).setLevel(level if debug else logging.WARNING)
    # A tick that is still running when the next one is due is worth no warning: the daemon watches that itself.
    logging.getLogger("apscheduler").setLevel(level if debug else logging.ERROR)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def log_if_asked(settings: Logging, *, debug: bool) -> None:
    """The log of a command that does what the daemon does, and tells itself what came of it: none, without `debug`."""
    if debug:
        configure_logging(settings, debug=True)
    else:
        no_logging()


def no_logging() -> None:
    """Without this, structlog would print to standard output."""
    structlog.configure(processors=[_dropped], cache_logger_on_first_use=False)


def _dropped(_: Any, __: str, ___: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent


def _last(*, console: bool) -> list[Processor]:
    first: Processor = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if console:
        return [first, _harmless, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [first, structlog.processors.JSONRenderer()]


def _without_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        event[name] = "***" if _SECRET_NAME.search(name) else _masked(value)
    return event


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return _BEARER.sub(r"\1***", _IN_URL.sub(r"\1:***@", value))
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    if isinstance(value, dict):
        return {key: "***" if _SECRET_NAME.search(str(key)) else _masked(item) for key, item in value.items()}
    return value


def _harmless(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What came from the Integrator must not act on the terminal."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = clean_lines(value) if name == "exception" else clean(value)
    return event
