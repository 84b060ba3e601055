# ruff: noqa: ARG002 - a fault is shown the whole scene, and looks at what it needs
"""Faults of the server: it answers something else, or pages that are not what they say."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum
from functools import lru_cache

from archiver.demo.api import DOWNLOAD, LOGS
from archiver.demo.faults.rules import Fault
from archiver.demo.listing import render
from archiver.demo.wire import Answer, Peer, Request


@dataclass
class Status(Fault):
    """Another status: 404 for a list with rows, 429, 5xx. `retry_after` is the header's text, whatever it says."""

    status: int
    retry_after: str | None = None
    body: bytes = b"make-believe trouble"

    def after(self, request: Request, answer: Answer) -> None:
        answer.say(self.status, self.body)
        answer.headers["Retry-After"] = self.retry_after


@dataclass
class LoginRefused(Fault):
    """The words with which the Integrator refuses credentials; scope it to the login."""

    def after(self, request: Request, answer: Answer) -> None:
        answer.say(400, b"The supplied username and password are not valid.")


@dataclass
class DepthLimit(Fault):
    """Lists are shown down to a depth only, as search engines do it; pages past it get an error."""

    rows: int
    status: int = 500

    def after(self, request: Request, answer: Answer) -> None:
        if answer.page is None:
            return
        page, limit = int(request.params.get("page", "1")), int(request.params.get("limit", "25"))
        if page * limit > self.rows:
            answer.say(self.status, b"Result window is too large")


@dataclass
class Spelling(Fault):
    """Only this spelling of the project parameter is understood: `projectid` or `projectId`."""

    only: str

    def after(self, request: Request, answer: Answer) -> None:
        if request.path in {LOGS, DOWNLOAD} and self.only not in request.params and answer.status != 401:
            answer.say(400, f"{self.only} is required".encode())


@dataclass
class Redirect(Fault):
    """Sends the client elsewhere; 307 would make it repeat a login there, password included."""

    location: str
    status: int = 302

    def after(self, request: Request, answer: Answer) -> None:
        answer.say(self.status, b"")
        answer.headers["Location"] = self.location


@dataclass
class Body(Fault):
    """Another body with status 200: HTML, something that is no JSON, JSON of another shape."""

    body: bytes = b"<!doctype html><html><body><h1>Maintenance</h1></body></html>"
    content_type: str = "text/html; charset=utf-8"

    def after(self, request: Request, answer: Answer) -> None:
        answer.say(200, self.body, self.content_type)


@dataclass
class Huge(Fault):
    """A body of so many MiB of white space; sent in pieces, so that only the client has to bear it."""

    mebibytes: int

    def after(self, request: Request, answer: Answer) -> None:
        def send(peer: Peer, head: bytes, body: bytes) -> bool:
            peer.send(head + body)
            for _ in range(self.mebibytes):
                peer.send(b" " * 2**20)
            return True

        answer.say(200, b"", "application/json")
        answer.headers["Content-Length"] = str(self.mebibytes * 2**20)
        answer.sending = send


@dataclass
class GzipBomb(Fault):
    """A small gzip body that unpacks to so many MiB."""

    mebibytes: int

    def after(self, request: Request, answer: Answer) -> None:
        answer.say(200, _bomb(self.mebibytes), "application/json")
        answer.headers["Content-Encoding"] = "gzip"


@lru_cache(maxsize=4)
def _bomb(mebibytes: int) -> bytes:
    return gzip.compress(b" " * (mebibytes * 2**20), compresslevel=9, mtime=0)


@dataclass
class Gzip(Fault):
    """No misbehaviour: the same answer with `Content-Encoding: gzip`."""

    def after(self, request: Request, answer: Answer) -> None:
        answer.say(answer.status, gzip.compress(answer.payload(), mtime=0), answer.content_type)
        answer.headers["Content-Encoding"] = "gzip"


class Absent(Enum):
    """Stands for a field that is not there."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass
class Field(Fault):
    """A field around the results says something else, or is `ABSENT`: a wrong `count`, a `next` to another host."""

    name: str
    value: object

    def after(self, request: Request, answer: Answer) -> None:
        if answer.page is None:
            return
        if self.value is ABSENT:
            answer.page.fields.pop(self.name, None)
        else:
            answer.page.fields[self.name] = self.value


@dataclass
class Shape(Fault):
    """Any other JSON value in place of the page."""

    value: object

    def after(self, request: Request, answer: Answer) -> None:
        answer.say(200, render(self.value), "application/json; charset=utf-8")


@dataclass
class PageIgnored(Fault):
    """Whatever page is asked for, the first one comes."""

    def before(self, request: Request, peer: Peer) -> None:
        request.params.pop("page", None)


@dataclass
class LimitIgnored(Fault):
    """Pages have the server's own size, whatever is asked for."""

    limit: int = 25

    def before(self, request: Request, peer: Peer) -> None:
        if request.path == LOGS:
            request.params["limit"] = str(self.limit)


@dataclass
class LimitCapped(Fault):
    """Pages are never larger than this."""

    limit: int

    def before(self, request: Request, peer: Peer) -> None:
        asked = request.params.get("limit", "25")
        if request.path == LOGS and asked.isdecimal() and int(asked) > self.limit:
            request.params["limit"] = str(self.limit)


@dataclass
class NoDate(Fault):
    """No `Date` header."""

    def after(self, request: Request, answer: Answer) -> None:
        answer.headers["Date"] = None


@dataclass
class WrongDate(Fault):
    """The `Date` header is off by this much, or is some other text."""

    shift: timedelta | str

    def after(self, request: Request, answer: Answer) -> None:
        if isinstance(self.shift, str):
            answer.headers["Date"] = self.shift
            return
        told: datetime = parsedate_to_datetime(answer.headers["Date"] or "Thu, 01 Jan 1970 00:00:00 GMT")
        answer.headers["Date"] = format_datetime(told + self.shift, usegmt=True)


@dataclass
class Call(Fault):
    """Calls back before the world is asked: a test inserts or deletes rows between two pages."""

    callback: Callable[[Request], None]

    def before(self, request: Request, peer: Peer) -> None:
        self.callback(request)
