"""What pruning took from the archive stays in an export: a month that is written anew takes it over from the old file.

What was erased at a person's request does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from archiver import queries
from archiver.export.pieces import Piece
from archiver.export.places import Place

ROWS = 20_000  # that are in memory at once
_TYPES = {"run": 1, "step": 2, "line": 3}

Key = tuple[int, int]  # log type and id


def pruned_before(cursor: Any, piece: Piece) -> datetime | None:
    """Where the piece may once have had more rows: the time before which they were.

    By the cursor whose rows are written, as all that is asked here: the archive is pruned while an export runs.
    """
    if piece.flow_key is None or piece.month is None:
        return None
    cursor.execute(queries.pruned_statement(piece.view, piece.flow_key))
    (found,) = cursor.fetchone() or (None,)
    return found if found is not None and f"{found:%Y-%m}" >= piece.month else None


def erased(cursor: Any, view: str, flow_key: int) -> set[Key]:
    """The logs of which a view's row was erased, or changed, at a person's request."""
    cursor.execute(queries.erased_statement(view, flow_key))
    return set(cursor.fetchall())


def held(cursor: Any, piece: Piece, before: datetime) -> set[Key]:
    """Those logs of the piece, of the time in which others were pruned, that the archive still has: few as a rule."""
    columns = "log_id, log_type" if piece.view == "detail" else "log_id"
    statement = queries.month_statement(piece.view, piece.flow_key, piece.month, columns)
    cursor.execute(f"{statement} AND {queries.MONTHLY[piece.view]} < '{before.isoformat()}'")
    return set(_keys(piece.view, cursor.fetch_arrow_table()))


def _keys(view: str, rows: pa.Table | pa.RecordBatch) -> Iterator[Key]:
    ids = rows.column("log_id").to_pylist()
    if view != "detail":
        return ((_TYPES[view], log_id) for log_id in ids)
    types = rows.column("log_type").to_pylist()
    return ((queries.LOG_TYPES.get(kind, 0), log_id) for kind, log_id in zip(types, ids, strict=True))


def carried(place: Place, name: str, piece: Piece, before: datetime, without: set[Key]) -> Iterator[pa.RecordBatch]:
    """The rows of an older file that are pruned since: of that time, and none of `without`."""
    with place.reading(name) as file:
        for batch in pq.ParquetFile(file).iter_batches(ROWS):
            times = batch.column(queries.MONTHLY[piece.view]).to_pylist()
            keys = _keys(piece.view, batch)
            chosen = [moment < before and key not in without for moment, key in zip(times, keys, strict=True)]
            yield batch.filter(pa.array(chosen, pa.bool_()))
