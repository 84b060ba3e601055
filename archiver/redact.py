"""Personal data in JSON: masking what a flow's `redact` names before anything is stored, and finding what a person has.

A rule is the name of a field, which means it at any depth, or a path that begins with `$`: `$.customer.email`,
`$.orders[*].address`, `$..phone`, `$['odd name']`. A path starts at the log's row, and at the document of a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from typing import Any, Final

from archiver.errors import PageUnreadable
from archiver.logs import Page, Row, dump_exact, load_exact, parse_page

MASK: Final = "[redacted]"

# Without these the archiver cannot follow a run; they name and count, and say nothing of a person.
NEEDED = frozenset(
    {
        "id",
        "created",
        "finished",
        "process_group_id",
        "original_filename_uuid",
        "filename_uuid",
        "state",
        "status",
        "log_type",
        "is_send_S3",
        "sub_flows",
    }
)

_STEP = re.compile(
    r"""(?P<deep>\.\.)(?:(?P<deep_name>[^.\[\]'"\s*]+)|(?P<deep_any>\*))
    |\.(?:(?P<name>[^.\[\]'"\s*]+)|(?P<any>\*))
    |\[(?:(?P<index>\d{1,9})|(?P<every>\*)|'(?P<single>[^']+)'|"(?P<double>[^"]+)")\]""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class PathStep:
    """One step of a path: a key, a place in a list, or (None) any of either; `deep`: at any depth below."""

    key: str | int | None
    deep: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it was written, and its steps."""

    text: str
    steps: tuple[PathStep, ...]


def rule(text: str) -> Rule:
    """Read a rule; raises ValueError that says what to write instead."""
    if not text.startswith("$"):
        if re.search(r"[\[\]*]|\.\.|^\.", text):
            raise ValueError("is neither a field's name nor a path; write email, or $.customer.email")
        if "." in text:
            raise ValueError(f"is a path without its beginning; write $.{text}")
        if text in NEEDED:
            raise ValueError("is a field that the archiver cannot do without; name others")
        return Rule(text, (PathStep(text, deep=True),))
    steps: list[PathStep] = []
    place = 1
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None:
            raise ValueError("is no path that is understood; write $.customer.email, $.orders[*].address or $..phone")
        steps.append(_step(match))
        place = match.end()
    if not steps:
        raise ValueError("means the whole log; name a field in it")
    if len(steps) == 1 and not steps[0].deep and steps[0].key in NEEDED:
        raise ValueError("is a field that the archiver cannot do without; name others")
    return Rule(text, tuple(steps))


def _step(match: re.Match[str]) -> PathStep:
    found = match.groupdict()
    if found["index"] is not None:
        return PathStep(int(found["index"]))
    name = found["deep_name"] or found["name"] or found["single"] or found["double"]
    return PathStep(name, deep=found["deep"] is not None)


@lru_cache(maxsize=256)
def _rules(texts: tuple[str, ...]) -> tuple[Rule, ...]:
    return tuple(rule(text) for text in texts)


_Place = tuple[Rule, int]  # a rule, and how many of its steps have been taken


class _Masking:
    """One value being masked; `hits`: how often each rule met something."""

    def __init__(self) -> None:
        self.hits: dict[str, int] = {}

    def value(self, value: Any, places: Sequence[_Place]) -> Any:
        """A copy of what changes of a value; null stays null, for it hides nothing."""
        if isinstance(value, dict):
            return {key: self._child(key, item, places) for key, item in value.items()}
        if isinstance(value, list):
            return [self._child(index, item, places) for index, item in enumerate(value)]
        return value

    def _child(self, key: str | int, item: Any, places: Sequence[_Place]) -> Any:
        onward: list[_Place] = []
        for one, taken in places:
            step = one.steps[taken]
            if step.deep:
                onward.append((one, taken))
            if step.key is None or (step.key == key and type(step.key) is type(key)):
                if taken + 1 == len(one.steps):
                    if item is None:
                        return None
                    self.hits[one.text] = self.hits.get(one.text, 0) + 1
                    return MASK
                onward.append((one, taken + 1))
        return self.value(item, onward) if onward else item


def mask_row(row: Row, texts: tuple[str, ...]) -> Row:
    """A log as it may be stored. What the archiver needs of it and of its sub flows stays as it is."""
    return _masked(row, _rules(texts))


def mask_fields(row: Row, names: Iterable[str]) -> Row:
    """A row with the fields of these names masked, at any depth; a name is taken as it is, never as a path."""
    return _masked(row, [Rule(name, (PathStep(name, deep=True),)) for name in names])


def _masked(row: Row, rules: Sequence[Rule]) -> Row:
    return _kept(row, _Masking().value(row, [(one, 0) for one in rules])) if rules else row


def _kept(row: Row, masked: Row) -> Row:
    for name in NEEDED & row.keys():
        steps, new = row[name], masked[name]
        if name != "sub_flows":
            masked[name] = row[name]
        elif isinstance(steps, list):
            pairs = zip(steps, new if isinstance(new, list) else repeat(MASK), strict=False)
            masked[name] = [_step_kept(old, one) for old, one in pairs]
    return masked


def _step_kept(step: Any, masked: Any) -> Any:
    """A sub flow, also where a rule means all of it, or all of them."""
    if not isinstance(step, dict):
        return masked
    return _kept(step, masked if isinstance(masked, dict) else dict.fromkeys(step, MASK))


def page_of(body: bytes, texts: tuple[str, ...]) -> Page:
    """An answer of the Logs API, read and masked. Raises PageUnreadable."""
    try:
        return mask_page(parse_page(body), texts)
    except RecursionError:
        raise PageUnreadable("lists or objects in it are nested too deeply") from None


def mask_page(page: Page, texts: tuple[str, ...]) -> Page:
    """A page of the Logs API, each of its rows masked."""
    if not texts:
        return page
    return Page([mask_row(row, texts) for row in page.rows], page.count, page.limit, page.signpost)


def mask_document(text: str, texts: tuple[str, ...]) -> tuple[str, dict[str, int]]:
    """A JSON document masked, and how many values each rule met. Numbers keep all their digits."""
    masking = _Masking()
    document = json.loads(text, parse_float=Decimal, parse_int=Decimal)  # 1.10 stays 1.10
    masked = masking.value(document, [(one, 0) for one in _rules(texts)])
    return dump_exact(masked), masking.hits


# --- what a person has ---


def spellings(word: str) -> list[Any]:
    """What JSON may hold for a value that a person wrote: the text, and the number or boolean that is written so."""
    found: list[Any] = [word]
    try:
        value = load_exact(word)
    except (ValueError, RecursionError):
        return found
    if isinstance(value, bool) or (not isinstance(value, str | list | dict) and value is not None):
        found.append(value)
    return found


def has(value: Any, field: str, words: Sequence[Any]) -> bool:
    """Whether a field of this name holds one of the values, itself or in a list, at any depth."""
    return any(_is_one(item, words) for item in _fields(value, field))


def row_has(row: Row, field: str, words: Sequence[Any]) -> bool:
    """Whether a row has one of the values in this field, at any depth, its sub flows left out."""
    return has({key: item for key, item in row.items() if key != "sub_flows"}, field, words)


def _is_one(item: Any, words: Sequence[Any]) -> bool:
    if isinstance(item, list):
        return any(_is_one(one, words) for one in item)
    return any(item == word and isinstance(item, bool) is isinstance(word, bool) for word in words)


def _fields(value: Any, field: str) -> Iterator[Any]:
    items: Iterable[Any] = ()
    if isinstance(value, dict):
        if field in value:
            yield value[field]
        items = value.values()
    elif isinstance(value, list):
        items = value
    for item in items:
        if isinstance(item, dict | list):
            yield from _fields(item, field)


def mentions(content: bytes, word: str) -> bool:
    """Whether bytes that are no JSON hold a value, as UTF-8 or as JSON spells it."""
    return any(one in content for one in {word.encode(), json.dumps(word)[1:-1].encode()})
