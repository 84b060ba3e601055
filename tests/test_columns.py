"""JSON that is put together by the column is what orjson writes of each row."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.logs import Line, Row, parse_columns, parse_line
from archiver.logs.columns import Same, columns_of, objects, spelled, woven
from archiver.sheets import text_of, texts_of
from tests.examples import examples

texts = st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(
    ['","', '"', "\\", '\\"', "\n", "a,b", "ş", "→"]
)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=3)


@st.composite
def alike(draw: st.DrawFn) -> list[Row]:
    """Rows with the same keys in the same order, each column of one kind."""
    number, keys = draw(st.integers(1, 6)), draw(st.lists(texts, max_size=5, unique=True))
    kinds = st.sampled_from([texts, numbers, st.integers(0, 9), st.booleans(), st.just("TRY"), st.none(), values])
    columns = [draw(st.lists(draw(kinds), min_size=number, max_size=number)) for _ in keys]
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)] or [{}] * number


@settings(max_examples=examples(500), deadline=None)
@given(alike())
def test_objects_are_those_that_orjson_writes(rows: list[Row]) -> None:
    columns = columns_of(rows)
    told = {name: spelled(columns[name]) for name in sorted(columns)}
    assert objects(told, len(rows)) == [orjson.dumps(row, None, orjson.OPT_SORT_KEYS) for row in rows]


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(scalars, min_size=1, max_size=5))
def test_a_column_is_called_the_same_only_where_it_is(column: list[Any]) -> None:
    values, types = columns_of([{"x": value} for value in column])["x"]
    assert types == set(map(type, column))
    if type(values) is Same:
        assert len(set(map(repr, column))) == 1


def test_rows_are_woven_of_what_is_the_same_and_of_columns() -> None:
    assert woven([b"(", b"<", [b"1", b"2"], b">", [b"a", b"b"]], 2) == [b"(<1>a", b"(<2>b"]
    assert woven([b"(", b")"], 3) == [b"()"] * 3


@pytest.mark.parametrize("levels", [252, 253, 254, 255])
def test_what_orjson_does_not_write_of_a_row_is_not_taken_from_its_columns(levels: int) -> None:
    """It writes 254 levels, of which the row is one; beyond them the hash is of ASCII JSON."""
    row: Row = {"id": 1, "x": "ş", "y": "ş"}
    for _ in range(levels):
        row |= {"x": [row["x"]], "y": {"z": row["y"]}}
    assert lines_of([row] * 5) == [parse_line(row)] * 5


def test_a_long_text_that_looks_like_a_number_leaves_the_others_in_their_order() -> None:
    row: Row = {"id": 1, "created": "2026-11-27T10:00:00+00:00", "b": "x" * 300 + ":1e5", "a": "y" * 300}
    row["original_filename_uuid"] = "run-1"
    assert lines_of([row] * 5) == [parse_line(row)] * 5


def lines_of(rows: list[Row]) -> list[Line]:
    read = parse_columns(rows)
    return [line for block in read.alike for line in block.lines()] + read.odd


def test_json_goes_into_a_row_for_copy_as_text_does() -> None:
    line = parse_line({"id": 1, "created": "2026-11-27T10:00:00+00:00", "message": 'a "quoted\\n" name', "rest": [1]})
    columns = [*zip(*[line] * 3, strict=True)]
    for name in ("fields", "rest"):
        place = Line._fields.index(name)
        columns[place] = tuple(text.encode() for text in columns[place])
    assert texts_of(columns) == [text_of(line)] * 3
