"""The patterns of the archiver mean the same to every Python that it runs on."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _parser
from typing import Any

import archiver


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for module in pkgutil.walk_packages(archiver.__path__, "archiver."):
        if module.name.endswith("__main__") or ".migrations" in module.name or module.name == "archiver.embedded.watch":
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value


def operators(tree: Any) -> Iterator[str]:
    """All that a parsed pattern does, at any depth."""
    for one in tree:
        if isinstance(one, tuple | list | _parser.SubPattern):
            yield from operators(one)
        elif one is not None and type(one) is not int:  # operators are of a kind of int
            yield str(one)


def misread(tree: Any) -> Iterator[str]:
    """What stands in the possessive repeats and atomic groups of a pattern, and is read wrongly there."""
    for one in tree:
        if isinstance(one, tuple) and one and str(one[0]) in ("POSSESSIVE_REPEAT", "ATOMIC_GROUP"):
            yield from {*operators(one[1:])} & {"BRANCH", "ASSERT", "ASSERT_NOT", "SUBPATTERN", "GROUPREF"}
        elif isinstance(one, tuple | list | _parser.SubPattern):
            yield from misread(one)


def test_no_pattern_means_another_thing_to_an_older_python() -> None:
    """Python 3.11.2 does not give back what an alternative, or a look ahead, took in the last round of a
    possessive repeat, and loses groups in it: the kind of an error would be another one there."""
    found = dict(patterns())
    assert len(found) > 50
    for name, pattern in found.items():
        assert not list(misread(_parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))), name
    for wrong in ("(?:a|b(?=c))*+", "(?>ab|cd)", "(?>a(?=b))", "x((?:(a)b)*+)"):
        assert list(misread(_parser.parse(wrong))), wrong
    assert not list(misread(_parser.parse(r"(\"[^\"]*+(?:..)*+)")))
