"""The lists and files of the Integrator's own API, out of the archive: for the replayed Logs API.

A page is cut out of its list without counting or skipping what lies before it, however deep it is: counts come from
`archive.flow_day` and `archive.run.line_count`, which the store keeps, and so does the way to the page.
"""

from archiver.queries.replay.asking import Ask, Listing, Replay, TooBroad, asking
from archiver.queries.replay.files import CHUNK, File, chunk_of, file_of
from archiver.queries.replay.listing import Named, flows_called, listing
from archiver.queries.replay.memory import Memory

__all__ = [
    "CHUNK",
    "Ask",
    "File",
    "Listing",
    "Memory",
    "Named",
    "Replay",
    "TooBroad",
    "asking",
    "chunk_of",
    "file_of",
    "flows_called",
    "listing",
]
