"""A stored file on its way to a reader, a part at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from archiver.queries import replay
from archiver.store import translated
from archiver.web.errors import NotThere
from archiver.web.room import Room


async def parts_of(room: Room, file: replay.File) -> AsyncIterator[bytes]:
    """The bytes as they came; neither thread nor connection is held while the reader takes a part."""
    for start in range(0, file.size, replay.CHUNK):
        yield await room.workers.run(partial(_part, room, file, start))


def _part(room: Room, file: replay.File, start: int) -> bytes:
    with translated(), room.asking() as asked:
        part = replay.chunk_of(asked, file, start)
    if part is None:
        raise NotThere("The file was fetched anew meanwhile; ask again.")
    return part
