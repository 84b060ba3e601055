"""When the next request may go out: the token bucket, and the pauses between tries."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from urllib3.util import Retry

LONGEST_PAUSE = 60.0  # seconds that a call waits because of a Retry-After; longer ones end the turn
LONGEST_REST = 300.0  # seconds for which a longer Retry-After is believed
_DIGITS = re.compile(r"\d{1,12}", re.ASCII)


class Rate:
    """A token bucket of one token, for all threads: requests go out evenly spaced, in the order they were reserved.

    It holds no burst on purpose: `requests_per_second` is a promise to the Integrator, over any stretch of time. Where
    other processes ask the same Integrator, only a fraction of it is ours.
    """

    def __init__(self, per_second: float) -> None:
        self._gap = 1.0 / per_second
        self._fraction = 1.0
        self._next = 0.0
        self._rest_until = 0.0
        self._lock = threading.Lock()

    def reserve(self, now: float, fraction: float = 1.0) -> float:
        """Take the next token; the answer is how many seconds from `now` (monotonic) it may be used."""
        with self._lock:
            if fraction < self._fraction:  # others send as well from now on: not at once after us, nor we after them
                self._next = max(now, self._next) + self._gap / fraction - self._gap / self._fraction
            self._fraction = fraction
            at = max(now, self._next, self._rest_until)
            self._next = at + self._gap / fraction
            return at - now

    def rest(self, until: float) -> None:
        """Give out no token before `until` (monotonic): the Integrator asked all of us to wait, not one thread."""
        with self._lock:
            self._rest_until = max(self._rest_until, until)

    def resting(self, now: float) -> float:
        """Seconds of rest left."""
        return max(0.0, self._rest_until - now)


class Patience(Retry):
    """urllib3's Retry counts the tries and knows which faults to try again; the pauses are ours.

    urllib3 would pause not at all before the first retry, and up to six hours for a Retry-After. Here pauses double
    from half a second, each with half to one and a half of its length so that clients do not come back in step.
    """

    def get_backoff_time(self) -> float:
        """Seconds until the next try."""
        steady = min(float(self.backoff_max), self.backoff_factor * 2.0 ** max(0, len(self.history) - 1))
        return steady * (0.5 + random.random())  # noqa: S311  (jitter, no secret)


# A GET may be asked again whatever happened to it.
READING = Patience(total=4, connect=1, read=3, status=4, other=1, backoff_factor=0.5, backoff_max=30)
# A login whose answer broke off may have been counted by the Integrator as a wrong one: it is not sent again.
LOGGING_IN = Patience(
    total=2, connect=1, read=0, status=2, other=1, allowed_methods=None, backoff_factor=0.5, backoff_max=30
)


def is_passing(status: int) -> bool:
    """Whether a status is worth another try."""
    return status == 429 or 500 <= status < 600


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a `Retry-After` in seconds or as a date; 0 where there is none that can be read.

    A date is held against the answer's own `Date`: this machine's clock has no say in it.
    """
    text = headers.get("Retry-After", "").strip()
    if _DIGITS.fullmatch(text):
        return float(text)
    try:
        wanted, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("Date", ""))
        return max(0.0, (wanted - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0
