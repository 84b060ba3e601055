"""Rows from Postgres into Parquet, a batch at a time: ADBC reads Postgres's binary COPY straight into Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from adbc_driver_manager import Error as AdbcError
from adbc_driver_postgresql import StatementOptions, dbapi

from archiver.errors import DatabaseUnavailable
from archiver.export.places import Place, Summed
from archiver.postgres import DatabaseInterrupted

BATCH = 4 << 20  # bytes of rows that are in memory at once, roughly
GROUP = 64 << 20  # bytes of a row group before it is compressed: what a reader has to hold
MARK = b"archiver"  # in the footer of each file: what it holds, as JSON

Batches = Iterable[pa.RecordBatch]


@contextmanager
def session(dsn: str) -> Iterator[Any]:
    """A connection that reads one state of the archive in each transaction. Times are UTC."""
    try:
        connection = dbapi.connect(dsn)
    except AdbcError as exc:
        raise DatabaseUnavailable("the database could not be reached for the export: check database.url") from exc
    try:
        yield connection
    except AdbcError as exc:
        words = f" (SQLSTATE {exc.sqlstate})" if exc.sqlstate else ""
        raise DatabaseInterrupted(f"the database stopped the export{words}: start it again, it goes on") from exc
    finally:
        connection.close()


@contextmanager
def snapshot(connection: Any) -> Iterator[Any]:
    """A cursor whose statements see the same state."""
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH)})
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for setting in ("TimeZone = 'UTC'", "extra_float_digits = 1", "statement_timeout = 0"):
            cursor.execute(f"SET LOCAL {setting}")
        try:
            yield cursor
        finally:
            connection.rollback()


def _plain(field: pa.Field) -> pa.Field:
    """The type that every reader of Parquet knows: JSON is text."""
    kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    if pa.types.is_timestamp(kind):
        kind = pa.timestamp("us", tz="UTC" if kind.tz else None)
    return pa.field(field.name, kind)


def cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the schema's columns; one that it does not have is null."""
    columns = []
    for field in schema:
        place = batch.schema.get_field_index(field.name)
        column = pa.nulls(batch.num_rows, field.type) if place < 0 else batch.column(place)
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def write(
    cursor: Any,
    statement: str,
    sink: Summed,
    mark: Mapping[bytes, bytes],
    *,
    carried: Batches = (),
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write a statement's rows, and those that are carried over, as one file; answers how many there are."""
    cursor.execute(statement)
    reader = cursor.fetch_record_batch()
    schema = pa.schema([_plain(field) for field in reader.schema])
    with pq.ParquetWriter(sink, schema.with_metadata(dict(mark)), compression="zstd") as writer:
        rows = 0
        group: list[pa.RecordBatch] = []
        for batch in _all(reader, carried, schema):
            group.append(batch)
            rows += batch.num_rows
            progress(batch.num_rows)
            if sum(one.nbytes for one in group) >= GROUP:
                writer.write_table(pa.Table.from_batches(group))
                group = []
        if group:
            writer.write_table(pa.Table.from_batches(group))
    return rows


def _all(reader: Batches, carried: Batches, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in chain(reader, carried):
        yield cast(batch, schema)


def mark_of(place: Place, name: str) -> bytes | None:
    """What a complete file says that it holds; None where there is none, or no file of an export."""
    if place.size(name) is None:
        return None
    try:
        with place.reading(name) as file:
            metadata = pq.read_metadata(file).metadata or {}
    except (pa.ArrowInvalid, OSError):
        return None
    return bytes(metadata[MARK]) if MARK in metadata else None


def rows_of(place: Place, name: str) -> int:
    """How many rows a file holds."""
    with place.reading(name) as file:
        return int(pq.read_metadata(file).num_rows)
