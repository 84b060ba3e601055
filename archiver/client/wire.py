"""One call as several tries: who may send when, what is worth another try, and how long to wait for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from weakref import WeakSet

from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from archiver.client import words
from archiver.client.channel import Channel, Meanwhile, Overdue, Request, Response, nothing
from archiver.client.deadline import Watchdog
from archiver.client.pace import LONGEST_PAUSE, LONGEST_REST, Patience, Rate, is_passing, retry_after
from archiver.config import Integrator
from archiver.errors import SourceUnavailable

LONG_ENOUGH = 0.01  # seconds of a pause to do something else in: what is in hand is better done after sending
SHARE_LOOK = 0.2  # seconds between two looks whether others have left a part of the rate


class Share(Protocol):
    """Which fraction of an Integrator's rate this client may use; `store.shares` has one."""

    def fraction(self) -> float:
        """From 0, nothing for now, to 1."""
        ...


class RequestNote(NamedTuple):
    """One try of one request, for logs and metrics: no header, no body. `status` is None where no answer came."""

    method: str
    path: str
    status: int | None
    seconds: float
    bytes: int
    attempt: int
    query: str = ""  # flow, project, page, run: nothing of it is secret


@dataclass(slots=True)
class _Call:
    """A request with what was spent on it so far."""

    request: Request
    patience: Patience
    attempts: int = 0
    seconds: float = 0.0  # on the wire, pauses not counted


class Wire:
    """All connections to one Integrator, shared by all threads, within its rate."""

    def __init__(
        self,
        integrator: Integrator,
        on_request: Callable[[RequestNote], None] | None,
        wait: Callable[[float], object] | None,
        share: Share | None,
    ) -> None:
        self._closing = threading.Event()
        self.requests = 0
        self._integrator = integrator
        self._on_request = on_request
        self._wait = wait
        self._rate = Rate(integrator.requests_per_second)
        self._share = share
        self._watchdog = Watchdog()
        self._change = threading.Condition()
        # A stack: the connection used last is used next, so that few of them go stale.
        self._idle = [Channel(integrator, self._watchdog) for _ in range(integrator.connections)]
        self._waiting: deque[object] = deque()  # a token of each thread that waits for one
        self._stops: WeakSet[threading.Event] = WeakSet()

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    def ask(
        self, request: Request, patience: Patience, channel: Channel | None = None, *, paid: bool = False
    ) -> Response:
        """The answer to a request, whatever its status, unless that is 429 or 5xx to the end.

        `channel` is one that the caller holds already, `paid` says that `pay` was called for the first try. A try has
        `timeout` seconds; none is begun, and none ended by its deadline is repeated, after that much time on the wire.
        Raises SourceUnavailable.
        """
        call = _Call(request, patience)
        while True:
            answer, exc = None, None
            try:
                answer = self._try(call, channel, paid)
            except Overdue:
                raise self._overdue() from None
            except (HTTPError, OSError) as broken:
                exc = broken
            if answer is not None and not is_passing(answer.status):
                return answer
            self._before_another(call, answer, exc)
            paid = False

    @contextmanager
    def channel(self, meanwhile: Meanwhile = nothing) -> Iterator[Channel]:
        """A connection for this thread alone, as soon as one is free; those that wait for one get it in turn."""
        channel = self._free() or self._next_free(meanwhile)
        try:
            yield channel
        finally:
            with self._change:
                if self._closing.is_set():
                    channel.close()
                else:
                    self._idle.append(channel)
                    self._change.notify_all()

    def _free(self) -> Channel | None:
        with self._change:
            if self._closing.is_set():
                raise self.ended()
            return self._idle.pop() if self._idle and not self._waiting else None

    def _next_free(self, meanwhile: Meanwhile) -> Channel:
        mine = object()
        meanwhile()
        with self._change:
            self._waiting.append(mine)
            try:
                self._change.wait_for(lambda: self.closed or (self._idle and self._waiting[0] is mine))
            finally:
                self._waiting.remove(mine)
                self._change.notify_all()  # there may be one for the next, too
            if self._closing.is_set():
                raise self.ended()
            return self._idle.pop()

    def pay(self, stop: threading.Event, meanwhile: Meanwhile = nothing) -> None:
        """Wait until the rate allows one more request."""
        now = time.monotonic()
        if (rest := self._rate.resting(now)) > LONGEST_PAUSE:
            raise self.unavailable(f"it asked to be left alone for {rest:,.0f} s more", 429)
        if self._share is None:
            self.pause(self._rate.reserve(now), stop, meanwhile)
            return
        after = 0.0
        while True:
            fraction = after or self._part(self._share, stop, meanwhile)
            self.pause(self._rate.reserve(time.monotonic(), fraction), stop, meanwhile)
            after = self._part(self._share, stop, meanwhile)
            if after >= fraction:
                return
            # What was reserved while more of the rate was ours is too early now: once more.

    def _part(self, share: Share, stop: threading.Event, meanwhile: Meanwhile = nothing) -> float:
        """Our part of the rate, as soon as there is any."""
        waited = 0.0
        while (fraction := share.fraction()) <= 0.0:
            if waited > LONGEST_PAUSE:
                raise self.unavailable("other processes of this archive use up its request rate", 429)
            self.pause(SHARE_LOOK, stop, meanwhile)
            waited += SHARE_LOOK
        return fraction

    def pause(self, seconds: float, stop: threading.Event, meanwhile: Meanwhile = nothing) -> None:
        """Wait, unless the caller or the client stops. Raises SourceUnavailable then."""
        if seconds > LONG_ENOUGH:
            began = time.monotonic()
            meanwhile()
            if self._wait is None:
                seconds -= time.monotonic() - began
        if seconds > 0:
            (self._wait or stop.wait)(seconds)
        if stop.is_set():
            raise self.ended()

    def stop_event(self) -> threading.Event:
        """An event that ends the waiting of the calls that carry it; closing the client sets it too."""
        stop = threading.Event()
        with self._change:
            self._stops.add(stop)
            if self.closed:
                stop.set()
        return stop

    def unavailable(self, what: str, status: int | None = None) -> SourceUnavailable:
        """The error for a passing fault, in the words of all of them."""
        return SourceUnavailable(f"integrator {self._integrator.name}, {self._integrator.base_url}: {what}", status)

    def ended(self) -> SourceUnavailable:
        """The error for a call that nobody waits for any more."""
        return self.unavailable("the client was closed" if self.closed else "the call was given up")

    def close(self) -> None:
        """End every call under way."""
        with self._change:
            self._closing.set()
            for stop in self._stops:
                stop.set()
            idle, self._idle = self._idle, []
            self._change.notify_all()
        self._watchdog.close()
        for channel in idle:
            channel.close()

    def _try(self, call: _Call, channel: Channel | None, paid: bool) -> Response:
        with nullcontext(channel) if channel else self.channel(call.request.meanwhile) as mine:
            if not paid:
                self.pay(call.request.stop, call.request.meanwhile)
            try:
                return self._exchange(call, mine)
            except HTTPError as exc:
                if not mine.was_stale(exc):
                    raise
            self.pay(call.request.stop, call.request.meanwhile)
            return self._exchange(call, mine)

    def _exchange(self, call: _Call, channel: Channel) -> Response:
        request = call.request
        call.attempts += 1
        with self._change:
            self.requests += 1
        started = time.monotonic()
        answer = None
        try:
            answer = channel.exchange(request)
        finally:
            seconds = time.monotonic() - started - channel.besides
            call.seconds += seconds
            if self._on_request is not None:
                status, size = (answer.status, len(answer.body)) if answer else (None, 0)
                self._on_request(
                    RequestNote(request.method, request.path, status, seconds, size, call.attempts, request.query)
                )
        return answer

    def _before_another(self, call: _Call, answer: Response | None, exc: Exception | None) -> None:
        """Wait for the next try of a request that failed, or raise where there shall be none."""
        asked, response = 0.0, None
        if answer is not None:
            asked = retry_after(answer.headers)
            response = HTTPResponse(status=answer.status)
        if asked:
            self._rate.rest(time.monotonic() + min(asked, LONGEST_REST))
        late = call.seconds >= self._integrator.timeout.total_seconds()
        if asked > LONGEST_PAUSE or late or (exc is not None and words.is_hopeless(exc)):
            raise self._given_up(call, answer, exc, asked)
        try:
            call.patience = call.patience.increment(call.request.method, call.request.path, response, exc)
        except HTTPError:
            raise self._given_up(call, answer, exc, asked) from None
        self.pause(asked + call.patience.get_backoff_time(), call.request.stop, call.request.meanwhile)

    def _given_up(self, call: _Call, answer: Response | None, exc: Exception | None, asked: float) -> SourceUnavailable:
        if exc is not None:
            return SourceUnavailable(words.fault(exc, self._integrator))
        status = answer.status if answer else None
        pause = f", and asked for a pause of {asked:,.0f} s" if asked else ""
        tries = f" {call.attempts} times" if call.attempts > 1 else ""
        return self.unavailable(f"{call.request.path} answered {status}{tries}{pause}", status)

    def _overdue(self) -> SourceUnavailable:
        if self.closed:
            return self.ended()
        seconds = self._integrator.timeout.total_seconds()
        setting = f"integrators.{self._integrator.name}.timeout"
        return self.unavailable(f"no complete answer within {seconds:g} s ({setting})")
