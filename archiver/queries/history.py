"""One thing's story over all flows: when it was sent, with what result, and what the other side answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from archiver.queries.reader import BATCH, Reader, Row
from archiver.queries.search import Key, Search, keys, rows_of

BROKE = "broke"
RECOVERED = "recovered"
EARLIER = 100  # lines
SHARING = 100  # lines of one thing in one flow and one moment, at most
MORE = ("answer", "turn")  # beside the columns of reporting.line

_DECIDED = ("success", "failed")

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
        yield from _told(reader, which, keys(reader, which, oldest_first=True))
        return
    # Some more tell how it stood before in most flows; the others are asked about one by one.
    newest = list(keys(reader, which, limit + EARLIER))[::-1]
    skip = max(0, len(newest) - limit)
    yield from islice(_told(reader, which, iter(newest), unsure_from=skip), skip, None)


def _told(reader: Reader, which: Search, some: Iterator[Key], unsure_from: int | None = None) -> Iterator[Row]:
    """The story of these lines. From `unsure_from` on, a flow's first result has one before it that is looked up."""
    before: dict[int, str] = {}
    place = 0
    while batch := list(islice(some, BATCH)):
        answers = _answers(reader, batch)
        for key, row in zip(batch, rows_of(reader, iter(batch)), strict=True):
            result, flow = row["status"], row["flow_key"]
            turn = None
            if result in _DECIDED:
                if flow not in before and unsure_from is not None and place >= unsure_from:
                    before[flow] = _result_before(reader, which, key) or result
                if before.get(flow, result) != result:
                    turn = BROKE if result == "failed" else RECOVERED
                before[flow] = result
            place += 1
            yield row | {"answer": answers.get((flow, row["log_id"])) or row["message"], "turn": turn}


def _result_before(reader: Reader, which: Search, key: Key) -> str | None:
    """How it stood in the line's flow before that line."""
    moment = reader.rows("SELECT %(moment)s::timestamptz AS at", moment=key.created)[0]["at"]
    # Others may share the moment.
    until = moment + timedelta(microseconds=1)
    earlier = replace(which, flow_keys=[key.flow_key], statuses=_DECIDED, until=until)
    found = (one for one in keys(reader, earlier, SHARING) if one.created != key.created or one.log_id < key.log_id)
    for row in rows_of(reader, islice(found, 1)):
        return str(row["status"])
    return None


def _answers(reader: Reader, batch: list[Key]) -> dict[tuple[int, int], str]:
    rows = reader.rows(_ANSWERS, flow_keys=[key.flow_key for key in batch], log_ids=[key.log_id for key in batch])
    return {(row["flow_key"], row["log_id"]): row["answer"] for row in rows if row["answer"] is not None}
