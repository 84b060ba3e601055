"""The vendor's Logs API over a world: login, list, download, and the rules about tokens and parameters.

Statuses and words follow the vendor's page; where it is silent, this is one server that the archiver could meet.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from threading import Lock
from typing import Literal
from urllib.parse import urlencode

from archiver.demo.listing import Ask, Source, render
from archiver.demo.wire import Answer, PageAnswer, Request

LOGIN, LOGS, DOWNLOAD = "/api/nifi/login", "/logs", "/logs/download"
FileForm = Literal["plain", "quoted", "wrapped"]
_TEXT = "text/plain; charset=utf-8"


class Tokens:
    """Tokens that live for a time, or for a number of requests, whichever ends first."""

    def __init__(self, seconds: float, requests: int | None) -> None:
        self.seconds = seconds
        self.requests = requests
        self._lock = Lock()
        self._key = secrets.token_bytes(32)
        self._known: dict[str, tuple[float, int]] = {}  # monotonic end, requests left

    def issue(self, username: str, expires: int) -> str:
        """A new token in the shape of a JWT; `expires` (epoch seconds) is its `exp`."""
        parts = [{"alg": "HS256"}, {"sub": username, "exp": expires, "jti": secrets.token_hex(4)}]
        text = ".".join(_segment(render(part)) for part in parts)
        token = f"{text}.{_segment(hmac.new(self._key, text.encode(), hashlib.sha256).digest())}"
        with self._lock:
            self._known[token] = (time.monotonic() + self.seconds, -1 if self.requests is None else self.requests)
        return token

    def accept(self, token: str) -> bool:
        """Uses the token for one request; False when it is unknown or its life is over."""
        with self._lock:
            end, left = self._known.get(token, (0.0, 0))
            if left == 0 or time.monotonic() >= end:
                self._known.pop(token, None)
                return False
            self._known[token] = (end, left - 1)
            return True

    def forget(self) -> None:
        """Every token ends now."""
        with self._lock:
            self._known.clear()


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class LogsApi:
    """Answers requests from a world. `empty_status` is what an empty list gets: 404, or 200 with no results."""

    def __init__(
        self,
        world: Source,
        credentials: Mapping[str, str],
        tokens: Tokens,
        *,
        empty_status: Literal[404, 200] = 404,
        file_form: FileForm = "plain",
    ) -> None:
        self.world = world
        self.credentials = dict(credentials)
        self.tokens = tokens
        self.empty_status = empty_status
        self.file_form = file_form

    def respond(self, request: Request, base_url: str) -> Answer:
        """The honest answer to a request; `base_url` is where `next` and `previous` lead."""
        if request.path == LOGIN:
            return self._login(request) if request.method == "POST" else _problem(405, "Use POST.")
        if request.path not in {LOGS, DOWNLOAD}:
            return _problem(404, "There is no such path.")
        if request.method != "GET":
            return _problem(405, "Use GET.")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.tokens.accept(token.strip()):
            return _problem(401, "The token is incorrect or has expired, or the header is missing.")
        return self._list(request, base_url) if request.path == LOGS else self._download(request)

    def _login(self, request: Request) -> Answer:
        form = request.form()
        username, password = form.get("username", ""), form.get("password", "")
        if not username or not password:
            return Answer(400, b"The username and password must be specified.", _TEXT)
        if self.credentials.get(username) != password:
            return Answer(400, b"The supplied username and password are not valid.", _TEXT)
        expires = int(self.world.clock().timestamp() + self.tokens.seconds)
        return Answer(200, self.tokens.issue(username, expires).encode(), _TEXT)

    def _list(self, request: Request, base_url: str) -> Answer:
        try:
            ask = parse_ask(request)
        except ValueError as problem:
            return _problem(400, str(problem))
        listing = self.world.listing(ask)
        if not listing.size and self.empty_status == 404:
            return _problem(404, "There are no logs for this search.")
        # The sample shows a `next` although one result is all there is: so does this server.
        fields = {
            "count": listing.total,
            "limit": ask.limit,
            "page": ask.page,
            "previous": _page_url(base_url, request, ask, ask.page - 1) if ask.page > 1 else "",
            "next": _page_url(base_url, request, ask, ask.page + 1),
        }
        return Answer(200, page=PageAnswer(fields, listing.rows))

    def _download(self, request: Request) -> Answer:
        project, params = request.project_id(), request.params
        missing = [name for name in ("id", "flowId", "projectslug") if not params.get(name)]
        if missing or project is None:
            return _problem(400, f"Required: {', '.join(missing) or 'projectId'}.")
        if not params["id"].isdecimal():
            return _problem(400, "id is a number.")
        text = self.world.file(project, params["projectslug"], params["flowId"], int(params["id"]))
        if text is None:
            return _problem(404, "There is no file for this log.")
        if self.file_form == "quoted":
            text = b'"' + text + b'"'
        elif self.file_form == "wrapped":
            text = b"\r\n".join(text[start : start + 76] for start in range(0, len(text), 76)) + b"\r\n"
        return Answer(200, text, _TEXT)


def parse_ask(request: Request) -> Ask:
    """What a request for logs asks for; ValueError says what is missing or incorrect (status 400)."""
    params = request.params
    flow_id, project_id = params.get("flowId"), request.project_id()
    if not flow_id or not project_id:
        raise ValueError("flowId and projectid are required.")
    log_type = _number(params, "log_type", None, 1, 3)
    return Ask(
        project_id,
        flow_id,
        log_type,
        _number(params, "limit", 25, 1, 100),
        _number(params, "page", 1, 1, 10**9),
        params.get("filename_uuid") or None,
        params.get("original_filename_uuid") or None,
        _search(params),
    )


def _number(params: Mapping[str, str], name: str, default: int | None, least: int, most: int) -> int:
    text = params.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal() or not least <= int(text) <= most:
        raise ValueError(f"{name} is a number from {least} to {most}.")
    return int(text)


def _search(params: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The pairs `search_field.N` and `search_value.N`; N starts at 1."""
    numbers = sorted(name.removeprefix("search_field.") for name in params if name.startswith("search_field."))
    pairs = []
    for number in numbers:
        value = params.get(f"search_value.{number}")
        if not number.isdecimal() or value is None:
            raise ValueError(f"search_field.{number} has no search_value.{number}.")
        pairs.append((params[f"search_field.{number}"], value))
    return tuple(pairs)


def _page_url(base_url: str, request: Request, ask: Ask, page: int) -> str:
    return f"{base_url}{LOGS}?{urlencode({**request.params, 'limit': ask.limit, 'page': page})}"


def _problem(status: int, message: str) -> Answer:
    return Answer(status, render({"status": status, "message": message}))
