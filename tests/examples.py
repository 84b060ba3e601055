"""How many examples property tests try: `make check` a share of them, by $ARCHIVER_EXAMPLES, `make test` all."""

from __future__ import annotations

import os

SHARE = float(os.environ.get("ARCHIVER_EXAMPLES", "1"))
FEWEST = 5


def examples(most: int = 100) -> int:
    """So many of `most`."""
    return max(FEWEST, round(SHARE * most))
