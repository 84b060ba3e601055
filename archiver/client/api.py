"""The calls of the Logs API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple, Self, TypeVar
from urllib.parse import quote_plus

from archiver.client.ahead import Ahead, AskAgain
from archiver.client.channel import Channel, Meanwhile, Request, Response, nothing
from archiver.client.login import Login, LoginHold, is_token
from archiver.client.pace import READING
from archiver.client.wire import RequestNote, Share, Wire
from archiver.client.words import server_words
from archiver.config import Flow, Integrator
from archiver.errors import ConfigError, PageUnreadable, RequestRefused
from archiver.logs import LogType, Page
from archiver.redact import page_of

PAGE_CAP = 64 * 1024 * 1024  # decoded bytes of a page; 100 rows have some 50,000
DOWNLOAD_CAP = 256 * 1024 * 1024
_READS = 3  # of a page that cannot be read
_EMPTY = b'{"count":0,"results":[]}'  # in place of a 404
# Which spelling the vendor's page has for each path comes first.
_SPELLINGS = {"/logs": ("projectid", "projectId"), "/logs/download": ("projectId", "projectid")}

T = TypeVar("T")
Query = dict[str, object]
Read = Callable[[bytes, tuple[str, ...]], T]  # a page, given its body and what is to be masked


class Download(NamedTuple):
    """A log file as it came, its Content-Encoding undone; without its body where it is longer than DOWNLOAD_CAP.

    A body is as long as the Integrator said. Where it did not say, it may have been cut: only the zip's CRC can tell.
    """

    body: bytes
    too_large: bool = False


class Client:
    """One Integrator, for any number of threads: its rate, connections and login are shared by all of them.

    `wait` takes the place of the waiting between requests (seconds), `on_request` is called after each of them, in the
    thread that made it; `share` tells which part of the rate other processes leave to this client. Every call raises
    SourceUnavailable for what may pass, LoginRefused for refused credentials, RequestRefused for what the Integrator
    will not answer; after `close`, and in calls then under way, the first.
    """

    def __init__(
        self,
        integrator: Integrator,
        hold: LoginHold,
        *,
        wait: Callable[[float], object] | None = None,
        on_request: Callable[[RequestNote], None] | None = None,
        share: Share | None = None,
    ) -> None:
        if integrator.token is not None and not is_token(integrator.token.get_secret_value()):
            raise ConfigError([f"integrators.{integrator.name}.token: is no token; it must be one printable word"])
        self._integrator = integrator
        self._wire = Wire(integrator, on_request, wait, share)
        self._login = Login(integrator, hold, self._wire)
        self._stop = self._wire.stop_event()
        self._spelling: dict[str, str] = {}
        self._ahead: Ahead | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def requests(self) -> int:
        """HTTP requests sent so far: logins, and each try, included."""
        return self._wire.requests

    @property
    def connections(self) -> int:
        """Requests that may be under way at the same time."""
        return self._integrator.connections

    def close(self) -> None:
        """End the calls under way in other threads, and all connections. Does not wait for those threads."""
        self._wire.close()
        with self._lock:
            if self._ahead is not None:
                self._ahead.close()

    def login(self) -> None:
        """Log in now, to see whether the credentials hold. Does nothing for a fixed token."""
        self._login.renew()

    def list_logs(self, flow: Flow, log_type: LogType, *, limit: int, page: int, run_id: str | None = None) -> Page:
        """One page of a flow's logs, of all or of one run (the execution id `run_id`); a 404 is an empty one.

        Its signpost is the answer's HTTP `Date` less the seconds that the request took. Raises PageUnreadable where
        the answer is no page even when asked for again.
        """
        fetch, read = self._listing(flow, _query(flow, log_type, limit, page, run_id), self._stop, page_of)
        while True:
            with suppress(AskAgain):
                answer = fetch(nothing)
                return replace(read(answer), signpost=_signpost(answer))

    @contextmanager
    def ahead(
        self, flow: Flow, log_type: LogType, read: Read[T]
    ) -> Iterator[Callable[[tuple[int, int], str | None], Callable[[], T]]]:
        """Pages `(limit, page)` of a flow or of one run, fetched over all connections while the caller does something
        else, and read by the thread that fetched them; each ask gives the call that waits for what was read.

        `read` is given the page's body and the flow's `redact`; where it raises PageUnreadable, the page is asked for
        again. In the end, what is under way ends by itself and nothing new is asked for.
        """
        stop = self._wire.stop_event()
        under_way: set[Future[T]] = set()

        def ask(one: tuple[int, int], run_id: str | None) -> Callable[[], T]:
            future = self._begin(*self._listing(flow, _query(flow, log_type, *one, run_id), stop, read))
            under_way.add(future)
            future.add_done_callback(under_way.discard)

            def answer() -> T:
                try:
                    return future.result()
                except CancelledError as exc:
                    raise self._wire.ended() from exc

            return answer

        try:
            yield ask
        finally:
            stop.set()
            for future in list(under_way):
                future.cancel()

    def download(self, flow: Flow, log_id: int) -> Download | None:
        """The file of a log, None where there is none (404)."""
        query: Query = {"id": log_id, "flowId": flow.flow_id, "projectslug": flow.project_slug}
        answer = self._get("/logs/download", flow, query, DOWNLOAD_CAP, self._stop)
        return None if answer.status == 404 else Download(answer.body, answer.too_large)

    def _begin(self, fetch: Callable[[Meanwhile], Response], read: Callable[[Response], T]) -> Future[T]:
        with self._lock:
            if self._ahead is None and not self._wire.closed:
                self._ahead = Ahead(self.connections)
        future = None if self._ahead is None else self._ahead.begin(fetch, read)
        if future is None:
            raise self._wire.ended()
        return future

    def _listing(
        self, flow: Flow, query: Query, stop: threading.Event, read: Read[T]
    ) -> tuple[Callable[[Meanwhile], Response], Callable[[Response], T]]:
        """How a page is fetched, and how it is read: that raises AskAgain a few times where it cannot be."""
        asked = 0

        def fetch(meanwhile: Meanwhile) -> Response:
            nonlocal asked
            if asked:
                self._wire.pause(0.25 * 2**asked, stop, meanwhile)
            asked += 1
            return self._get("/logs", flow, query, PAGE_CAP, stop, meanwhile=meanwhile)

        def page(answer: Response) -> T:
            try:
                return read(_body(answer), flow.redact)
            except PageUnreadable as exc:
                if asked < _READS and not answer.too_large:
                    raise AskAgain from exc
                raise PageUnreadable(f"integrator {self._integrator.name}, flow {flow.name}: {exc}") from exc

        return fetch, page

    def _get(
        self, path: str, flow: Flow, query: Query, cap: int, stop: threading.Event, *, meanwhile: Meanwhile = nothing
    ) -> Response:
        """The answer, 200 or 404, with whichever spelling of the project parameter the Integrator takes."""
        known = self._spelling.get(path)
        for spelling in (known,) if known else _SPELLINGS[path]:
            answer = self._send(path, {**query, spelling: flow.project_id}, cap, stop, meanwhile)
            if answer.status in (200, 404):
                self._spelling[path] = spelling
                return answer
            if answer.status != 400:
                break
        if answer.status < 300:
            raise PageUnreadable(f"integrator {self._integrator.name}: {path} answered {answer.status} instead of 200")
        if answer.status < 400:
            what = f"{path} answered {answer.status}, a redirect, which is not followed; check base_url"
            raise self._wire.unavailable(what, answer.status)
        said = server_words(answer.body, self._login.secrets())
        what_to_do = "; are both ids right?" if query.get("page", 1) == 1 else ""
        raise RequestRefused(
            f"integrator {self._integrator.name} answered {answer.status} to {path} for flow {flow.name} "
            f"(flow id {flow.flow_id}, project id {flow.project_id}): {said or 'no reason given'}{what_to_do}"
        )

    def _send(self, path: str, query: Query, cap: int, stop: threading.Event, meanwhile: Meanwhile) -> Response:
        text = "&".join(f"{name}={_quoted(str(value))}" for name, value in query.items())

        def send(token: str, channel: Channel | None) -> Response:
            request = Request("GET", path, text, {"Authorization": "Bearer " + token}, stop, cap, None, meanwhile)
            return self._wire.ask(request, READING, channel, paid=channel is not None)

        return self._login.authorised(send)


def _body(answer: Response) -> bytes:
    if answer.too_large:
        raise PageUnreadable(f"a page of more than {PAGE_CAP:,} bytes; it was not read")
    return _EMPTY if answer.status == 404 else answer.body


def _query(flow: Flow, log_type: LogType, limit: int, page: int, run_id: str | None) -> Query:
    query: Query = {"flowId": flow.flow_id, "log_type": int(log_type), "limit": limit, "page": page}
    if run_id is not None:
        query["filename_uuid" if log_type is LogType.MAIN else "original_filename_uuid"] = run_id
    return query


_quoted = lru_cache(maxsize=256)(quote_plus)  # the same ids, page after page


def _signpost(answer: Response) -> datetime | None:
    try:
        return _date(answer.headers.get("Date", "")) - timedelta(seconds=answer.seconds)
    except (ValueError, TypeError, OverflowError):
        return None


@lru_cache(maxsize=64)
def _date(text: str) -> datetime:
    date = parsedate_to_datetime(text)
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
