"""Where the message of a failed log stands: in its own fields, or in its downloaded file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import orjson

from archiver.logs import load_exact
from archiver.logs.exact import RAW

# In this order, here and in the view reporting.line. In files `errors` comes first: that is where the vendor puts them.
NAMES = ("message", "error_message", "error", "description", "detail")
_IN_FILES = ("errors", *NAMES, "errorMessage", "reason", "fault", "title")
DEEPEST = 6
SAMPLE = 1000  # characters


def message_of(*beside: str | None) -> str | None:
    """The message that a log has in itself: in the JSON texts of the fields that have no column (`fields`, `rest`,
    `extra`). None where there is none, or a blank one."""
    fields: dict[str, Any] = {}
    for text in beside:
        if text is not None:
            fields |= _loaded(text)
    if RAW in fields:
        fields |= load_exact(fields[RAW])
    return message_in(fields)


def _loaded(text: str) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", orjson.loads(text))
    except orjson.JSONDecodeError:  # a number beyond doubles
        return cast("dict[str, Any]", load_exact(text))


def message_in(fields: Mapping[str, Any]) -> str | None:
    """The first message among the known names of a row's fields."""
    return _first(fields, NAMES, 0)


def message_in_document(document: str | None) -> str | None:
    """What the JSON document of a downloaded file says went wrong; None where it says nothing of that kind."""
    if document is None or not any(f'"{name}"' in document for name in _IN_FILES):
        return None
    try:
        content = orjson.loads(document)
    except orjson.JSONDecodeError:  # deeper than orjson goes: nobody writes a message there
        return None
    for one in content[:20] if isinstance(content, list) else [content]:
        found = _first(one, _IN_FILES, 0) if isinstance(one, dict) else None
        if found:
            return found
    return None


def sample(message: str) -> str:
    """A message as Postgres's text can hold it, cut to a readable length."""
    return message[:SAMPLE].replace("\0", "").encode("utf-8", "replace").decode()


def _first(fields: Mapping[str, Any], names: tuple[str, ...], depth: int) -> str | None:
    for name in names:
        value = fields.get(name)
        found = _text(value, depth + 1)
        if found:
            return found
        if depth == 0 and _is_object(value):  # it says something, though in no field that is known
            return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return None


def _is_object(value: object) -> bool:
    return bool(value) and (isinstance(value, dict) or (isinstance(value, list) and any(map(_is_object, value[:20]))))


def _text(value: object, depth: int) -> str | None:
    """The message in a value of any type; None for null, and for what is blank or too deep."""
    if isinstance(value, str):
        return _unwrapped(value, depth)
    if value is None or isinstance(value, bool) or depth > DEEPEST:
        return None
    if isinstance(value, dict):
        return _first(value, _IN_FILES, depth)
    if isinstance(value, list):
        return next((found for one in value[:20] if (found := _text(one, depth + 1))), None)
    return str(value)


def _unwrapped(text: str, depth: int) -> str | None:
    """A message that is itself a JSON object is asked for its own."""
    stripped = text.strip()
    if stripped[:1] in ("{", "[") and stripped[-1:] in ("}", "]") and depth <= DEEPEST:
        try:
            inner = orjson.loads(stripped)
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            return stripped
        return (_first(inner, _IN_FILES, depth) if isinstance(inner, dict) else _text(inner, depth + 1)) or stripped
    return stripped or None
