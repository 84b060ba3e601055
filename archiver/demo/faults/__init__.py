"""Misbehaviour on command: what real servers and networks do, scoped, seeded and replayable.

    faults = Faults(seed=7)
    faults.add(Status(503, retry_after="9999999999"), path="/logs", log_type=3, nth=[2])
    faults.add(Reset(), rate=0.05)

`nth` counts, from 1, the requests that a rule's scope fits; `rate` draws from (seed, rule, that number), so that the
same requests in the same order meet the same faults. Several faults of one request apply in the order in which they
were added. That a token lives for N requests or T seconds is no fault: `serve` takes it.
"""

from archiver.demo.faults.answers import (
    ABSENT,
    Body,
    Call,
    DepthLimit,
    Field,
    Gzip,
    GzipBomb,
    Huge,
    LimitCapped,
    LimitIgnored,
    LoginRefused,
    NoDate,
    PageIgnored,
    Redirect,
    Shape,
    Spelling,
    Status,
    WrongDate,
)
from archiver.demo.faults.network import Cut, Drip, Hang, Latency, Reset
from archiver.demo.faults.rules import Fault, Faults, Rule

__all__ = [
    "ABSENT",
    "Body",
    "Call",
    "Cut",
    "DepthLimit",
    "Drip",
    "Fault",
    "Faults",
    "Field",
    "Gzip",
    "GzipBomb",
    "Hang",
    "Huge",
    "Latency",
    "LimitCapped",
    "LimitIgnored",
    "LoginRefused",
    "NoDate",
    "PageIgnored",
    "Redirect",
    "Reset",
    "Rule",
    "Shape",
    "Spelling",
    "Status",
    "WrongDate",
]
