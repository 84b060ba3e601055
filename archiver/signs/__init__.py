"""PURE: what is not well. Facts about flows and the archiver go in, conditions come out; states and messages follow.

- `facts`: what is known at a moment.
- `rules`: which conditions hold, each with its numbers.
- `states`: what begins, gets worse or ends; and what of it is to be told now.
- `message`: several of these as one message.
"""

from archiver.signs.facts import Facts, FlowFacts, NewKind, Settings, Space
from archiver.signs.message import Message, compose
from archiver.signs.rules import Condition, conditions, resolution
from archiver.signs.states import Alert, Update, quiet, to_tell, update

__all__ = [
    "Alert",
    "Condition",
    "Facts",
    "FlowFacts",
    "Message",
    "NewKind",
    "Settings",
    "Space",
    "Update",
    "compose",
    "conditions",
    "quiet",
    "resolution",
    "to_tell",
    "update",
]
