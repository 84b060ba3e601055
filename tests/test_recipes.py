"""docs/recipes.md: twenty questions, each with the answer that it really gets."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.recipes import DOCUMENT, answer, archived, recipes


def test_every_recipe_gets_the_answer_that_it_shows(tmp_path: Path, database: str) -> None:
    found = recipes(DOCUMENT.read_text(encoding="utf-8"))
    assert len(found) == len({recipe.title for recipe in found}) == 20
    with archived(tmp_path, database) as reader:
        for recipe in found:
            assert answer(reader, recipe.statement) == recipe.answer, recipe.title
            assert not re.search(r"^\(0 rows\)$", recipe.answer, re.MULTILINE), (
                f"{recipe.title}: an answer that says nothing"
            )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT 1 FROM archive.line")


def test_recipes_read_the_views_alone() -> None:
    for recipe in recipes(DOCUMENT.read_text(encoding="utf-8")):
        assert "archive." not in recipe.statement, recipe.title
        assert "ORDER BY" in recipe.statement, recipe.title
