"""What `FIELD=VALUE` means: every place in which the archive may keep such a value, as SQL.

VALUE is text, and may be a number, `true`, `false` or `null` as well: `7` finds "7" and 7 and 7.0. A name that has a
column (`status`, `row_num`, `step_id`, …), by the wire or by the view, means the column too. Where a line's value is
(see `archiver.logs`):

- `fields`: a scalar of at most 200 characters under a name without a column;
- a column;
- `rest`: longer text, and what did not fit the column of its name;
- `rest`, under `$json`, as text: what jsonb cannot hold. Postgres finds the lines that have any, Python compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from archiver.errors import OperatorError
from archiver.logs import FIELDS, load_exact
from archiver.logs.exact import holdable
from archiver.queries.names import STATES, STATUSES

SHORT = 200  # characters of the longest text in `fields`: archiver.logs.parse.FIELD_LENGTH
MANY_NAMES = 300  # of fields: beyond, each is not asked for by name any more

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?")
_WORDS = {"true": True, "false": False, "null": None}

# The view's names of columns, and what the wire calls them.
_VIEW = {
    "log_id": "id",
    "run_id": "original_filename_uuid",
    "step_id": "process_group_id",
    "step_name": "process_group_name",
    "is_send_s3": "is_send_S3",
}
_TEXTS = frozenset(
    (
        "process_group_id",
        "process_group_name",
        "parent_process_group_id",
        "original_filename_uuid",
        "filename_uuid",
        "schedule",
        "triggered_by",
    )
)
_BOOLEANS = frozenset(("in_bound", "is_triggered"))
_INDEXED = frozenset(("id", "log_id", "original_filename_uuid", "run_id"))
_ELSEWHERE = {
    "created": "--since and --until",
    "created_at": "--since and --until",
    "finished": "--since and --until",
    "finished_at": "--since and --until",
    "flow_key": "--flow",
    "flow_name": "--flow",
}


class NotSearched(OperatorError):
    """A field that is chosen by an option instead."""


class Bind(dict[str, Any]):
    """The values of a statement, each under a name of its own."""

    def add(self, value: Any) -> str:
        """The placeholder of a value."""
        name = f"v{len(self)}"
        self[name] = value
        return f"%({name})s"


class Form(NamedTuple):
    """A value as JSON; `is_long`: too long for `fields`."""

    text: str
    is_long: bool = False

    def under(self, name: str) -> str:
        """A document with that value alone."""
        return f"{{{json.dumps(name)}: {self.text}}}"


@dataclass(frozen=True, slots=True)
class Criterion:
    """A field, None for any, and the value that it is to have."""

    field: str | None
    value: str

    def __post_init__(self) -> None:
        if self.field in _ELSEWHERE:
            raise NotSearched(f"{self.field} is not searched by its value: use {_ELSEWHERE[self.field]}")

    @property
    def has_column(self) -> bool:
        """Whether the field is a column, by the wire's name or the view's."""
        return self.field == "is_failed" or _VIEW.get(self.field or "", self.field) in FIELDS

    @property
    def is_selective(self) -> bool:
        """Whether an index finds the lines that meet it."""
        return not self.has_column or self.field in _INDEXED

    def condition(self, bind: Bind, names: Sequence[str]) -> str:
        """SQL on `archive.line l`. `names` are the fields there are, for any."""
        if self.field is None and len(names) > MANY_NAMES:
            return self._of_each(bind)
        arms: list[str] = []
        for name in names if self.field is None else (self.field,):
            arms += self._beside(name, bind)
        if self.field is not None:
            arms += self._column(_VIEW.get(self.field, self.field), bind)
        return f"({' OR '.join(arms)})" if arms else "FALSE"

    def by_index(self, bind: Bind) -> str:
        """What follows from the condition where it `is_indexable`: for a field that has a btree."""
        return f"l.fields ->> {bind.add(self.field)}::text = ANY({bind.add(self._texts())}::text[])"

    def _beside(self, name: str, bind: Bind) -> Iterator[str]:
        """In `fields` and `rest`."""
        if not holdable(name):
            return
        wire = _VIEW.get(name, name)
        for form in self._forms():
            if name not in FIELDS:
                place = "rest" if form.is_long else "fields"
                yield f"l.{place} @> {bind.add(form.under(name))}::jsonb"
            if wire in FIELDS:
                yield f"l.rest @> {bind.add(form.under(wire))}::jsonb"

    def _column(self, wire: str, bind: Bind) -> Iterator[str]:
        value: Any = self.value
        number = exact_number(value)
        if self.field == "is_failed" and value in ("1", "0", "true", "false"):
            yield f"(l.status IS NOT DISTINCT FROM 3) = {bind.add(value in ('1', 'true'))}::boolean"
        elif wire in _TEXTS:
            if holdable(value):
                yield f"l.{wire} = {bind.add(value)}::text"
        elif wire in _BOOLEANS:
            if value in ("true", "false"):
                yield f"l.{wire} = {bind.add(value == 'true')}::boolean"
        elif wire in FIELDS:
            known = {"status": STATUSES, "state": STATES}.get(wire, {})
            if value in known:
                number = Decimal(known[value])
            whole = int(number) if number is not None and number.adjusted() < 19 else 2**63
            if number == whole and -(2**63) <= whole < 2**63:
                column = {"id": "log_id"}.get(wire, wire.lower())
                yield f"l.{column} = {bind.add(whole)}::bigint"

    def _of_each(self, bind: Bind) -> str:
        forms = bind.add([form.text for form in self._forms()])
        each = f"SELECT FROM jsonb_each(l.{{}}) e WHERE e.value = ANY({forms}::text[]::jsonb[])"
        return f"(EXISTS ({each.format('fields')}) OR EXISTS ({each.format('rest')}))"

    def _forms(self) -> Iterator[Form]:
        """What VALUE may stand for, of that which jsonb can hold."""
        if holdable(self.value):
            yield Form(json.dumps(self.value), len(self.value) > SHORT)
        if self.value in _WORDS:
            yield Form(self.value)
        number = exact_number(self.value)
        if number is not None:
            sign, digits, exponent = number.as_tuple()
            bare = "".join(map(str, digits)).rstrip("0")
            exponent = int(exponent) + len(digits) - len(bare) if bare else 0
            # What jsonb holds are 64-bit integers and floats: no more digits, and no exponents beyond these.
            if len(bare) <= 20 and abs(exponent) < 400:
                yield Form(f"{'-' * sign}{bare or 0}e{exponent}")

    @property
    def is_indexable(self) -> bool:
        """Whether the text of the field's btree tells all forms of the value: null has none."""
        return self.field is not None and self.value != "null" and len(self.value) <= SHORT and holdable(self.value)

    def _texts(self) -> list[str]:
        """What `->>` makes of the forms: of floats with whole values `7.0`, of others all their digits."""
        texts = [self.value]
        number = exact_number(self.value)
        if number is not None and abs(number.adjusted()) < 400:
            plain = format(number, "f")
            plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
            plain = "0" if plain in ("-0", "") else plain
            texts += [plain] if "." in plain else [plain, f"{plain}.0"]
        return list(dict.fromkeys(texts))

    def is_met_by(self, odd: Mapping[str, Any]) -> bool:
        """Whether one of the values that jsonb cannot hold is meant."""
        if self.field is None:
            return any(self._means(value) for name, value in odd.items() if name not in FIELDS)
        return any(name in odd and self._means(odd[name]) for name in {self.field, _VIEW.get(self.field, self.field)})

    def _means(self, found: Any) -> bool:
        if isinstance(found, str):
            return found == self.value
        if found is None or isinstance(found, bool):
            return self.value in _WORDS and _WORDS[self.value] is found
        if isinstance(found, int | float | Decimal):
            number = exact_number(self.value)
            return str(found) == self.value or (number is not None and number == found)
        return False


def odd_values(text: str) -> Mapping[str, Any]:
    """What stands under `$json` in a line's `rest`."""
    found = load_exact(text)
    return found if isinstance(found, dict) else {}


def exact_number(text: str) -> Decimal | None:
    """The number that a text is in JSON, to the last digit; None if it is none."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
