"""What somebody meant who wrote something else."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from difflib import get_close_matches

from archiver.queries.criteria import Criterion, NotSearched

_ALMOST = re.compile(r'(?<!\S)([^\s"=:]+)(?:\s+=\s*|=\s+|\s*:\s*)(?=\S)')


def nearest(name: str, names: Collection[str]) -> str:
    """The name of a field that comes nearest, whatever its case; nothing where none is near."""
    known = {one.lower(): one for one in names}
    return next((known[one] for one in get_close_matches(name.lower(), known, 1)), "")


def meant(text: str, names: Collection[str]) -> str:
    """`sku = X` and `sku: X` as FIELD=VALUE; nothing where no field is named like that."""

    def written(found: re.Match[str]) -> str:
        return f"{found[1]}=" if _is_field(found[1], names) else found[0]

    better = _ALMOST.sub(written, text)
    return better if better != text else ""


def _is_field(name: str, names: Collection[str]) -> bool:
    with suppress(NotSearched):
        return name in names or Criterion(name, "").has_column
    return False
