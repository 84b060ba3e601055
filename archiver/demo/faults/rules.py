"""Which fault happens to which request."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import blake2b
from threading import Lock

from archiver.demo.wire import Answer, Peer, Request


class Fault:
    """One kind of misbehaviour; it may act before the request is answered, or on the answer."""

    def before(self, request: Request, peer: Peer) -> None:
        """Acts before the world is asked; may change the request, or wait."""

    def after(self, request: Request, answer: Answer) -> None:
        """Changes the answer; its headers have the `Date` already."""


@dataclass
class Rule:
    """A fault and its scope; `seen` requests fitted, `fired` of them were hit."""

    number: int
    fault: Fault
    path: str | None
    log_type: int | None
    flow_id: str | None
    page: int | None
    nth: Collection[int] | None
    rate: float
    times: int | None
    seen: int = 0
    fired: int = 0

    def fits(self, request: Request) -> bool:
        """Whether the request is in the rule's scope."""
        params = request.params
        return (
            (self.path is None or request.path == self.path)
            and (self.log_type is None or params.get("log_type") == str(self.log_type))
            and (self.flow_id is None or params.get("flowId") == self.flow_id)
            and (self.page is None or params.get("page", "1") == str(self.page))
        )


@dataclass
class Faults:
    """The rules of a server; they may be added and removed while it runs. `log` names what happened, in order."""

    seed: int = 1
    log: list[str] = field(default_factory=list)
    _rules: list[Rule] = field(default_factory=list)
    _added: int = 0
    _lock: Lock = field(default_factory=Lock)

    def add(
        self,
        fault: Fault,
        *,
        path: str | None = None,
        log_type: int | None = None,
        flow_id: str | None = None,
        page: int | None = None,
        nth: Collection[int] | None = None,
        rate: float = 1.0,
        times: int | None = None,
    ) -> Rule:
        """Lets the fault happen to the requests in scope: the `nth` of them, or a share of them, at most `times`."""
        with self._lock:
            self._added += 1
            rule = Rule(self._added, fault, path, log_type, flow_id, page, nth, rate, times)
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Ends a rule; one that has ended already is no error."""
        with self._lock:
            self._rules = [kept for kept in self._rules if kept is not rule]

    def clear(self) -> None:
        """The server behaves from now on."""
        with self._lock:
            self._rules = []

    def choose(self, request: Request) -> list[Fault]:
        """The faults that happen to this request."""
        if not self._rules:
            return []
        with self._lock:
            return [rule.fault for rule in self._rules if self._hits(rule, request)]

    def _hits(self, rule: Rule, request: Request) -> bool:
        if not rule.fits(request):
            return False
        rule.seen += 1
        if rule.nth is not None and rule.seen not in rule.nth:
            return False
        if rule.times is not None and rule.fired >= rule.times:
            return False
        if rule.rate < 1.0 and self._draw(rule) >= rule.rate:
            return False
        rule.fired += 1
        self.log.append(f"{type(rule.fault).__name__} {request.method} {request.target}")
        return True

    def _draw(self, rule: Rule) -> float:
        digest = blake2b(f"{self.seed}/{rule.number}/{rule.seen}".encode(), digest_size=7).digest()
        return int.from_bytes(digest) / 2**56
