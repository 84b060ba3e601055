"""All mistakes at once: a collector that turns each into a line for a person, and shows no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Section = TypeVar("Section", bound=BaseModel)


_LIST = "must be a list; write it as [one, two]"
_WORDINGS = {
    "missing": "is missing; give it a value",
    "string_type": "must be one text; quote it if YAML takes it for something else",
    "tuple_type": _LIST,
    "frozen_set_type": _LIST,
}


class _Broken(Enum):
    BROKEN = "broken"

    def __repr__(self) -> str:
        return "BROKEN"


BROKEN = _Broken.BROKEN  # stands for a value about which a problem has been added already


class Problems:
    """The mistakes of one file, each as `FILE: key.path: value 'X': what is wrong; remedy`."""

    def __init__(self, file: Path | None, secrets: frozenset[str]) -> None:
        self.lines: list[str] = []
        self._file = file
        self._secrets = secrets
        self._told: set[str] = set()

    def add(self, path: str, problem: str, value: object = None) -> _Broken:
        """Add one problem; only a text or a number is shown as the value, and never one under a secret's key."""
        where = f"{self._file}: " if self._file else ""
        shown = f"value {self._shown(path, value)}: " if isinstance(value, str | int | float) else ""
        self.lines.append(f"{where}{path}: {shown}{problem}")
        self._told.add(path)
        return BROKEN

    def _shown(self, path: str, value: object) -> str:
        if self._secrets & set(re.split(r"[.\[]", path)):
            return "***"
        text = re.sub(r"//.*@", "//***@", str(value))
        return repr(text if len(text) <= 80 else text[:77] + "...")

    def section(self, model: type[Section], raw: object, path: str) -> Section | None:
        """`raw` as a `model`, or None and its problems. A key without a value is the same as no key."""
        if raw is BROKEN:
            return None
        if raw is not None and not isinstance(raw, Mapping):
            self.add(path, "must be a mapping of keys to values; indent its keys below it", raw)
            return None
        given = {key: value for key, value in (raw or {}).items() if value not in (None, "")}
        before = len(self.lines)
        self.unknown(model, raw or {}, path)
        known = {key: value for key, value in given.items() if key in model.model_fields}
        try:
            section = model.model_validate(known)
        except ValidationError as exc:
            self._invalid(exc, path)
            return None
        return section if len(self.lines) == before else None

    def unknown(self, model: type[BaseModel], raw: Mapping[str, object], path: str) -> None:
        """Tell the keys that the model does not know, each with the known one that was probably meant."""
        known = list(model.model_fields)
        for key in raw:
            if key not in known:
                near = nearest(key, known)
                remedy = f"did you mean '{near}'?" if near else f"the known ones are {', '.join(known)}"
                self.add(_join(path, key), f"unknown key; {remedy}")

    def _invalid(self, exc: ValidationError, path: str) -> None:
        for error in exc.errors(include_url=False):
            here = path
            for step in error["loc"]:
                here = f"{here}[{step}]" if isinstance(step, int) else _join(here, step)
            if here not in self._told and error["input"] is not BROKEN:
                value = None if error["type"] == "missing" else error["input"]
                self.add(here, _wording(error["type"], error["msg"]), value)


def _wording(kind: str, message: str) -> str:
    if kind in _WORDINGS:
        return _WORDINGS[kind]
    message = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return message[0].lower() + message[1:]


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that was probably meant."""
    matches = get_close_matches(word.lower(), known, 1, 0.6)
    return matches[0] if matches else None


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
