"""What went wrong, as one clear line that holds no secret."""

from __future__ import annotations

import html
import json
import ssl
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from urllib3 import exceptions

from archiver.config import Integrator

_LONGEST = 200  # characters of the server's own words in a message


def server_words(body: bytes, secrets: Iterable[str]) -> str:
    """The server's words, printable and short; a secret that it echoes is blotted out."""
    text = body[: 64 * 1024].decode("utf-8", "replace")
    for spelling in sorted({one for secret in secrets for one in _spellings(secret)} - {""}, key=len, reverse=True):
        text = text.replace(spelling, "***")
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _spellings(secret: str) -> Iterator[str]:
    """A secret as it may be echoed: as it is, and as URLs, JSON, HTML and a form of login spell it."""
    yield from (secret, quote(secret, safe=""), quote_plus(secret))
    yield from (json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    yield from (html.escape(secret, quote=quotes) for quotes in (True, False))


def fault(exc: BaseException, integrator: Integrator) -> str:
    """Why there is no answer, and what to do.

    The texts of other libraries stay out of it, and their exceptions out of the chain: they quote what came in.
    """
    setting = f"integrators.{integrator.name}"
    start = f"integrator {integrator.name}, {integrator.base_url}: "
    for kind, words in (
        (exceptions.ProxyError, f"the proxy cannot be used; check {setting}.proxy"),
        (exceptions.NameResolutionError, f"its host name is not known; check {setting}.base_url and the name service"),
        (exceptions.NewConnectionError, f"no connection{_errno(exc)}; check {setting}.base_url and the network"),
        (exceptions.ConnectTimeoutError, f"no connection within the time; check {setting}.base_url and the network"),
        (exceptions.SSLError, f"{_certificate(exc)}; check {setting}.base_url and .ca_file"),
        (exceptions.DecodeError, "its answer is compressed in a way that cannot be undone"),
        (exceptions.IncompleteRead, "its answer ended too early"),
        (exceptions.ProtocolError, "the connection broke before the answer was complete"),
    ):
        if isinstance(exc, kind):
            return start + words
    return f"{start}the request failed ({type(exc).__name__})"


def is_hopeless(exc: BaseException) -> bool:
    """Whether trying again in this call is pointless: a certificate does not become valid in a second."""
    return isinstance(exc, exceptions.SSLError) and _verification(exc) is not None


def _errno(exc: BaseException) -> str:
    cause = exc.__cause__
    return f" ({cause.strerror.lower()})" if isinstance(cause, OSError) and cause.strerror else ""


def _certificate(exc: BaseException) -> str:
    problem = _verification(exc)
    return f"its certificate is not trusted ({problem})" if problem else "TLS failed"


def _verification(exc: BaseException) -> str | None:
    """OpenSSL's reason why a certificate was not accepted, None where that was not the trouble."""
    seen: BaseException | None = exc
    while seen is not None:
        for reason in (seen, *seen.args):
            if isinstance(reason, ssl.SSLCertVerificationError):
                return str(reason.verify_message)
        seen = seen.__cause__ or seen.__context__
    return None
