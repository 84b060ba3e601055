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
    before: dict[int, str] = {}
    if limit is None:
        some = keys(reader, which, oldest_first=True)
    else:
        newest = list(keys(reader, which, limit))[::-1]
        if len(newest) == limit:
            before = _results_before(reader, which, newest)
        some = iter(newest)
    while batch := list(islice(some, BATCH)):
        answers = _answers(reader, batch)
        for row in rows_of(reader, iter(batch)):
            answer = answers.get((row["flow_key"], row["log_id"]))
            yield row | {"answer": answer or row["message"], "turn": _turn(before, row)}


def _turn(before: dict[int, str], row: Row) -> str | None:
    result, flow = row["status"], row["flow_key"]
    if result not in _DECIDED:
        return None
    previous, before[flow] = before.get(flow, result), result
    if previous == result:
        return None
    return BROKE if result == "failed" else RECOVERED


def _results_before(reader: Reader, which: Search, newest: list[Key]) -> dict[int, str]:
    """How it stood in each flow before the first of these lines."""
    results: dict[int, str] = {}
    mine = {(key.flow_key, key.log_id) for key in newest}
    first = {key.flow_key: key for key in reversed(newest)}
    for flow, key in first.items():
        moment = reader.rows("SELECT %(moment)s::timestamptz AS at", moment=key.created)[0]["at"]
        earlier = replace(
            which,
            flow_keys=[flow],
            until=moment + timedelta(microseconds=1),  # others may share the moment
            statuses=[word for word in which.statuses or _DECIDED if word in _DECIDED],
        )
        if not earlier.statuses:
            continue
        same = sum(one.flow_key == flow and one.created == key.created for one in newest)
        found = (one for one in keys(reader, earlier, same + 1) if (one.flow_key, one.log_id) not in mine)
        for row in rows_of(reader, islice(found, 1)):
            results[flow] = row["status"]
    return results


def _answers(reader: Reader, batch: list[Key]) -> dict[tuple[int, int], str]:
    rows = reader.rows(_ANSWERS, flow_keys=[key.flow_key for key in batch], log_ids=[key.log_id for key in batch])
    return {(row["flow_key"], row["log_id"]): row["answer"] for row in rows if row["answer"] is not None}
