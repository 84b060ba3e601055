"""The archive as Parquet: a folder for each view, in it one file for each flow and month, and a manifest.

A month whose rows have not changed since it was written is left alone, so that an export that was killed goes on where
it was, and the next one writes only what is new. The manifest goes away before the first file changes and comes last.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from types import ModuleType

from sqlalchemy import Engine

from archiver import queries, schema
from archiver.errors import MissingExtra, extra
from archiver.export import manifest
from archiver.export.manifest import Entry
from archiver.export.pieces import Piece, Selection, pieces_of
from archiver.export.places import ExportRefused, Place, place_at, sha256_of
from archiver.logs import canonical

__all__ = ["ExportRefused", "Exported", "Selection", "export", "require"]


@dataclass(slots=True)
class Exported:
    """What an export has done so far. `rows_to_write` is what it found at its beginning."""

    place: str
    written: int = 0
    kept: int = 0
    rows: int = 0
    bytes: int = 0
    rows_to_write: int = 0
    now_at: str = ""
    files: list[Entry] = field(default_factory=list)


def require() -> None:
    """Raises MissingExtra where the packages for exporting are not installed."""
    if not all(find_spec(name) for name in ("pyarrow", "adbc_driver_manager", "adbc_driver_postgresql")):
        raise MissingExtra(f"the export needs {extra('export')}")


def export(
    engine: Engine,
    dsn: str,
    to: str,
    selection: Selection,
    *,
    now: datetime,
    progress: Callable[[Exported], None] = lambda _: None,
) -> Exported:
    """Bring the export at `to` (a folder, or a URI as s3://bucket/prefix) up to date with the archive.

    `dsn`: the same database as libpq writes it. What is there of other views, flows and months stays, and stays in the
    manifest. Raises ExportRefused where the place cannot be written to.
    """
    require()
    place = place_at(to)
    with queries.reading(engine) as reader:
        pieces = pieces_of(reader, selection, schema.newest())
    report = Exported(str(place))
    with _filing(place), place.locked():
        place.clear()
        _Work(place, dsn, report, progress).run(pieces, now)
    return report


class _Work:
    def __init__(self, place: Place, dsn: str, report: Exported, progress: Callable[[Exported], None]) -> None:
        self._place = place
        self._dsn = dsn
        self._report = report
        self._progress = progress
        self._before = manifest.load(place)

    def run(self, pieces: list[Piece], now: datetime) -> None:
        from archiver.export import parquet

        entries = dict(self._before)
        writing: list[Piece] = []
        for piece in pieces:
            entry = self._kept(parquet, piece)
            if entry is None:
                writing.append(piece)
            else:
                entries[piece.key] = entry
        self._report.kept = len(pieces) - len(writing)
        self._report.rows_to_write = sum(piece.rows for piece in writing)
        if writing or entries != self._before:
            manifest.retire(self._place)
        with parquet.session(self._dsn) as connection:
            for piece in writing:
                entries[piece.key] = self._write(parquet, connection, piece)
                old = self._before.get(piece.key)
                if old is not None and old.path != piece.path:  # the flow has another name now
                    self._place.remove(old.path)
        self._report.files = [entry for entry in entries.values() if self._place.size(entry.path) == entry.bytes]
        manifest.save(self._place, self._report.files, {"made_at": canonical(now), "schema": schema.newest()})

    def _kept(self, parquet: ModuleType, piece: Piece) -> Entry | None:
        """The entry of a file that holds the piece as it is now; what has no month is always written anew."""
        if piece.month is None or parquet.mark_of(self._place, piece.path) != piece.mark:
            return None
        size = self._place.size(piece.path) or 0
        old = self._before.get(piece.key)
        if old is not None and (old.path, old.state, old.bytes) == (piece.path, piece.state, size):
            return old
        rows, checksum = parquet.rows_of(self._place, piece.path), sha256_of(self._place, piece.path)
        return Entry(piece.path, piece.view, piece.flow_key, piece.flow, piece.month, rows, size, checksum, piece.state)

    def _write(self, parquet: ModuleType, connection: object, piece: Piece) -> Entry:
        def count(rows: int) -> None:
            self._report.rows += rows
            self._progress(self._report)

        self._report.now_at = piece.path
        self._progress(self._report)
        statement = queries.month_statement(piece.view, piece.flow_key, piece.month)
        mark = {parquet.MARK: piece.mark}
        with self._place.writing(piece.path) as sink, parquet.snapshot(connection) as cursor:
            carried = self._carried(parquet, cursor, piece)
            rows = parquet.write(cursor, statement, sink, mark, carried=carried, progress=count)
        self._report.written += 1
        self._report.bytes += sink.size
        return Entry(
            piece.path,
            piece.view,
            piece.flow_key,
            piece.flow,
            piece.month,
            rows,
            sink.size,
            sink.sha256,
            piece.state,
        )

    def _carried(self, parquet: ModuleType, cursor: object, piece: Piece) -> Iterable[object]:
        """Rows that the file has now and the archive has no more."""
        from archiver.export import carry

        before = carry.pruned_before(cursor, piece)
        old = self._before.get(piece.key)
        name = old.path if old is not None and self._place.size(old.path) is not None else piece.path
        if before is None or piece.flow_key is None or parquet.mark_of(self._place, name) is None:
            return ()
        without = carry.held(cursor, piece, before) | carry.erased(cursor, piece.view, piece.flow_key)
        return carry.carried(self._place, name, piece, before, without)


_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EACCES: "it may not be written to",
    errno.ENOENT: "it cannot be made there",
    errno.EPERM: "it may not be written to",
    errno.EROFS: "it lies on a read-only file system",
    errno.ENOTDIR: "a part of its path is a file",
    errno.EEXIST: "it is a file",
}


@contextmanager
def _filing(place: Place) -> Iterator[None]:
    """Errors of the disk or the bucket, in one line that says what holds: the export is not complete."""
    try:
        yield
    except OSError as exc:
        why = _DISK.get(exc.errno or 0) or str(exc).split("\n", 1)[0][:300]
        raise ExportRefused(
            f"{place}: {why}; the export is not complete, and goes on from here when it is started again"
        ) from exc
