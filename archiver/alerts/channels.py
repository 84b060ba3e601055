"""The channels: Apprise's, and the heartbeat. The only place where alerts leave the machine."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import requests
from pydantic import SecretStr

from archiver.errors import ConfigError, MissingExtra, extra
from archiver.signs import Message

if TYPE_CHECKING:
    from apprise import NotifyBase

CONNECT, READ = 5.0, 20.0  # seconds of a heartbeat
SHORTEST = 4  # characters of what is taken for a secret in what a channel says

_TONES = {"problem": "warning", "recovery": "success", "test": "info"}


class Delivery(NamedTuple):
    """What came of a message on one channel; `error` is empty where it was delivered."""

    channel: str
    error: str = ""


class Channel:
    """One address. Its name tells kind and host, and nothing that is secret."""

    def __init__(self, number: int, url: SecretStr, notifier: NotifyBase) -> None:
        host = _host(url.get_secret_value()) if notifier.template_tokens.get("host") else ""
        self.name = f"{number} {notifier.service_name}" + (f" {host}" if host else "")
        self._secrets = _secrets(url.get_secret_value())
        self._notifier = notifier

    def send(self, message: Message) -> Delivery:
        """Blocks for as long as the channel's own time limits let it."""
        with _said() as words:
            try:
                done = self._notifier.notify(
                    title=message.title, body=message.body, notify_type=_TONES.get(message.tone, "info")
                )
            except Exception as exc:  # noqa: BLE001 - a hundred channels, none of which may end the archiver
                words.append(type(exc).__name__)
                done = False
        if done:
            return Delivery(self.name)
        return Delivery(self.name, self._harmless("; ".join(dict.fromkeys(words))) or "it was not delivered")

    def _harmless(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return re.sub(r"\w+://\S+", "***", text)[:300]


class Channels:
    """All addresses of a configuration. Raises MissingExtra, or ConfigError for an address that is none."""

    def __init__(self, urls: Sequence[SecretStr]) -> None:
        self._all: list[Channel] = []
        if not urls:
            return
        if find_spec("apprise") is None:
            raise MissingExtra(f"alerts need {extra('alerts')}")
        import apprise

        asset = apprise.AppriseAsset(app_id="archiver", app_desc="archiver", app_url="", secure_logging=True)
        for number, url in enumerate(urls, 1):
            with _said():
                notifier = apprise.Apprise.instantiate(url.get_secret_value(), asset=asset, suppress_exceptions=True)
            if notifier is None:
                kind = url.get_secret_value().partition(":")[0]
                problem = f"Apprise makes nothing of this {kind}:// address; see docs/alerts.md"
                raise ConfigError([f"alerts.to[{number - 1}]: value ***: {problem}"])
            self._all.append(Channel(number, url, notifier))

    @property
    def names(self) -> list[str]:
        """What deliveries call them, in the order of the configuration."""
        return [one.name for one in self._all]

    def send(self, message: Message, *, besides: Sequence[str] = ()) -> Iterator[Delivery]:
        """To each channel but those that have it, one after the other."""
        for one in self._all:
            if one.name not in besides:
                yield one.send(message)


def beat(url: SecretStr) -> str:
    """Ask for the heartbeat's address; why that failed, or nothing."""
    try:
        answer = requests.get(
            url.get_secret_value(), timeout=(CONNECT, READ), headers={"User-Agent": "archiver"}, stream=True
        )
        answer.close()
    except requests.RequestException as exc:
        return type(exc).__name__  # its text names the address
    return "" if answer.status_code < 400 else f"it answered {answer.status_code}"


@contextmanager
def _said() -> Iterator[list[str]]:
    """What Apprise logs in this thread: its only way to say what went wrong. None of it goes into our own log."""
    words: list[str] = []
    mine = threading.get_ident()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == mine:
                words.append(record.getMessage())

    logger, ear = logging.getLogger("apprise"), Ear(logging.WARNING)
    logger.addHandler(ear)
    logger.propagate = False
    try:
        yield words
    finally:
        logger.removeHandler(ear)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _secrets(url: str) -> list[str]:
    """Whatever in an address may be secret: all of it but scheme and host, piece by piece, the longest first."""
    rest: Any = url.partition("://")[2]
    pieces = {piece for piece in re.split(r"[/?&=:@#]", rest) if len(piece) >= SHORTEST and piece != _host(url)}
    return sorted(pieces | {unquote(piece) for piece in pieces} | {rest}, key=len, reverse=True)
