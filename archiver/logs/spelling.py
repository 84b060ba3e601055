"""A stored log as JSON text: what `render` gives, without parsing what is JSON text already.

For whoever hands logs on as they are: reading a row's fields to write them again takes several times as long as all
the rest.
"""

from __future__ import annotations

import orjson

from archiver.logs import times
from archiver.logs.exact import RAW, dump_exact
from archiver.logs.parse import render
from archiver.logs.rows import ENDED_LINE, FIELDS, SUB_FLOWS, Line, Run, Step

_KNOWN = frozenset((*FIELDS, "sub_flows", RAW))
_ALL = (1 << len(FIELDS)) - 1


def spell(log: Run | Step | Line) -> bytes:
    """The row as the Integrator sent it: as JSON, `render(log)` to the last digit."""
    last = log.rest if isinstance(log, Line) else log.extra
    # What a line has in `fields` is never under the name of a column; what is in the others may be.
    if last is not None and not _KNOWN.isdisjoint(orjson.loads(last)):
        return _exactly(log)
    row: dict[str, object] = dict(zip(FIELDS, log, strict=False))  # what comes behind the fields is left
    form = log.form
    if form & ENDED_LINE and log.triggered_by is not None:
        row["triggered_by"] = log.triggered_by + "\n"
    if isinstance(log, Run):
        row["created"], row["finished"] = map(_milliseconds, (log.created, log.finished))
    if form & _ALL:
        row = {name: row[name] for place, name in enumerate(FIELDS) if not form >> place & 1}
    if isinstance(log, Run) and not form & SUB_FLOWS:
        row["sub_flows"] = [orjson.Fragment(spell(step)) for step in log.steps]
    text = orjson.dumps(row)
    if isinstance(log, Line) and log.fields is not None:
        text = _joined(text, log.fields)
    return text if last is None else _joined(text, last)


def _joined(text: bytes, more: str) -> bytes:
    """Two objects as one."""
    if len(text) > 2 and len(more) > 2:
        return text[:-1] + b"," + more[1:].encode()
    return more.encode() if len(more) > 2 else text


def _milliseconds(moment: str | None) -> str | None:
    return None if moment is None else times.to_milliseconds(moment)


def _exactly(log: Run | Step | Line) -> bytes:
    """What `spell` gives, slowly: also numbers that no float holds, and half a character."""
    row = render(log)
    try:
        return orjson.dumps(row)
    except TypeError:
        return dump_exact(row).encode()
