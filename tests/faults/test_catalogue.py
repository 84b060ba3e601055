"""The catalogue has 62 rows, and each has its test, which says what is naive and shows that it fails."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent


def rows() -> dict[int, str]:
    lines = (HERE / "catalogue.txt").read_text(encoding="utf-8").splitlines()
    return {int(line[:2]): line[3:] for line in lines if not line.startswith("#")}


def by_row() -> dict[int, list[ast.FunctionDef]]:
    found: dict[int, list[ast.FunctionDef]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (named := re.match(r"test_(\d\d)_", node.name)):
                found.setdefault(int(named[1]), []).append(node)
    return found


def test_every_row_has_its_test() -> None:
    assert list(rows()) == list(range(1, 63))
    assert sorted(by_row()) == list(rows())


def test_every_row_says_what_is_naive() -> None:
    silent = [
        number
        for number, some in by_row().items()
        if not any("Naive:" in (ast.get_docstring(one) or "") for one in some)
    ]
    assert silent == []
