"""A file's document for people: a tree that can be folded, and bodies in JSON or XML with one thing a line.

All of it came from elsewhere: nothing is resolved or expanded, and what is shown is bounded in length and depth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from archiver.logs import load_exact

NODES = 1_500  # of a tree
DEPTH = 24  # levels of a tree; what lies deeper is one text
TEXT = 2_000  # characters of a value in a tree
BODY = 100_000  # characters of a body
INDENT = "  "
DEEPEST = 60  # levels that are indented further

_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_OPEN, _CLOSE = ("{", "["), ("}", "]")
_BETWEEN = {",": ",", ":": ": "}
_XML = re.compile(r"\s*<[A-Za-z_!?]")


class Node(NamedTuple):
    """A value of the document. `kind`: object, array, string, number, word, or more (what the bounds left out);
    `text` is the value itself, or how much is inside."""

    name: str
    kind: str
    text: str
    children: tuple[Node, ...] = ()


class Body(NamedTuple):
    """What was sent or answered. `form`: JSON, XML or text; `is_cut`: only its beginning is here."""

    title: str
    form: str
    text: str
    is_cut: bool


# --- the tree ---


@dataclass
class _Budget:
    left: int = NODES


def tree_of(document: Any) -> Node:
    """The document as a tree of at most NODES values."""
    return _node("", document, _Budget(), 0)


def _node(name: str, value: Any, budget: _Budget, depth: int) -> Node:
    budget.left -= 1
    if isinstance(value, dict | list):
        kind = "object" if isinstance(value, dict) else "array"
        if depth >= DEPTH:
            return Node(name, "string", _cut(json.dumps(value, ensure_ascii=False, default=str)))
        return Node(name, kind, _many(value), tuple(_children(value, budget, depth)))
    if isinstance(value, str):
        return Node(name, "string", _cut(value))
    if value is None or isinstance(value, bool):
        return Node(name, "word", json.dumps(value))
    return Node(name, "number", str(value))


def _children(value: dict[str, Any] | list[Any], budget: _Budget, depth: int) -> Iterator[Node]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for place, (name, inner) in enumerate(pairs):
        if budget.left <= 0:
            yield Node("", "more", f"{len(value) - place:,} more: download the original")
            return
        yield _node(str(name), inner, budget, depth + 1)


def _many(value: dict[str, Any] | list[Any]) -> str:
    thing = "field" if isinstance(value, dict) else "item"
    return f"1 {thing}" if len(value) == 1 else f"{len(value):,} {thing}s"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT else f"{text[:TEXT]} … ({len(text):,} characters)"


# --- bodies ---

# The vendor names no keys: "errors, request body, response body, and so on".
_BODIES = {
    "Request body": ("requestbody", "requestpayload", "payload", "request"),
    "Response body": ("responsebody", "responsepayload", "response", "answer"),
}


def bodies_of(document: Any) -> list[Body]:
    """The request and the response that a document tells of, as far as it does."""
    if not isinstance(document, Mapping):
        return []
    named = {re.sub(r"[^a-z]", "", str(key).lower()): value for key, value in document.items()}
    bodies = []
    for title, keys in _BODIES.items():
        value = next((named[key] for key in keys if named.get(key) not in (None, "")), None)
        if value is not None:
            bodies.append(_body(title, value))
    return bodies


def _body(title: str, value: Any) -> Body:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    is_cut = len(text) > BODY
    form, shown = readable(text[:BODY], is_whole=not is_cut)
    return Body(title, form, shown, is_cut)


def readable(text: str, *, is_whole: bool = True) -> tuple[str, str]:
    """JSON, XML or text, and the text with one thing a line. No character of a value changes."""
    if text.lstrip()[:1] in ("{", "[") and (not is_whole or _is_json(text)):
        return "JSON", indented_json(text)
    if _XML.match(text):
        return "XML", indented_xml(text)
    return "text", text


def _is_json(text: str) -> bool:
    try:
        load_exact(text)
    except (ValueError, RecursionError):
        return False
    return True


def indented_json(text: str) -> str:
    """JSON with one value a line; tokens stay as they are, so that every digit does."""
    out: list[str] = []
    level, before = 0, ""
    for part in _JSON.findall(text):
        if part in _CLOSE:
            level = max(0, level - 1)
            out.append(part if before in _OPEN else _line(level) + part)
        elif part in _BETWEEN:
            out.append(_BETWEEN[part])
        else:
            out.append(_line(level) + part if before in _OPEN or before == "," else part)
            level += part in _OPEN
        before = part
    return "".join(out)


def indented_xml(text: str) -> str:
    """XML with one element a line; text stays beside its tags. Nothing is parsed, so nothing can be expanded."""
    out: list[str] = []
    level, before = 0, ""
    for kind, piece in _pieces(text.strip()):
        if kind == "close":
            level = max(0, level - 1)
        # An element that holds nothing but text stays in one line.
        is_fresh = before == "close" if kind == "close" else kind != "text" and before != "text"
        if out and is_fresh:
            out.append(_line(level))
        out.append(piece)
        level += kind == "open"
        # An element that stands alone ends a line as a closed one does.
        before = "close" if kind == "other" else kind
    return "".join(out)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Tags and the text between them: open, close, other (declarations, comments, empty elements), text."""
    place = 0
    while place < len(text):
        start = text.find("<", place)
        if start != place:
            end = len(text) if start < 0 else start
            if text[place:end].strip():
                yield "text", text[place:end]
            place = end
            continue
        closing = "-->" if text.startswith("<!--", place) else "]]>" if text.startswith("<![CDATA[", place) else ">"
        end = text.find(closing, place)
        if end < 0:
            yield "text", text[place:]
            return
        token = text[place : end + len(closing)]
        if closing == "]]>":
            yield "text", token
        elif token.startswith("</"):
            yield "close", token
        else:
            yield "other" if token.startswith(("<!", "<?")) or token.endswith("/>") else "open", token
        place = end + len(closing)


def _line(level: int) -> str:
    return "\n" + INDENT * min(level, DEEPEST)
