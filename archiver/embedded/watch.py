"""A small process that outlives everybody who uses the server, and ends it if they were all killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from archiver.embedded import cluster, server
from archiver.embedded.place import Place

# It sleeps in flock with next to nothing imported, and takes up the rest when the last user is gone.
_PROGRAM = """
import fcntl, sys
while True:
    with open(sys.argv[1] + "/watched") as watched:
        fcntl.flock(watched, fcntl.LOCK_EX)
    from archiver.embedded.watch import end_if_unused
    if end_if_unused(sys.argv[1]):
        break
"""


def watch(place: Place) -> None:
    """Start the watcher. The caller has to be counted as a user already."""
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    environment = {**cluster.environment(), "PYTHONPATH": paths}
    with Path(os.devnull).open("w") as nowhere:
        server.detach([sys.executable, "-c", _PROGRAM, place.folder], stdout=nowhere, stderr=nowhere, env=environment)


def end_if_unused(folder: str) -> bool:
    """End the server unless somebody uses it; True where there is nothing left to watch."""
    place = Place(Path(folder), None)
    with place.locked():
        if place.used():
            return False
        if not place.by_hand.exists():
            server.end(place)
    return True
