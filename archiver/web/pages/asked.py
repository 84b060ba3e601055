"""What a page was asked for: its filters, which all live in the URL, read with bounds and written again for links."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

from archiver.queries import Criterion, FlowRow, NotSearched
from archiver.queries.moments import moment
from archiver.queries.names import LARGEST_ID
from archiver.web.errors import NotThere, WrongQuestion

LONGEST = 1_000  # characters of one filter
EVER = "all"  # the word for a period without a beginning
MOST_WORDS = 10  # of a search
LARGEST_KEY = 2**31 - 1  # of a flow

Period = tuple[datetime | None, datetime | None]  # the first moment that counts, and the first that does not
Meant = TypeVar("Meant")

_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s?(ms|s|m|min|h)?", re.ASCII)
_BACK = re.compile(r"\d{1,9}\s?[A-Za-z]", re.ASCII)
_UNITS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_PLACE = re.compile(r"(\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?\+00)~(-?\d{1,19})", re.ASCII)


class Asked:
    """The parameters of a request. What is wrong with one is said in the words of who wrote it."""

    def __init__(self, request: Request, now: datetime) -> None:
        self._now = now
        self.path = str(request.scope["path"])
        self.params = {name: value for name, value in request.query_params.items() if value != ""}
        for name, value in self.params.items():
            if len(value) > LONGEST:
                raise WrongQuestion(f"{name[:40]} is longer than {LONGEST:,} characters.")
            if "\0" in name + value or (not (name + value).isascii() and _has_half(name + value)):
                raise WrongQuestion(f"{name[:40]} holds a character that no log has.")

    def text(self, name: str, default: str = "") -> str:
        """A parameter as it was written."""
        return self.params.get(name, default).strip()

    def word(self, name: str, known: Sequence[str], default: str = "") -> str:
        """One of some words, or the default."""
        value = self.text(name, default)
        if value != default and value not in known:
            raise WrongQuestion(f"{name}: {value[:40]!r} is none of {', '.join(known)}.", name)
        return value

    def period(self, default: str = EVER) -> Period:
        """What `since` and `until` mean; dates without a zone are in UTC. There is time between the two."""
        since, until = self.text("since", default), self.text("until")
        first = None if since == EVER else self._moment("since", since, end=False)
        last = self._moment("until", until, end=True) if until else None
        if first is not None and last is not None and last <= first:
            raise WrongQuestion(f"until: {until[:40]!r} does not lie after since, {since[:40]!r}.", "until")
        return first, last

    def exact(self, name: str) -> str:
        """`since` or `until` as a moment with its zone; nothing for what has none, such as `7d`, or is wrong."""
        text = self.text(name)
        if text == EVER or _BACK.fullmatch(text) or not text:
            return ""
        try:
            return self._moment(name, text, end=name == "until").isoformat()
        except WrongQuestion:
            return ""

    def _moment(self, name: str, text: str, *, end: bool) -> datetime:
        try:
            return moment(text, self._now, zone=UTC, end=end)
        except ValueError as exc:
            raise WrongQuestion(f"{name}: {text[:40]!r} {exc}.", name) from None

    def seconds(self, name: str) -> float | None:
        """A duration such as `90s`, `5m`, `2h`; a bare number is seconds."""
        text = self.text(name)
        if not text:
            return None
        match = _SPAN.fullmatch(text)
        if match is None:
            raise WrongQuestion(f"{name}: {text[:40]!r} is no duration: write 90s, 5m or 2h.", name)
        return float(match[1]) * _UNITS[match[2]]

    def place(self, name: str = "behind") -> tuple[str, int] | None:
        """Where a page of a list begins: `moment~id`, as `place_word` writes it."""
        text = self.text(name)
        if not text:
            return None
        match = _PLACE.fullmatch(text)
        if match is None or abs(int(match[2])) > LARGEST_ID:
            raise WrongQuestion(f"{name} is no place of this list: begin at its top.")
        return match[1], int(match[2])

    def url(self, **changes: object) -> str:
        """This page with some filters changed, None for without; a page of a list begins at its top again."""
        kept = {name: value for name, value in self.params.items() if name not in ("behind", "format", "table")}
        for name, value in changes.items():
            kept.pop(name, None)
            if value is not None and value != "":
                kept[name] = str(value)
        return f"{self.path}?{urlencode(kept)}" if kept else self.path


def attempt(read: Callable[[], Meant], instead: Meant, shown: Collection[str]) -> tuple[Meant, WrongQuestion | None]:
    """What was asked for; `instead`, and what is wrong, where that is a field that the page's form shows again."""
    try:
        return read(), None
    except WrongQuestion as exc:
        if exc.field not in shown:
            raise
        return instead, exc


def place_word(place: tuple[str, int] | None) -> str | None:
    """A place of a list for the URL."""
    return None if place is None else f"{place[0]}~{place[1]}"


def criteria_of(text: str) -> list[Criterion]:
    """`sku=X status=failed "a b"`: FIELD=VALUE, or a VALUE in any field; quotes keep blanks together."""
    words = [word for word in _WORD.findall(text) if word]
    if len(words) > MOST_WORDS:
        raise WrongQuestion(f"At most {MOST_WORDS} things can be looked for at once.", "q")
    try:
        return [_criterion(word) for word in words]
    except NotSearched as exc:
        raise WrongQuestion(f"{exc} of this page.".replace("--", ""), "q") from None


def _criterion(word: str) -> Criterion:
    field, sign, value = word.partition("=")
    if not sign or '"' in field:
        return Criterion(None, word.replace('"', ""))
    return Criterion(field or None, value[1:].removesuffix('"') if value.startswith('"') else value)


def word_of(one: Criterion) -> str:
    """A criterion as `criteria_of` reads it."""
    value = f'"{one.value}"' if re.search(r"\s|^$", one.value) else one.value
    return value if one.field is None and "=" not in value else f"{one.field or ''}={value}"


def flow_asked(known: Sequence[FlowRow], text: str) -> FlowRow:
    """The flow that a number or a name means; raises NotThere."""
    for flow in known:
        if text in (str(flow.flow_key), flow.flow_name):
            return flow
    raise NotThere(f"The archive knows no flow {text[:40]!r}.")


def _has_half(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
