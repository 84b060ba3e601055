"""YAML read as text: every scalar keeps its spelling, so that `id: 0123` and `password: 12e3` stay what was written.

Only null and the merge key `<<` have a meaning here; what a text means is for each setting to say. No error repeats a
piece of the file other than a key, for the piece may be a password.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from archiver.errors import ConfigError

if TYPE_CHECKING:
    _Base = yaml.SafeLoader
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_LARGEST = 1 << 20
_DEEPEST = 50
_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name for name in ("null", "str", "int", "float", "bool", "timestamp", "merge", "map", "seq")}


class _Loader(_Base):
    """Composes nodes; it is never asked to construct anything."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver(_TAG + "null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_TAG + "merge", re.compile(r"^<<$"), ["<"])


def read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """A file's mapping of texts, and the problems that did not hinder reading it; raises ConfigError for the others."""
    text = _text(path)
    try:
        _measure(text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as exc:
        raise ConfigError([_syntax(path, exc)]) from None
    if not isinstance(node, yaml.MappingNode):
        what = "is empty" if node is None else "is no mapping of keys to values"
        raise ConfigError([f"{path}: the file {what}; `archiver init` writes one to start from"])
    reader = _Reader(path)
    return reader.mapping(node), reader.problems


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            body = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: there is no such file; `archiver init` writes one, --config names another"]
        ) from None
    except IsADirectoryError:
        raise ConfigError([f"{path}: is a folder; name the file in it, as in {path / 'config.yaml'}"]) from None
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be read ({exc.strerror}); give the archiver the right to read it"]) from exc
    if len(body) > _LARGEST:
        raise ConfigError([f"{path}: is larger than 1 MiB, which no configuration is; name the right file"])
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = body.count(b"\n", 0, exc.start) + 1
        raise ConfigError([f"{path}: line {line}: the file is not UTF-8; save it as UTF-8"]) from None


def _measure(text: str) -> None:
    """Refuse what is nested absurdly deep: the C library would overrun its stack on it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise yaml.MarkedYAMLError(None, None, "the nesting is too deep", event.start_mark)  # type: ignore[arg-type]


def _syntax(path: Path, exc: yaml.YAMLError) -> str:
    mark = getattr(exc, "problem_mark", None)
    problem = re.sub(r"""(['"])(?!<|\1).{2,}\1""", "there", getattr(exc, "problem", None) or "a control character")
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    remedy = (
        "mind the indentation; quote a value that starts with one of * & ! % @, holds ': ', or is a ${VAR} inside {}"
    )
    return f"{path}: {where}this is not YAML ({problem}); {remedy}"


class _Reader:
    """Turns nodes into dicts, lists, texts and None, once each: an alias cannot multiply."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._path = path
        self._done: dict[int, Any] = {}
        self._within: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        if id(node) in self._within:
            return self._complain(node, "an alias stands for what it is a part of; write it out")
        if id(node) not in self._done:
            self._within.add(id(node))
            self._done[id(node)] = self._read(node)
            self._within.remove(id(node))
        return self._done[id(node)]

    def _read(self, node: yaml.Node) -> Any:
        if node.tag not in _PLAIN:
            return self._complain(node, "a tag (a word that starts with !) means nothing here; quote the value")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        return None if node.tag == _TAG + "null" else node.value

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag == _TAG + "merge":
                for other in reversed(item.value if isinstance(item, yaml.SequenceNode) else [item]):
                    value = self.value(other)
                    merged |= value if isinstance(value, dict) else {}
            elif not isinstance(key, yaml.ScalarNode) or key.tag == _TAG + "null":
                self._complain(key, "a key must be a word")
            elif key.value in own:
                self._complain(key, f"the key '{key.value}' is there twice; leave one out")
            else:
                own[key.value] = self.value(item)
        return merged | own

    def _complain(self, node: yaml.Node, problem: str) -> None:
        self.problems.append(f"{self._path}: line {node.start_mark.line + 1}: {problem}")
