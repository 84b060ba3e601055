"""Times, as the Integrator spells them and as the archive keeps them: canonical text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

CANONICAL = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{0,5}[1-9])?\+00:00", re.ASCII)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,20}))? ?(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def canonical(moment: datetime) -> str:
    """A time as canonical text."""
    text = moment.astimezone(UTC).isoformat()
    return text[:-6].rstrip("0") + "+00:00" if "." in text else text


def of_postgres(text: str) -> str:
    """Canonical text of a `timestamptz` as Postgres writes it in a session in UTC: `2023-06-23 11:33:17.898+00`."""
    return f"{text[:10]}T{text[11:]}:00"


def iso(value: Any) -> tuple[str | None, bool]:
    """An ISO 8601 time (or milliseconds) as canonical text, and whether that text gives the value back."""
    if isinstance(value, str):
        if CANONICAL.fullmatch(value):
            try:
                datetime.fromisoformat(value)
            except ValueError:
                return None, False
            return value, True
        if match := _ISO.fullmatch(value):
            day, time, fraction, zone = match.groups()
            spelling = f"{day}T{time}" + (f".{fraction[:6].ljust(6, '0')}" if fraction else "")
            zone = "+00:00" if not zone or zone in "Zz" else zone
            try:
                return canonical(datetime.fromisoformat(spelling + zone)), False
            except (ValueError, OverflowError):
                return None, False
    return _epoch(value), False


def milliseconds(value: Any) -> tuple[str | None, bool]:
    """Milliseconds since 1970 (or an ISO 8601 time) as canonical text, and whether it gives the value back."""
    text = _epoch(value)
    if text is None:
        return iso(value)[0], False
    return text, value == to_milliseconds(text)


def _epoch(value: Any) -> str | None:
    if isinstance(value, str):
        if not re.fullmatch(r"-?\d{1,17}", value, re.ASCII):
            return None
        value = int(value)
    try:
        return canonical(_EPOCH + timedelta(milliseconds=value))
    except (OverflowError, TypeError, ValueError):
        return None


def to_milliseconds(text: str) -> str:
    """Canonical text as log type 1 spells it."""
    return str((datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1))


def micros(moment: str | datetime) -> int:
    """Microseconds since 1970 of canonical text."""
    moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> str:
    """Canonical text of microseconds since 1970."""
    return canonical(_EPOCH + timedelta(microseconds=value))
