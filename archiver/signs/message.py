"""Several alerts as one message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archiver.amounts import many
from archiver.signs.states import Alert, Telling
from archiver.signs.words import moment, one_line, span

MOST = 15  # alerts of a message that are written out


class Message(NamedTuple):
    """`tone`: problem, or recovery where there is nothing else in it."""

    tone: str
    title: str
    body: str


def compose(telling: Telling, *, base: str | None, zone: str) -> Message:
    """What a person reads. `base`: the address of the web page, for links."""
    begun, ended = telling.begun, telling.ended
    blocks = [_begun(alert, base, zone) for alert in begun] + [_ended(alert) for alert in ended]
    body = "\n\n".join(blocks[:MOST])
    if len(blocks) > MOST:
        body += f"\n\nand {len(blocks) - MOST:,} more: `archiver alerts list` shows all"
    return Message("problem" if begun else "recovery", f"archiver: {_title(begun, ended)}", body)


def _title(begun: Sequence[Alert], ended: Sequence[Alert]) -> str:
    if len(begun) + len(ended) == 1:
        return one_line(begun[0].title if begun else f"over: {ended[0].title}")
    parts = [f"{many(len(begun), 'problem')} ({_first(begun)})"] if begun else []
    parts += [f"{len(ended):,} over" + ("" if begun else f" ({_first(ended)})")] if ended else []
    return one_line(", ".join(parts))


def _first(alerts: Sequence[Alert]) -> str:
    return alerts[0].title + (", …" if len(alerts) > 1 else "")


def _begun(alert: Alert, base: str | None, zone: str) -> str:
    lines = [f"● {one_line(alert.title)}", *alert.detail.split("\n"), f"since {moment(alert.since, zone)}"]
    if base and alert.path:
        lines.append(base + alert.path)
    return "\n".join([*lines, f"alert {alert.alert_id}; `archiver alerts ack {alert.alert_id}` silences it"])


def _ended(alert: Alert) -> str:
    lasted = (alert.resolved_at - alert.since).total_seconds() if alert.resolved_at else 0.0
    lines = [f"○ over after {span(lasted)}: {one_line(alert.title)}"]
    if alert.resolution:
        lines.append(alert.resolution)
    return "\n".join([*lines, f"alert {alert.alert_id}"])
