"""Characters that show nothing: text of others loses them wherever it is shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pytest

from archiver.cli import words as command
from archiver.invisible import INVISIBLE
from archiver.signs.words import one_line
from archiver.web.pages import words as page

ONE = re.compile(f"[{INVISIBLE}]")


def test_they_are_what_unicode_calls_so() -> None:
    """Controls, separators of lines and surrogates all, and what reorders or tags text; the joiners of words stay."""
    others = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")]
    reordering = [
        chr(code) for code in range(0x110000) if unicodedata.bidirectional(chr(code))[:2] in ("LR", "RL", "PD")
    ]
    named = "\xad\u0600\u061c\u06dd\u180e\u200b\u200e\u200f\u2060\ufeff\ufff9\U0001d173\U000e0001\U000e0041"
    assert [one for one in (*others, *reordering, *named) if not ONE.fullmatch(one)] == []
    assert not ONE.search("ürün 👩\u200d👧 शक\u094d\u200dष \u200c")


@pytest.mark.parametrize("clean", [command.clean, one_line, page.clean], ids=["command", "alert", "page"])
def test_nobody_shows_them(clean: Callable[[str], str]) -> None:
    every = [chr(code) for code in range(0x110000) if ONE.fullmatch(chr(code)) and chr(code) not in "\t\n"]
    assert [one for one in every if one in clean(f"a{one}b")] == []
