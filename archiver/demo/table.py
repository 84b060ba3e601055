"""A world of explicit rows: a test lists them, and inserts, deletes and changes them while they are being read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from threading import RLock
from typing import Any

from archiver.demo.flows import BRAND, Project
from archiver.demo.listing import Ask, Clock, Listing, Row, cut, matches, render
from archiver.demo.mishaps import pack


class TableWorld:
    """Rows in the order in which they stand in their list: position 0 comes first on page 1.

    Hold `lock` to change several things at once. A value that JSON libraries cannot hold exactly (`1.10`,
    a huge exponent) can be given as `orjson.Fragment`.
    """

    def __init__(self, clock: Clock, project: Project = BRAND) -> None:
        self.clock = clock
        self.project = project
        self.lock = RLock()
        self.files: dict[tuple[str, int], bytes] = {}  # the text of a download, by flow and log
        self._tables: dict[tuple[str, int], list[Row]] = {}

    def rows(self, flow_id: str, log_type: int) -> list[Row]:
        """The list itself, to be changed under `lock`."""
        with self.lock:
            return self._tables.setdefault((flow_id, log_type), [])

    def insert(self, flow_id: str, log_type: int, *rows: Row, at: int = 0) -> None:
        """Puts the rows into the list in the given order, the first of them at position `at`."""
        with self.lock:
            self.rows(flow_id, log_type)[at:at] = rows

    def delete(self, flow_id: str, log_type: int, *log_ids: int) -> None:
        """Takes the rows with these ids out of the list."""
        with self.lock:
            table = self.rows(flow_id, log_type)
            table[:] = [row for row in table if row["id"] not in log_ids]

    def update(self, flow_id: str, log_type: int, log_id: int, **changes: Any) -> None:
        """Changes fields of the row with this id; KeyError where there is none."""
        with self.lock:
            for row in self.rows(flow_id, log_type):
                if row["id"] == log_id:
                    row.update(changes)
                    return
        raise KeyError(log_id)

    def keep_file(self, flow_id: str, log_id: int, document: object) -> None:
        """Stores a well-formed download of this document; any other text goes straight into `files`."""
        with self.lock:
            self.files[flow_id, log_id] = pack(document)

    def main_logs(self, flow_id: str, now: datetime | None = None) -> list[Row]:  # noqa: ARG002 - as World has it
        """All main logs as a reader of the wire gets them, in their order; `now` is not looked at."""
        return self._copy(self.rows(flow_id, 1))

    def line_logs(self, flow_id: str, run_id: str, now: datetime | None = None) -> list[Row]:  # noqa: ARG002
        """A run's line logs as a reader of the wire gets them, in their order; `now` is not looked at."""
        return [row for row in self._copy(self.rows(flow_id, 3)) if row.get("original_filename_uuid") == run_id]

    def download(self, log_id: int) -> bytes | None:
        """The text of the first file kept for this id in any flow."""
        with self.lock:
            return next((text for (_, kept), text in self.files.items() if kept == log_id), None)

    def listing(self, ask: Ask) -> Listing:
        """The page as the lists stand now; sub flows come from the main logs where they have no list of their own."""
        with self.lock:
            if ask.project_id != self.project.project_id:
                return Listing(0, 0, b"")
            rows: Iterable[Row] = self._tables.get((ask.flow_id, ask.log_type), ())
            if ask.log_type == 2 and not rows:
                main = self._tables.get((ask.flow_id, 1), ())
                rows = (step for row in main for step in row.get("sub_flows") or ())
            return cut([row for row in rows if matches(row, ask)], ask)

    def file(self, project_id: str, project_slug: str, flow_id: str, log_id: int) -> bytes | None:
        """The text kept for this log of this flow, if the project is the world's own."""
        with self.lock:
            return self.files.get((flow_id, log_id)) if self.project == (project_id, project_slug) else None

    def _copy(self, rows: list[Row]) -> list[Row]:
        with self.lock:
            copied: list[Row] = json.loads(render(rows))
            return copied
