"""One thing's story over all flows: when it was sent, with what result, and what the other side answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from archiver.queries.reader import BATCH, Reader, Row
from archiver.queries.search import Key, Search, keys, newest, rows_of

BROKE = "broke"
RECOVERED = "recovered"
EARLIER = 100  # lines
SHARING = 100  # lines of one thing in one flow and one moment, at most
MORE = ("answer", "turn")  # beside the columns of reporting.line

_DECIDED = {2: "success", 3: "failed"}

# The vendor names no keys: "errors, request body, response body, and so on".
_ANSWERS = """
    SELECT d.flow_key, d.log_id, nullif(coalesce(
        d.document ->> 'response_body', d.document ->> 'responseBody', d.document ->> 'response body',
        d.document ->> 'response', d.document ->> 'errors'), '') AS answer
    FROM unnest(%(flow_keys)s::int[], %(log_ids)s::bigint[]) AS k (flow_key, log_id)
    JOIN archive.detail d ON d.flow_key = k.flow_key AND d.log_id = k.log_id AND d.log_type = 3
    WHERE d.document IS NOT NULL
"""


def history(reader: Reader, which: Search, limit: int | None = None) -> Iterator[Row]:
    """Rows of reporting.line, oldest first, each with its `answer` and its `turn`; the newest `limit` of them.

    `answer` is what the line's file says that the other side answered, else its message. `turn` is `broke` at the
    first failure after a success of the same flow, `recovered` at the first success after a failure, else None.
    """
    if limit is None:
        yield from _told(reader, keys(reader, which, oldest_first=True), {})
        return
    # Some more tell how it stood before in most flows; the others are asked about one by one.
    found, is_all = newest(reader, which, limit + EARLIER)
    shown, earlier = found[:limit][::-1], found[limit:]
    before: dict[int, str] = {}
    for key in reversed(earlier):
        if key.status in _DECIDED:
            before[key.flow_key] = _DECIDED[key.status]
    if not is_all:
        for key in shown:
            if key.status in _DECIDED and key.flow_key not in before:
                before[key.flow_key] = _result_before(reader, which, key) or _DECIDED[key.status]
    yield from _told(reader, iter(shown), before)


def _told(reader: Reader, some: Iterator[Key], before: dict[int, str]) -> Iterator[Row]:
    """The story of these lines. `before`: how it stood in a flow until then, where that is known."""
    while batch := list(islice(some, BATCH)):
        answers = _answers(reader, batch)
        for row in rows_of(reader, iter(batch)):
            result, flow = row["status"], row["flow_key"]
            turn = None
            if result in _DECIDED.values():
                if before.get(flow, result) != result:
                    turn = BROKE if result == "failed" else RECOVERED
                before[flow] = result
            yield row | {"answer": answers.get((flow, row["log_id"])) or row["message"], "turn": turn}


def _result_before(reader: Reader, which: Search, key: Key) -> str | None:
    """How it stood in the line's flow before that line."""
    moment = reader.rows("SELECT %(moment)s::timestamptz AS at", moment=key.created)[0]["at"]
    # Others may share the moment.
    until = moment + timedelta(microseconds=1)
    earlier = replace(which, flow_keys=[key.flow_key], statuses=tuple(_DECIDED.values()), until=until)
    found = (one for one in keys(reader, earlier, SHARING) if one.created != key.created or one.log_id < key.log_id)
    return next((_DECIDED[one.status] for one in found if one.status in _DECIDED), None)


def _answers(reader: Reader, batch: list[Key]) -> dict[tuple[int, int], str]:
    rows = reader.rows(_ANSWERS, flow_keys=[key.flow_key for key in batch], log_ids=[key.log_id for key in batch])
    return {(row["flow_key"], row["log_id"]): row["answer"] for row in rows if row["answer"] is not None}
