"""One connection to the Integrator, and one try of a request on it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from http.client import RemoteDisconnected
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3 import HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

from archiver.client import quick
from archiver.client.body import ENCODING, read
from archiver.client.deadline import Plug, Watchdog
from archiver.config import Integrator
from archiver.errors import ConfigError

CONNECT_SECONDS = 5.0  # for one address and for the TLS handshake; also how late a stopping daemon may be
SMALL = 64 * 1024  # bytes read of a login or of an answer that is no success
_CLOSED = (RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


Meanwhile = Callable[[], None]  # what a thread has to do besides; it raises nothing


def nothing() -> None:
    """What most threads have to do meanwhile."""


class Request(NamedTuple):
    """A request. `cap`: decoded bytes read of its answer, where that is 200. `stop`: set once the caller no longer
    wants it. `meanwhile`: called at the first wait, perhaps at later ones too."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    stop: threading.Event
    cap: int
    body: bytes | None = None
    meanwhile: Meanwhile = nothing


class Response(NamedTuple):
    """An answer, read to its end. At most so many `seconds` went by from before sending until its headers were here."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    too_large: bool = False


class Overdue(Exception):
    """The deadline passed, or the client was closed."""


class Channel:
    """One connection, one request at a time. Not for two threads at once."""

    def __init__(self, integrator: Integrator, watchdog: Watchdog) -> None:
        self._plug = Plug()
        self._answered = False  # whether the headers of the try under way are here
        self._heard_at = 0.0  # since when (monotonic)
        self._deadline = 0.0
        self.besides = 0.0  # seconds of the last try in which something else was done
        self._watchdog = watchdog
        self._seconds = integrator.timeout.total_seconds()
        self._timeout = Timeout(connect=min(CONNECT_SECONDS, self._seconds), read=self._seconds)
        adapter = _Adapter(pool_connections=1, pool_maxsize=1)
        self._pool, self._prefix, self._headers = adapter.route(integrator, self._plug)

    def exchange(self, request: Request) -> Response:
        """Try once. Raises Overdue, or whatever urllib3 raises."""
        self.besides = 0.0
        self._plug.start()
        self._deadline = time.monotonic() + self._seconds
        self._watchdog.watch(self._plug, self._deadline)
        try:
            answer = self._exchange(request)
        except (HTTPError, OSError) as exc:
            if self._plug.pulled or isinstance(exc, ReadTimeoutError | TimeoutError):
                raise Overdue from None
            raise
        finally:
            self._watchdog.done(self._plug)
            self._plug.tidy()
        if self._plug.pulled:  # a pulled plug may look like the regular end of a body
            raise Overdue
        return answer

    def was_stale(self, exc: Exception) -> bool:
        """Whether the last try only met a kept connection that the server had closed: it never saw the request."""
        closed = any(isinstance(cause, _CLOSED) for cause in (*exc.args, exc.__cause__))
        return closed and not self._answered and not self._plug.fresh

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._pool.close()
        self._plug.unplug()

    def _exchange(self, request: Request) -> Response:
        self._answered = False
        target = f"{self._prefix}{request.path}?{request.query}" if request.query else self._prefix + request.path
        headers = self._headers | request.headers
        kept = self._plug.kept() if request.method == "GET" else None
        written = None if kept is None else quick.request(self._plug.host, target, headers)
        started = time.monotonic()
        if kept is not None and written is not None:
            status, said, content = quick.get(
                kept, written, lambda status: _cap(request, status), self._heard, partial(self._besides, request)
            )
            return Response(status, said, content or b"", self._heard_at - started, content is None)
        self._besides(request)
        started = time.monotonic()
        response = self._pool.urlopen(
            request.method,
            target,
            body=request.body,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,  # the target is built from base_url alone; behind a proxy the pool is the proxy's
            timeout=self._timeout,
            preload_content=False,
        )
        self._heard()
        content = read(response, _cap(request, response.status))
        return Response(response.status, response.headers, content or b"", self._heard_at - started, content is None)

    def _besides(self, request: Request) -> None:
        """What is done besides does not count for the deadline."""
        if request.meanwhile is nothing:
            return
        began = time.monotonic()
        self._watchdog.done(self._plug)
        request.meanwhile()
        self.besides += time.monotonic() - began
        self._watchdog.watch(self._plug, self._deadline + self.besides)

    def _heard(self) -> None:
        self._heard_at, self._answered = time.monotonic(), True


def _cap(request: Request, status: int) -> int:
    return request.cap if status == 200 else SMALL


class _Adapter(HTTPAdapter):
    """What requests knows of certificates and proxies, without the rest of a session."""

    def route(self, integrator: Integrator, plug: Plug) -> tuple[HTTPConnectionPool, str, dict[str, str]]:
        """A pool of one connection to the Integrator, what every path begins with, and the headers of every request."""
        url = integrator.base_url
        request = requests.Request("GET", url).prepare()
        proxies = _proxies(integrator)
        verify = str(integrator.ca_file) if integrator.ca_file else True
        try:
            pool: Any = self.get_connection_with_tls_context(request, verify, proxies)
            self.cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]
        except (OSError, ValueError):
            # Their text may hold the proxy's password.
            setting = f"integrators.{integrator.name}"
            raise ConfigError([f"{setting}: base_url, proxy or ca_file cannot be used"]) from None
        pool.ConnectionCls = partial(_Secure if pool.scheme == "https" else _Plugged, plug=plug)
        headers = {"User-Agent": "archiver", "Accept": "*/*", "Accept-Encoding": ENCODING}
        proxy = select_proxy(url, proxies)
        if proxy and url.lower().startswith("http:"):  # such a proxy wants the whole URL, and no tunnel
            return pool, url, headers | self.proxy_headers(proxy)
        return pool, urlsplit(url).path.rstrip("/"), headers


def _proxies(integrator: Integrator) -> dict[str, str]:
    if integrator.proxy == "environment":
        return dict(get_environ_proxies(integrator.base_url))
    return {"all": integrator.proxy} if integrator.proxy else {}


class _Plugged(HTTPConnection):
    """A connection that a plug can end, and that tells it the `Host` of its requests."""

    def __init__(self, *args: Any, plug: Plug, **options: Any) -> None:
        super().__init__(*args, **options)
        self._plug = plug

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        self._plug.insert(made, self)
        return made

    def putheader(self, header: Any, *values: Any) -> None:
        if header == "Host":
            self._plug.host = _host(values[0])
        super().putheader(header, *values)


class _Secure(_Plugged, HTTPSConnection):
    """A connection over TLS that a plug can end."""


def _host(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("ascii")
