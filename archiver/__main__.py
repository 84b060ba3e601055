"""`archiver`, also as `python -m archiver`."""

from __future__ import annotations

import sys


def main() -> int:
    """The console script; answers the exit status."""
    from archiver import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
