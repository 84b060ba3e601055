"""Evidence: one zip that proves a run, for somebody who has neither the archive nor the Integrator.

index.html               the run on a page
run.json                 the run as reporting.run shows it, and when it was seen and confirmed
steps.json, lines.jsonl  its steps and lines as the views show them
source/main_log.json     the rows of the Logs API as they came: the run with its sub flows,
source/line_logs.jsonl   and its lines
files/…                  the downloaded files, byte for byte
files.json               of each: when it was fetched, its size, its SHA-256
SHA256SUMS               of everything above, for `sha256sum -c`
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import IO, Any

from archiver import queries
from archiver.evidence.page import page
from archiver.logs import canonical
from archiver.queries import originals

__all__ = ["Proof", "write"]

SHOWN = 500  # lines on the page, failed ones first, and files; all are in lines.jsonl and files.json


@dataclass(slots=True)
class Proof:
    """What is in a zip of evidence."""

    run_id: str | None
    archive_state: str
    lines: int = 0
    files: int = 0
    sums: dict[str, str] = field(default_factory=dict)


def write(reader: queries.Reader, one: queries.Row, to: IO[bytes], now: datetime) -> Proof:
    """Write the evidence of a row of reporting.run that came from this reader: all of it is one state of the archive.

    Memory grows with the number of its files alone, by the name and the checksum of each.
    """
    proof = Proof(one["run_id"], one["archive_state"])
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as zipped:
        into = _Into(zipped, proof, now)
        times = queries.times_of(reader, one)
        steps = queries.steps_of(reader, one)
        file_count = _files(reader, one, into)
        into.text("run.json", _json({**one, "archive": times, "written_at": now}))
        into.text("steps.json", _json(steps))
        into.array("files.json", map(_about, queries.files_of(reader, one)))
        proof.lines = into.rows("lines.jsonl", map(_bytes, map(_json, queries.lines_of(reader, one))))
        into.put("source/main_log.json", originals.main_log_of(reader, one))
        into.rows("source/line_logs.jsonl", originals.line_logs_of(reader, one))
        some = list(islice(queries.lines_of(reader, one, SHOWN), SHOWN))
        files = list(map(_about, islice(queries.files_of(reader, one), SHOWN)))
        into.text("index.html", page(one, times, steps=steps, lines=some, files=files, file_count=file_count, now=now))
        sums = "".join(f"{digest}  {name}\n" for name, digest in sorted(proof.sums.items()))
        zipped.writestr(into.entry("SHA256SUMS"), sums, zipfile.ZIP_DEFLATED)
    return proof


def _files(reader: queries.Reader, one: queries.Row, into: _Into) -> int:
    """The files into the zip; answers how many are known of, those that could not be had among them."""
    count = 0
    for row in queries.files_of(reader, one):
        count += 1
        if (name := _name(row)) is not None:
            into.put(name, queries.raw_of(reader, row) or b"")
            into.proof.files += 1
    return count


def _name(row: queries.Row) -> str | None:
    """What a file is called in the zip; None where there are no bytes of it."""
    suffix = "zip" if row["body_form"] == "zip" else "bin"
    return f"files/{row['log_type']}-{row['log_id']}.{suffix}" if row["has_body"] else None


def _about(row: queries.Row) -> queries.Row:
    return {"file": _name(row), **{key: value for key, value in row.items() if key not in ("flow_key", "has_body")}}


class _Into:
    """The zip, and the checksums of what went into it."""

    def __init__(self, zipped: zipfile.ZipFile, proof: Proof, now: datetime) -> None:
        self.proof = proof
        self._zipped = zipped
        self._time = now.timetuple()[:6]

    def entry(self, name: str) -> zipfile.ZipInfo:
        return zipfile.ZipInfo(name, self._time)

    @contextmanager
    def _open(self, name: str) -> Iterator[_Summed]:
        entry = self.entry(name)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with self._zipped.open(entry, "w", force_zip64=True) as file:
            summed = _Summed(file)
            yield summed
        self.proof.sums[name] = summed.digest.hexdigest()

    def put(self, name: str, body: bytes) -> None:
        with self._open(name) as file:
            file.write(body)

    def text(self, name: str, text: str) -> None:
        self.put(name, _bytes(text))

    def array(self, name: str, values: Iterable[queries.Row]) -> None:
        """A JSON list of them, a line each."""
        with self._open(name) as file:
            file.write(b"[")
            for place, value in enumerate(values):
                file.write((b",\n" if place else b"") + _bytes(_json(value)))
            file.write(b"]")

    def rows(self, name: str, lines: Iterable[bytes]) -> int:
        count = 0
        with self._open(name) as file:
            for line in lines:
                file.write(line + b"\n")
                count += 1
        return count


class _Summed:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _json(value: Any) -> str:
    """JSON of rows of the readers: times as canonical text, what is JSON already as it is."""
    if isinstance(value, queries.Json):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",\n".join(map(_json, value)) + "]"
    if isinstance(value, datetime):
        return json.dumps(canonical(value))
    return json.dumps(value, ensure_ascii=False)
