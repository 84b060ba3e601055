"""Who may come in: configured tokens, short-lived ones for those who log in, and a limit to guessing.

A token of the configuration is only ever compared as its SHA-256, in constant time; the file may hold that digest
instead. Tokens that are given out are signed with a key that this process made up: they end with it. (A key that
followed from the configuration would let whoever reads the digests there sign tokens.)
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from threading import Lock
from typing import Literal

from pydantic import SecretStr

from archiver.web.errors import TooOften

Use = Literal["api", "page"]
LIVES: dict[Use, float] = {"api": 30 * 60.0, "page": 12 * 60 * 60.0}  # seconds

BURST = 10  # wrong passwords of one address before it has to wait
EACH = 15.0  # seconds until it may be wrong once more
ALL = 20  # as many times more for all addresses together
ADDRESSES = 4096  # remembered


class Attempts:
    """Wrong passwords, by address and in all; by the monotonic clock."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = Lock()
        self._until: OrderedDict[str, float] = OrderedDict()
        self._all = 0.0

    def require(self, address: str) -> None:
        """Raises TooOften where this address, or all of them, were wrong too often."""
        with self._lock:
            now = self._now()
            wait = max(self._until.get(address, 0.0) - now - BURST * EACH, self._all - now - BURST * EACH)
        if wait > 0:
            raise TooOften("Too many wrong passwords; try again later.", wait)

    def note(self, address: str) -> None:
        """A wrong password came from this address."""
        with self._lock:
            now = self._now()
            self._until[address] = max(self._until.pop(address, 0.0), now) + EACH
            self._all = max(self._all, now) + EACH / ALL
            while len(self._until) > ADDRESSES:
                self._until.popitem(last=False)


class Door:
    """Which tokens open. Without any in the configuration it stands open, and the server is on loopback alone."""

    def __init__(self, tokens: Sequence[SecretStr], clock: Callable[[], datetime]) -> None:
        self._digests = [_digest(token.get_secret_value()) for token in tokens]
        self._key = secrets.token_bytes(32)
        self._clock = clock
        self.attempts = Attempts()

    @property
    def is_open(self) -> bool:
        """Whether anybody may come in."""
        return not self._digests

    def knows(self, token: str) -> bool:
        """Whether this is a token of the configuration; as quick for a wrong one as for a right one."""
        given = sha256(token.encode()).digest()
        return sum(hmac.compare_digest(given, digest) for digest in self._digests) > 0

    def issue(self, use: Use) -> str:
        """A token in the shape of a JWT, so that its `exp` can be read."""
        expires = int(self._clock().timestamp() + LIVES[use])
        head = {"alg": "HS256", "typ": "JWT"}
        text = ".".join(_segment(json.dumps(part).encode()) for part in (head, {"use": use, "exp": expires}))
        return f"{text}.{self._signature(text)}"

    def holds(self, token: str, use: Use) -> bool:
        """Whether this process gave the token out, for this use, and its life is not over."""
        text, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(text).encode()):
            return False
        claims = json.loads(base64.urlsafe_b64decode(text.rpartition(".")[2] + "=="))
        return bool(claims["use"] == use and claims["exp"] > self._clock().timestamp())

    def _signature(self, text: str) -> str:
        return _segment(hmac.new(self._key, text.encode(), sha256).digest())


def _digest(token: str) -> bytes:
    if token.startswith("sha256:"):
        return bytes.fromhex(token.removeprefix("sha256:"))
    return sha256(token.encode()).digest()


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
