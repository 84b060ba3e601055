"""The manifest: what a complete export consists of. Where there is none, there is no complete export."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from archiver.export.places import ExportRefused, Place, read

NAME = "_manifest.json"
PREVIOUS = "_previous.json"  # the manifest of the export before, while a new one is written
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. `flow_key`, `flow` and `month` are None for a view that is exported as a whole; `state` tells whether
    its rows have changed in the archive since."""

    path: str
    view: str
    flow_key: int | None
    flow: str | None
    month: str | None
    rows: int
    bytes: int
    sha256: str
    state: str

    @property
    def piece(self) -> tuple[str, int | None, str | None]:
        """What of the archive the file holds."""
        return self.view, self.flow_key, self.month


def load(place: Place) -> dict[tuple[str, int | None, str | None], Entry]:
    """The files of the last complete export, by what they hold; also if another one was killed since."""
    text = read(place, NAME) or read(place, PREVIOUS)
    if text is None:
        return {}
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ExportRefused(f"{place}: {NAME} was written by another version: export to another place")
        entries = [Entry(**entry) for entry in document["files"]]
    except (ValueError, KeyError, TypeError) as exc:
        raise ExportRefused(f"{place}: {NAME} is no manifest of an export: name another place") from exc
    return {entry.piece: entry for entry in entries}


def retire(place: Place) -> None:
    """From now on the export is not complete."""
    text = read(place, NAME)
    if text is not None:
        with place.writing(PREVIOUS) as file:
            file.write(text)
        place.remove(NAME)


def save(place: Place, entries: Iterable[Entry], about: Mapping[str, object]) -> None:
    """Say that the export is complete; the last that an export does."""
    files = [asdict(entry) for entry in sorted(entries, key=lambda one: one.path)]
    document = {"format": FORMAT, **about, "rows": sum(one["rows"] for one in files), "files": files}
    with place.writing(NAME) as file:
        file.write(json.dumps(document, indent=1, ensure_ascii=False).encode())
    place.remove(PREVIOUS)
