# ruff: noqa: ARG001, ARG002 - a fault is shown the whole scene, and looks at what it needs
"""Faults of the network: answers that come late, slowly, in part, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

from archiver.demo.faults.rules import Fault
from archiver.demo.wire import Answer, Peer, Request


@dataclass
class Latency(Fault):
    """The answer comes so many seconds late."""

    seconds: float

    def before(self, request: Request, peer: Peer) -> None:
        peer.wait(self.seconds)


@dataclass
class Hang(Fault):
    """No answer, and no end, before the server stops; `head_first` sends the head and hangs then."""

    head_first: bool = False

    def after(self, request: Request, answer: Answer) -> None:
        def send(peer: Peer, head: bytes, body: bytes) -> bool:
            peer.send(head if self.head_first else b"")
            peer.wait(86_400)
            return False

        answer.sending = send


@dataclass
class Reset(Fault):
    """The connection is reset after this share of the body; below zero: before anything is sent."""

    after_share: float = -1.0

    def after(self, request: Request, answer: Answer) -> None:
        def send(peer: Peer, head: bytes, body: bytes) -> bool:
            if self.after_share >= 0:
                peer.send(head + body[: int(len(body) * self.after_share)])
                peer.wait(0.05)  # a reset overtakes what the client has not read yet
            peer.reset()
            return False

        answer.sending = send


@dataclass
class Cut(Fault):
    """The connection closes in good order after this share of the body, or after `bytes` of it.

    Without `declared` there is no `Content-Length`: the close is the only sign of the end.
    """

    share: float = 0.5
    declared: bool = True
    bytes: int | None = None

    def after(self, request: Request, answer: Answer) -> None:
        def send(peer: Peer, head: bytes, body: bytes) -> bool:
            kept = int(len(body) * self.share) if self.bytes is None else self.bytes
            peer.send(head + body[:kept])
            return False

        if not self.declared:
            answer.headers["Content-Length"] = None
            answer.headers["Connection"] = "close"
        answer.sending = send


@dataclass
class Drip(Fault):
    """The body (with `head`, the head too) comes a few bytes at a time, with a pause after each piece."""

    size: int = 1
    pause: float = 0.05
    head: bool = False

    def after(self, request: Request, answer: Answer) -> None:
        def send(peer: Peer, head: bytes, body: bytes) -> bool:
            fast, slow = (b"", head + body) if self.head else (head, body)
            peer.send(fast)
            for start in range(0, len(slow), self.size):
                peer.send(slow[start : start + self.size])
                peer.wait(self.pause)
            return True

        answer.sending = send
