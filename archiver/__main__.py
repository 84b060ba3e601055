"""`archiver`, also as `python -m archiver`."""

from __future__ import annotations

import gc
import sys

# Objects between two looks for cycles. What is imported stays, and what comes of a page goes by itself: after every
# 700, as Python would have it, looking takes a twelfth of a start.
LOOKS = 5_000


def main() -> int:
    """The console script; answers the exit status."""
    gc.set_threshold(LOOKS)
    from archiver import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
