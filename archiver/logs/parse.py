"""Rows into columns, and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from archiver.logs import times
from archiver.logs.exact import RAW, holdable, pack, source_hash, source_of, unpack
from archiver.logs.rows import ENDED_LINE, FIELDS, SUB_FLOWS, Line, Row, Run, Step

FIELD_LENGTH = 200  # characters of the longest value that is indexed for search
UUID_LENGTH = 200  # characters; a btree key has to stay below 2,704 bytes

_KNOWN = frozenset(FIELDS)
_PLACE = {name: place for place, name in enumerate(FIELDS)}
_CREATED, _FINISHED, _TRIGGERED_BY = _PLACE["created"], _PLACE["finished"], _PLACE["triggered_by"]
_INT2 = (-(2**15), 2**15 - 1)
_INT4 = (-(2**31), 2**31 - 1)
RANGES = {"id": (-(2**63), 2**63 - 1)}
RANGES |= dict.fromkeys(("state", "status", "log_type", "is_send_S3"), _INT2)
RANGES |= dict.fromkeys(
    ("fragment_count", "process_count", "success_count", "fail_count", "flow_order", "row_num"), _INT4
)
_LIMITS = tuple((_PLACE[name], low, high) for name, (low, high) in RANGES.items())
TYPES: tuple[type, ...] = tuple(
    bool if name in ("in_bound", "is_triggered") else int if name in RANGES else str for name in FIELDS
)
_ORIGINAL = _PLACE["original_filename_uuid"]
_UUIDS = (_ORIGINAL, _PLACE["filename_uuid"])


class _Absent:
    """The type of the value of a field that a row does not have."""


_ABSENT = _Absent()
_NONE = type(None)


def parse_run(row: Row) -> Run:
    """Read a main log. A step that cannot be read as one stays in `extra`, with the whole `sub_flows`.

    Raises PageUnreadable where values are nested some hundreds deep.
    """
    columns, misfits, source = _columns(row, times.milliseconds)
    others = {name: value for name, value in row.items() if name not in _KNOWN} | misfits
    listed = others.pop("sub_flows", _ABSENT)
    steps: tuple[Step, ...] = ()
    if isinstance(listed, _Absent):
        columns[len(FIELDS)] |= SUB_FLOWS
    elif isinstance(listed, list) and all(isinstance(step, dict) for step in listed):
        steps = tuple(parse_step(step, place) for place, step in enumerate(listed))
        if len({step.log_id for step in steps} - {None}) < len(steps) or len(steps) > _INT2[1]:
            others["sub_flows"] = listed
    else:
        others["sub_flows"] = listed
    return Run._make((*columns, source_hash(source), pack(others), steps))


def parse_step(row: Row, position: int | None = None) -> Step:
    """Read a sub flow log. `position`: its place in the `sub_flows` of its run, if it was there. Raises as `parse_run`
    does."""
    columns, misfits, source = _columns(row, times.iso)
    others = {name: value for name, value in row.items() if name not in _KNOWN} | misfits
    return Step._make((*columns, source_hash(source), pack(others), position))


def parse_line(row: Row) -> Line:
    """Read a line log. Raises PageUnreadable where values are nested some hundreds deep."""
    columns, misfits, source = _columns(row, times.iso)
    fields: Row = {}
    rest = misfits
    for name, value in row.items():
        if name not in _KNOWN:
            (fields if _is_field(value) and name != RAW else rest)[name] = value
    if isinstance(source, str):  # an odd row: what jsonb refuses goes into `rest`
        rest |= {name: value for name, value in fields.items() if not (holdable(name) and holdable(value))}
        fields = {name: value for name, value in fields.items() if name not in rest}
    packed = orjson.dumps(fields).decode() if fields else None
    return Line._make((*columns, source_hash(source), packed, pack(rest)))


def render(log: Run | Step | Line) -> Row:
    """The row as the Integrator sent it: the same fields and values, though perhaps in another order."""
    beside = unpack(log.fields) | unpack(log.rest) if isinstance(log, Line) else unpack(log.extra)
    row: Row = {name: log[place] for place, name in enumerate(FIELDS) if not log.form >> place & 1}
    if isinstance(log, Run):
        for name in ("created", "finished"):
            if row.get(name) is not None:
                row[name] = times.to_milliseconds(row[name])
    if log.form & ENDED_LINE and log.triggered_by is not None:
        row["triggered_by"] = log.triggered_by + "\n"
    if isinstance(log, Run) and not log.form & SUB_FLOWS:
        row["sub_flows"] = [render(step) for step in log.steps]
    return row | beside


class _Plan(NamedTuple):
    """What the types of a row's known fields decide: rows of one flow share a few of these."""

    form: int
    misfits: tuple[int, ...]
    limits: tuple[tuple[int, int, int], ...]
    uuids: tuple[int, ...]


_plans: dict[tuple[type, ...], _Plan] = {}


def _plan(types: tuple[type, ...]) -> _Plan:
    fits = [have in (want, _NONE, _Absent) for have, want in zip(types, TYPES, strict=True)]
    # Null in one of these is a misfit: the store fills the column from the run, so that `rest` has to remember it.
    for place in (_CREATED, _ORIGINAL):
        fits[place] &= types[place] is not _NONE
    plan = _Plan(
        form=sum(1 << place for place, have in enumerate(types) if have is _Absent),
        misfits=tuple(place for place, fit in enumerate(fits) if not fit),
        limits=tuple(limit for limit in _LIMITS if types[limit[0]] is int),
        uuids=tuple(place for place in _UUIDS if types[place] is str),
    )
    if len(_plans) < 10_000:
        _plans[types] = plan
    return plan


Moment = Callable[[Any], tuple[str | None, bool]]


def _columns(row: Row, moment: Moment) -> tuple[list[Any], Row, bytes | str]:
    """The values of the columns `log_id` to `form`; the known fields whose value its column cannot give back; and the
    row's canonical JSON, which is bytes, or text where the row is *odd*: it holds what jsonb refuses."""
    values = [row.get(name, _ABSENT) for name in FIELDS]
    types = tuple(map(type, values))
    plan = _plans.get(types) or _plan(types)
    misfits: Row = {}
    form = plan.form
    if form:
        values = [None if value is _ABSENT else value for value in values]
    for place in plan.misfits:
        misfits[FIELDS[place]] = values[place]
        values[place] = _salvage(place, values[place], moment)
    for place, low, high in plan.limits:
        if not low <= values[place] <= high:
            misfits[FIELDS[place]] = values[place]
            values[place] = None
    for place in plan.uuids:
        if len(values[place]) > UUID_LENGTH:
            misfits[FIELDS[place]] = values[place]
            values[place] = None
    _times(values, misfits, plan, moment)
    form |= _who(values, misfits)
    source = source_of(row)
    if isinstance(source, str):
        _clear_odd(values, row, misfits)
    values.append(form)
    return values, misfits, source


def _times(values: list[Any], misfits: Row, plan: _Plan, moment: Moment) -> None:
    for place in (_CREATED, _FINISHED):
        if values[place] is not None and place not in plan.misfits:
            original = values[place]
            values[place], exact = moment(original)
            if not exact:
                misfits[FIELDS[place]] = original


def _who(values: list[Any], misfits: Row) -> int:
    """`triggered_by` may end in a line break: the column goes without."""
    who = values[_TRIGGERED_BY]
    if who is None or not who.endswith(("\n", "\r")):
        return 0
    values[_TRIGGERED_BY] = bare = who.rstrip("\r\n")
    if who == bare + "\n":
        return ENDED_LINE
    misfits["triggered_by"] = who
    return 0


def _salvage(place: int, value: Any, moment: Moment) -> Any:
    """What a column can hold of a value of another type: ids and times that came as number or as text."""
    if place in (_CREATED, _FINISHED) and type(value) in (int, float):
        return moment(value)[0]
    if place == 0 and isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        return int(value)
    return None


def _clear_odd(values: list[Any], row: Row, misfits: Row) -> None:
    """Postgres text holds neither NUL nor lone surrogates: such a value stays beside its column."""
    for place, value in enumerate(values):
        if isinstance(value, str) and not holdable(value):
            values[place] = None
            misfits[FIELDS[place]] = row[FIELDS[place]]


def _is_field(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= FIELD_LENGTH
    return value is None or isinstance(value, int) or (isinstance(value, float) and holdable(value))
