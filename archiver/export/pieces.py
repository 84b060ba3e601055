"""What there is to export, and what each file of it is called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from archiver import queries
from archiver.export.places import ExportRefused

DEFAULT = ("flow", "run", "step", "line", "detail", "error_group", "run_daily")
FILE = "part-0.parquet"
_LONGEST = 150  # characters of a folder's name; file systems take 255 bytes
_SAFE = " ()-._~"  # besides letters and digits; the others are percent-encoded, as Hive does it


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the archive to export. Empty views: those of DEFAULT. Months that `since` or `until` cut are whole."""

    views: tuple[str, ...] = ()
    flow_keys: tuple[int, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """The content of one file: a view, or a month of a flow in it."""

    view: str
    flow_key: int | None
    flow: str | None
    month: str | None
    rows: int
    state: str
    path: str

    @property
    def key(self) -> tuple[str, int | None, str | None]:
        return self.view, self.flow_key, self.month

    @property
    def mark(self) -> bytes:
        """What the footer of the file says: the same words mean the same rows."""
        return json.dumps([self.view, self.flow_key, self.month, self.state]).encode()


def pieces_of(reader: queries.Reader, selection: Selection, revision: str) -> list[Piece]:
    """What is to be in the export; raises ExportRefused for a view that is not there."""
    views = _views(queries.reporting_views(reader), selection.views)
    names = folders(queries.flows(reader))
    since = _month(selection.since)
    until = _month(selection.until, after=True)
    found: list[Piece] = []
    for view in views:
        if view not in queries.MONTHLY:
            found.append(Piece(view, None, None, None, 0, "", f"{view}/{FILE}"))
            continue
        for one in queries.view_months(reader, view, selection.flow_keys, since, until):
            flow = names[one.flow_key]
            path = f"{view}/flow={flow}/month={one.month}/{FILE}"
            state = f"{revision} {one.state}"
            found.append(Piece(view, one.flow_key, flow, one.month, one.rows, state, path))
    return found


def _views(known: Sequence[str], wanted: Sequence[str]) -> Sequence[str]:
    for view in wanted:
        if view not in known:
            raise ExportRefused(f"there is no view {view!r} to export; there are {', '.join(known)}")
    return list(dict.fromkeys(wanted)) or [view for view in DEFAULT if view in known]


def folders(flows: Sequence[queries.FlowRow]) -> Mapping[int, str]:
    """What stands behind `flow=` for each flow: its name, as far as a folder can be called so, and no two alike."""
    names: dict[int, str] = {}
    for flow in sorted(flows, key=lambda one: one.flow_key):
        name = quote(flow.flow_name, safe=_SAFE)
        taken = {other.casefold() for other in names.values()}
        if len(name) > _LONGEST or name.casefold() in taken:
            name = f"{name[:_LONGEST]} ({flow.flow_key})"
        names[flow.flow_key] = name
    return names


def _month(moment: datetime | None, *, after: bool = False) -> datetime | None:
    """The beginning of the month of a moment; `after`: of the next one, unless the moment begins a month."""
    if moment is None:
        return None
    begin = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if not after or begin == moment:
        return begin
    return begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
