"""The page walk and the frontier, as arithmetic: what to ask for next, and what is proven by the answers."""

from archiver.window.asks import LARGEST, Answer, Ask, Tally
from archiver.window.chain import Outcome, Phase, Walk
from archiver.window.intervals import Interval, cover, covers
from archiver.window.order import ENOUGH, Mark, Order, Probe
from archiver.window.sweep import Listed, Sweep

__all__ = [
    "ENOUGH",
    "LARGEST",
    "Answer",
    "Ask",
    "Interval",
    "Listed",
    "Mark",
    "Order",
    "Outcome",
    "Phase",
    "Probe",
    "Sweep",
    "Tally",
    "Walk",
    "cover",
    "covers",
]
