"""Where an export is written: a folder, or a bucket. A file is there as a whole or not at all.

Names are relative, with slashes. What begins with `_` is no data: readers of Parquet folders leave it alone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from archiver.errors import OperatorError
from archiver.process import alone

CHUNK = 1 << 20


class ExportRefused(OperatorError):
    """What was asked for cannot be exported there."""


class Place(Protocol):
    """A folder or a bucket. What the disk or the bucket refuses comes out as OSError, as Python or pyarrow raise it."""

    def locked(self) -> AbstractContextManager[None]:
        """For one export at a time, as far as the place can tell. Raises ExportRefused where another one is at it."""

    def size(self, name: str) -> int | None:
        """The bytes of a file; None where there is none."""

    def reading(self, name: str) -> AbstractContextManager[Any]:
        """A file to read bytes from, in any order. Raises FileNotFoundError."""

    def writing(self, name: str) -> AbstractContextManager[Summed]:
        """A file to write to. It is there as a whole when the block has ended well, in place of the one before."""

    def remove(self, name: str) -> None:
        """Remove a file, where there is one."""

    def clear(self) -> None:
        """Remove what killed exports left behind."""


def place_at(where: str) -> Place:
    """The place that `--to` names: a folder, or a URI such as s3://bucket/prefix."""
    if not where:
        raise ExportRefused("an empty name is no place to export to: name a folder, or s3://bucket/prefix")
    if "://" in where:
        return Bucket(where)
    return Folder(Path(where).expanduser())


def part_of(name: str) -> str:
    """What a file is called until it is complete."""
    path = PurePosixPath(name)
    return str(path.with_name(f"_{path.name.removeprefix('_')}.part"))


def read(place: Place, name: str) -> bytes | None:
    """A small file, or None where there is none."""
    if place.size(name) is None:
        return None
    with place.reading(name) as file:
        return bytes(file.read())


def sha256_of(place: Place, name: str) -> str:
    """The checksum of a file, read once."""
    digest = hashlib.sha256()
    with place.reading(name) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Summed:
    """A file to write to that knows the checksum and the size of what went through it."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._digest.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Whoever opened the file closes it."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Folder:
    """A folder of this machine. A file gets its name when its bytes are on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Two exports into one folder would take each other's files for leftovers."""
        with alone(self._path / "_lock") as is_alone:
            if not is_alone:
                raise ExportRefused(f"another export is writing to {self}: wait for it, or name another folder")
            yield

    def size(self, name: str) -> int | None:
        try:
            return (self._path / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def reading(self, name: str) -> IO[bytes]:
        return (self._path / name).open("rb")

    @contextmanager
    def writing(self, name: str) -> Iterator[Summed]:
        part, path = self._path / part_of(name), self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            try:
                yield (summed := Summed(file))
                summed.flush()
                os.fsync(file.fileno())
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        part.replace(path)
        _sync_folder(path.parent)

    def remove(self, name: str) -> None:
        """Remove a file, and the folders that are empty without it."""
        (self._path / name).unlink(missing_ok=True)
        for parent in list((self._path / name).parents)[: len(PurePosixPath(name).parts) - 1]:
            try:
                parent.rmdir()
            except OSError:
                return

    def clear(self) -> None:
        """Remove what killed exports left behind."""
        for path in self._path.glob("**/_*.part"):
            path.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def quiet(text: str) -> str:
    """Text about a URI without the credentials that may stand in it: s3://key:secret@bucket."""
    return re.sub(r"://[^/?#\s]*@", "://***@", text)


class Bucket:
    """A place that pyarrow knows by its URI: s3://, gs://, file://, ….

    Nobody can lock a bucket: two exports into one at a time are for the operator to avoid.
    """

    def __init__(self, uri: str) -> None:
        from pyarrow import fs

        try:
            self._files, self._base = fs.FileSystem.from_uri(uri)
        except (OSError, ValueError) as exc:  # pyarrow's errors are both
            raise ExportRefused(f"{quiet(uri)} cannot be written to: {quiet(_first_line(exc))}") from None
        if not self._base.strip("/"):
            raise ExportRefused(f"{quiet(uri)} cannot be written to: name a bucket, as in s3://bucket/prefix")
        self._uri = uri
        self._kind = fs.FileType

    def __str__(self) -> str:
        return quiet(self._uri)

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield

    def _at(self, name: str) -> str:
        return f"{self._base.rstrip('/')}/{name}"

    def size(self, name: str) -> int | None:
        info = self._files.get_file_info(self._at(name))
        return int(info.size) if info.type == self._kind.File else None

    def reading(self, name: str) -> Any:
        return self._files.open_input_file(self._at(name))

    @contextmanager
    def writing(self, name: str) -> Iterator[Summed]:
        part = self._at(part_of(name))
        self._files.create_dir(str(PurePosixPath(part).parent), recursive=True)
        # To close an upload is to complete it: only the move to its name says that it is whole.
        with self._files.open_output_stream(part) as file:
            yield Summed(file)
        self._files.move(part, self._at(name))

    def remove(self, name: str) -> None:
        if self.size(name) is not None:
            self._files.delete_file(self._at(name))

    def clear(self) -> None:
        from pyarrow import fs

        for info in self._files.get_file_info(fs.FileSelector(self._base, recursive=True, allow_not_found=True)):
            if info.type == self._kind.File and info.base_name.startswith("_") and info.base_name.endswith(".part"):
                self._files.delete_file(info.path)


def _first_line(exc: Exception) -> str:
    return str(exc).split("\n", 1)[0][:300]
