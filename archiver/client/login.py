"""The token: fetched when there is none, and again when a 401 says that it has expired."""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol
from urllib.parse import urlencode

from archiver.client.channel import SMALL, Channel, Request, Response
from archiver.client.pace import LOGGING_IN
from archiver.client.wire import Wire
from archiver.client.words import server_words
from archiver.config import Integrator
from archiver.errors import LoginHeld, LoginRefused, SourceUnavailable

PATH = "/api/nifi/login"
_PAUSES = (0.0, 0.1, 0.5, 1.0)  # seconds before each login that is made for one request alone
FRUITLESS = 30.0  # seconds without logins after fresh tokens were refused
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}

# Sends a request with a token; on the channel that is held and paid for, where one is given.
Send = Callable[[str, Channel | None], Response]


class LoginHold(Protocol):
    """Remembers refused credentials beyond this process. `credentials` is a digest, never the secret itself."""

    def remaining(self, credentials: str) -> tuple[float, str]:
        """Seconds for which no login is to be tried, and why they were refused; 0 where one may be."""
        ...

    def refuse(self, credentials: str, reason: str) -> float:
        """They were refused: the seconds for which they are held now, more each time."""
        ...

    def accept(self, credentials: str) -> None:
        """They were accepted: forget earlier refusals."""
        ...


class Token(NamedTuple):
    """A token and its number; the number 0 is no token at all."""

    text: str
    number: int


class Login:
    """One token for all threads of a client.

    Threads whose token was refused log in one at a time, and those that come later take what the first one got. That
    is enough as long as a token outlives its way from one thread to the next. Where it does not, the second refusal
    of one request makes its thread log in for itself: it keeps a connection and the right to send, so that nothing
    comes between the login and the request, and only then lets others have the token.
    """

    def __init__(self, integrator: Integrator, hold: LoginHold, wire: Wire) -> None:
        self._integrator = integrator
        self._hold = hold
        self._wire = wire
        self._stop = wire.stop_event()
        self._lock = threading.Lock()
        self._token = Token("", 0)
        self._issued: deque[str] = deque(maxlen=8)
        self._logins = 0
        self._fault: SourceUnavailable | None = None  # of the last login
        self._digest: str | None = None
        self._fixed = integrator.token.get_secret_value() if integrator.token else None
        self._cleared = False  # the fixed token is not on hold
        self._held_until = 0.0
        self._fruitless_until = 0.0

    def authorised(self, send: Send) -> Response:
        """The answer to a request that is sent with a token that holds. Raises LoginRefused, SourceUnavailable."""
        if self._fixed is not None:
            return self._with_fixed(self._fixed, send)
        token = self._token
        if token.number:
            answer = send(token.text, None)
            if answer.status != 401:
                return answer
            if token.number == self._token.number:
                self._check_fruitless()
        answer = send(self._renewed(token).text, None)
        for pause in _PAUSES:
            if answer.status != 401:
                return answer
            self._wire.pause(pause, self._stop)
            answer = self._alone(send)
        if answer.status != 401:
            return answer
        self._fruitless_until = time.monotonic() + FRUITLESS
        raise self._fruitless()

    def _check_fruitless(self) -> None:
        """Tokens that are refused as soon as they come are not fetched by each thread anew."""
        if time.monotonic() < self._fruitless_until:
            raise self._fruitless()

    def _fruitless(self) -> SourceUnavailable:
        return self._wire.unavailable(f"it answers 401 to fresh tokens, {len(_PAUSES)} times in a row", 401)

    def renew(self) -> None:
        """Log in now. A fixed token needs no login; its first request shows whether it holds."""
        if self._fixed is None:
            self._renewed(self._token)

    def secrets(self) -> list[str]:
        """What must not be in any text."""
        configured = (self._integrator.token, self._integrator.password)
        plain = [*self._issued, *(secret.get_secret_value() for secret in configured if secret is not None)]
        known = [*plain, *(f"{self._integrator.username}:{secret}" for secret in plain)]
        return [*plain, *(b64encode(one.encode()).decode() for one in known)]

    def _renewed(self, refused: Token) -> Token:
        with self._turn():
            if self._token.number == refused.number:
                self._token = Token(self._log_in(None), refused.number + 1)
            return self._token

    def _alone(self, send: Send) -> Response:
        with self._turn(), self._wire.channel() as channel:
            self._check_fruitless()
            self._wire.pay(self._stop)  # for the request, so that the token need not wait for it
            text = self._log_in(channel)
            answer = send(text, channel)
            self._token = Token(text, self._token.number + 1)
            return answer

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One thread at a time. A login that failed while this thread waited counts for this thread, too."""
        logins = self._logins
        with self._lock:
            if self._fault is not None and self._logins != logins:
                raise copy.copy(self._fault) from self._fault
            yield

    def _log_in(self, channel: Channel | None) -> str:
        self._check_hold()
        self._logins += 1
        self._fault = None
        try:
            answer = self._wire.ask(self._request(), LOGGING_IN, channel)
            if answer.status in (400, 401, 403):
                self._refused(server_words(answer.body, self.secrets()))
            text = self._token_in(answer)
        except SourceUnavailable as fault:
            self._fault = fault
            raise
        self._issued.append(text)
        self._hold.accept(self._credentials())
        return text

    def _request(self) -> Request:
        password = self._integrator.password
        form = {"username": self._integrator.username, "password": password and password.get_secret_value()}
        return Request("POST", PATH, "", _FORM, self._stop, SMALL, urlencode(form).encode())

    def _token_in(self, answer: Response) -> str:
        """The token, where the answer can be one: a page of HTML with status 200 is a fault, and passes."""
        if 300 <= answer.status < 400:
            raise self._wire.unavailable(
                f"{PATH} answered {answer.status}, a redirect, which is not followed; check base_url", answer.status
            )
        text = answer.body.decode("latin-1").strip()
        if answer.status != 200 or not is_token(text):
            raise self._wire.unavailable(f"{PATH} answered {answer.status} without a token", answer.status)
        return text

    def _with_fixed(self, text: str, send: Send) -> Response:
        if time.monotonic() < self._held_until or not self._cleared:
            self._check_hold()
        answer = send(text, None)
        if answer.status == 401:
            with self._lock:
                if time.monotonic() >= self._held_until:
                    self._cleared = False
                    self._refused(server_words(answer.body, self.secrets()))
            self._check_hold()
        elif not self._cleared:
            self._hold.accept(self._credentials())
            self._cleared = True
        return answer

    def _check_hold(self) -> None:
        seconds, reason = self._hold.remaining(self._credentials())
        seconds = max(seconds, self._held_until - time.monotonic())
        if seconds > 0:
            said = f" ({reason})" if reason else ""
            raise LoginHeld(
                f"integrator {self._integrator.name}: its {self._settings()} was refused before{said}; "
                f"it is not tried again for {seconds:,.0f} s, or until it changes",
                seconds,
            )

    def _refused(self, reason: str) -> None:
        reason = reason.rstrip(". ")
        seconds = self._hold.refuse(self._credentials(), reason)
        self._held_until = time.monotonic() + seconds
        raise LoginRefused(
            f"integrator {self._integrator.name} refused its {self._settings()}: {reason or 'no reason given'}; "
            f"correct it in the configuration (it is not tried again for {seconds:,.0f} s, or until it changes)",
            seconds,
        )

    def _settings(self) -> str:
        name = f"integrators.{self._integrator.name}"
        return f"{name}.token" if self._fixed is not None else f"{name}.username or .password"

    def _credentials(self) -> str:
        """A digest that says nothing about the secret, also where it is weak and the digest is stolen."""
        if self._digest is None:
            username, password = self._integrator.username or "", self._integrator.password
            secret = self._fixed if self._fixed is not None else password.get_secret_value() if password else ""
            salt = f"{self._integrator.base_url}\0{username}".encode()
            self._digest = hashlib.pbkdf2_hmac("sha256", secret.encode(), salt, 100_000).hex()
        return self._digest


def is_token(text: str) -> bool:
    """One printable word that is neither a page nor a document."""
    return text.isascii() and text.isprintable() and text != "" and " " not in text and text[0] not in '<{["'
