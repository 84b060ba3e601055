"""A small process that outlives everybody who uses the server, and ends it if they were all killed.

Run as a script with the place's folder: it imports next to nothing while it sleeps, and mostly never more.
"""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path
from typing import IO


def watch(folder: Path) -> None:
    """Wait until the last user is gone, however it went; end the server if it is still up."""
    while True:
        _take(folder / "watched", fcntl.LOCK_EX).close()
        with _take(folder / "lock", fcntl.LOCK_EX):
            if _free(folder / "server"):
                return
            if not _free(folder / "users"):
                continue
            if not (folder / "by-hand").exists():
                _end(folder)
            return


def _end(folder: Path) -> None:
    from archiver.embedded import place, server  # a third of a second, spent only after a kill

    server.end(place.Place(folder, None))


def _free(path: Path) -> bool:
    try:
        _take(path, fcntl.LOCK_EX | fcntl.LOCK_NB).close()
    except BlockingIOError:
        return False
    return True


def _take(path: Path, how: int) -> IO[str]:
    file = path.open()  # never made here: the home may be about to be removed
    try:
        fcntl.flock(file, how)
    except BaseException:
        file.close()
        raise
    return file


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
