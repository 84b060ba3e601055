"""Parsing loses nothing, whatever the Integrator sends."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archiver.errors import ConfigError, LoginRefused, PageUnreadable, SourceUnavailable, extra
from archiver.logs import (
    FIELDS,
    Line,
    Row,
    Run,
    Step,
    canonical,
    dump_exact,
    field_names,
    load_exact,
    parse,
    parse_line,
    parse_page,
    parse_run,
    parse_step,
    render,
    spell,
)
from archiver.logs.alike import Columns, glimpse, parse_columns
from archiver.logs.exact import RAW, source_of
from archiver.logs.times import from_micros, micros, of_postgres, to_milliseconds
from archiver.redact import page_of
from tests.examples import examples

SUB_FLOW: Row = {
    "created": "2023-06-23T11:33:17.898+00:00",
    "id": 42,
    "process_group_id": "login",
    "process_group_name": "Login",
    "parent_process_group_id": "flow-1",
    "original_filename_uuid": "run-1",
    "filename_uuid": "step-1",
    "state": 3,
    "status": 2,
    "finished": "2023-06-23T11:33:42.00073+00:00",
    "process_count": 1,
    "success_count": 0,
    "fail_count": 0,
    "in_bound": False,
    "schedule": None,
    "is_triggered": True,
    "triggered_by": "test@akinon.com\n",
    "log_type": 2,
    "flow_order": 2,
    "is_send_S3": 0,
    "fragment_count": None,
    "row_num": 1,
}
MAIN: Row = {
    **{name: value for name, value in SUB_FLOW.items() if name != "row_num"},
    "created": "1687519997186",
    "finished": None,
    "log_type": 1,
    "sub_flows": [SUB_FLOW],
}

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec=None), max_size=300),
    st.sampled_from(["\0", "a\0b", "\ud800", "x" * 201, "2023-06-23T11:33:17.898Z", "1687519997186", "x\n", "x\r\n"]),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: load_exact(str(number))),
    st.datetimes(timezones=st.just(UTC)).map(canonical),
    st.integers(-(10**14), 10**14).map(str),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(FIELDS) | st.sampled_from(["sku", "message", RAW, "a\0", "\udfff"]) | st.text(max_size=8)
odd_rows = st.dictionaries(names, values, max_size=12)
near_rows = odd_rows.map(lambda odd: SUB_FLOW | odd)
rows = odd_rows | near_rows


@settings(max_examples=examples(300), deadline=None)
@given(rows)
@example(SUB_FLOW | {"process_group_name": "a\0b", "filename_uuid": "\ud800"})
def test_a_line_renders_back(row: Row) -> None:
    assert render(parse_line(row)) == row
    assert load_exact(spell(parse_line(row)).decode()) == row


@settings(max_examples=examples(100), deadline=None)
@given(rows)
def test_a_step_renders_back(row: Row) -> None:
    assert render(parse_step(row)) == row
    assert load_exact(spell(parse_step(row)).decode()) == row


@settings(max_examples=examples(100), deadline=None)
@given(rows, st.lists(near_rows, max_size=3) | values)
def test_a_run_renders_back(row: Row, sub_flows: Any) -> None:
    row = row | {"sub_flows": sub_flows}
    assert render(parse_run(row)) == row
    assert load_exact(spell(parse_run(row)).decode()) == row


def through_jsonb(text: str | None) -> str | None:
    """What jsonb makes of JSON: a number is its digits, without an exponent and without the sign of a zero."""

    def spelled(value: Any) -> str:
        if isinstance(value, Decimal):
            return format(value or abs(value), "f")
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(name)}: {spelled(item)}" for name, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(spelled, value)) + "]"
        return json.dumps(value)

    return None if text is None else spelled(json.loads(text, parse_float=Decimal, parse_int=Decimal))


NUMBERS = [-0.0, 0.0, 1e15, 9999999999999998.0, 1e16, -1e16, 1e22, 1.5e300, 5e-324, 1e-7, 5.0, 2**63, -(2**63), 2**64]
numbered = st.sampled_from(NUMBERS) | st.lists(st.sampled_from(NUMBERS), max_size=2) | values


@settings(max_examples=examples(300), deadline=None)
@given(st.dictionaries(names, numbered, max_size=6) | rows)
@example(SUB_FLOW | {f"n{place}": number for place, number in enumerate(NUMBERS)})
@example({"deep": {f"n{place}": [number] for place, number in enumerate(NUMBERS)}})
def test_every_digit_and_every_kind_of_number_comes_back_from_jsonb(row: Row) -> None:
    """To the type and the sign: 1 == 1.0 == True in Python, but not in what a hash is taken of."""
    line, run = parse_line(row), parse_run(row)
    assert source_of(render(line._replace(fields=through_jsonb(line.fields), rest=through_jsonb(line.rest)))) == (
        source_of(row)
    )
    assert source_of(render(run._replace(extra=through_jsonb(run.extra)))) == source_of(row)


plain: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(1, 99),
    "message": st.text(max_size=5),
    "price": st.floats(0, 9) | st.sampled_from(NUMBERS),
    "body": st.dictionaries(st.sampled_from("ab"), st.integers(0, 9) | st.sampled_from(NUMBERS)),
    "who": st.sampled_from(["System", "System\n"]),
    "triggered_by": st.sampled_from(["System", "test@akinon.com\n"]),
    "row_num": st.none() | st.integers(0, 9),
    "finished": st.none() | st.datetimes(timezones=st.just(UTC)).map(canonical),
}


@st.composite
def alike(draw: st.DrawFn) -> list[Row]:
    """Rows of one flow: the same fields in each, with few odd values, but for some rows that are wholly odd."""
    left_out = draw(st.sets(names, max_size=3))
    kinds = {**{name: st.just(value) for name, value in SUB_FLOW.items()}, **plain}
    odd = draw(st.dictionaries(names, values, max_size=2))
    number = draw(st.integers(4, 9))
    odd_places = draw(st.dictionaries(st.integers(0, number), st.dictionaries(names, values, max_size=2), max_size=3))
    rows = []
    for place in range(number):
        row = {name: draw(kind) for name, kind in kinds.items() if name not in left_out} | odd
        rows.append(row | odd_places.get(place, {}))
    return rows


def lines_of(columns: Columns) -> list[Line]:
    """The lines in columns, the odd ones last."""
    return [line for block in columns.alike for line in block.lines()] + columns.odd


def are_same(some: Iterable[Line], others: Iterable[Line]) -> bool:
    """Whether these are the same lines in any order, down to the types of their values."""
    return sorted(map(repr, some)) == sorted(map(repr, others))


def are_rendered(lines: Iterable[Line], rows: Iterable[Row]) -> bool:
    """Whether the lines give these rows back, in any order."""
    return sorted(dump_exact(render(line)) for line in lines) == sorted(map(dump_exact, rows))


@settings(max_examples=examples(300), deadline=None)
@given(alike())
def test_lines_that_are_read_together_are_what_each_is_by_itself(rows: list[Row]) -> None:
    together, alone = parse_columns(rows), [parse_line(row) for row in rows]
    assert are_same(lines_of(together), alone)
    assert are_rendered(lines_of(together), rows)
    assert together.names >= field_names(alone)


@pytest.mark.parametrize(
    "column", [[1, True, 1.0, 1], [0.0, -0.0, 0.0, 0.0], [[1], [True], [1.0], [1]], [0, False, 0, 0]]
)
@pytest.mark.parametrize("name", ["x", "status", "in_bound"])
def test_what_is_equal_need_not_be_the_same(column: list[object], name: str) -> None:
    rows = [SUB_FLOW | {"id": number, name: value} for number, value in enumerate(column)]
    assert are_rendered(lines_of(parse_columns(rows)), rows)


def test_columns_leave_the_odd_rows_out() -> None:
    rows = [SUB_FLOW | {"id": number, "sku": f"A-{number}"} for number in range(20)]
    rows[7] |= {"row_num": 2**40}
    columns = parse_columns(rows)
    assert columns.odd == [parse_line(rows[7])]
    assert [len(block[0]) for block in columns.alike] == [19]


def test_a_glimpse_is_of_plain_rows_alone() -> None:
    plain = [SUB_FLOW | {"id": number, "created": "2023-06-23T11:33:17.898+00:00"} for number in (1, 2)]
    seen = glimpse(plain)
    assert seen is not None
    assert (seen.ids, seen.created) == ([1, 2], ["2023-06-23T11:33:17.898+00:00"] * 2)
    assert len(set(seen.hashes)) == 2
    for odd in (
        {"id": "1"},
        {"id": True},
        {"id": 2**63},
        {"created": 1},
        {"created": "yesterday"},
        {"original_filename_uuid": None},
        {"original_filename_uuid": "x" * 10_000},
        {"message": "a\0"},
    ):
        assert glimpse([*plain, plain[0] | odd]) is None, odd
    assert glimpse([]) is None
    assert glimpse([{"id": 1}]) is None


def test_times_as_postgres_writes_them() -> None:
    assert of_postgres("2023-06-23 11:33:17.898+00") == "2023-06-23T11:33:17.898+00:00"


def test_lines_that_are_alike_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    read_alone: list[Row] = []

    def alone(row: Row) -> Line:
        read_alone.append(row)
        return parse_line(row)

    monkeypatch.setattr("archiver.logs.alike.parse_line", alone)
    rows = [SUB_FLOW | {"id": number, "sku": f"A-{number}", "body": {"n": number}} for number in range(100)]
    rows[7] |= {"finished": "2023-06-23T11:33:42Z"}
    rows[50] |= {"row_num": 2**40}
    together = parse_columns(rows)
    assert read_alone == [rows[7], rows[50]]
    assert together.names == {"sku"}
    assert parse_line(rows[8]) in lines_of(together)


@pytest.mark.parametrize("parse", [parse_run, parse_step, parse_line])
@settings(max_examples=examples(100), deadline=None)
@given(row=rows)
def test_what_is_kept_fits_postgres(parse: Any, row: Row) -> None:
    """No text with NUL or surrogates, no jsonb that Postgres refuses, numbers in their columns' range."""
    log: Run | Step | Line = parse(row)
    for value in log:
        if isinstance(value, str):
            assert "\0" not in value
            value.encode()  # a lone surrogate raises
            assert not any(odd in value for odd in ("\\u0000", "\\ud8", "\\udf")) or "\\\\u" in value
    for text in (log.fields, log.rest) if isinstance(log, Line) else (log.extra,):
        assert text is None or isinstance(json.loads(text, parse_constant=pytest.fail), dict)
    for small in (log.state, log.status, log.log_type, log.is_send_s3):
        assert small is None or -(2**15) <= small < 2**15


def test_the_sample_row_needs_nothing_beside_its_columns() -> None:
    run = parse_run(MAIN)
    assert (run.log_id, run.created, run.extra) == (42, "2023-06-23T11:33:17.186+00:00", None)
    assert run.triggered_by == "test@akinon.com"
    step = run.steps[0]
    assert (step.position, step.extra, step.finished) == (0, None, "2023-06-23T11:33:42.00073+00:00")
    assert render(run) == MAIN


def test_a_line_splits_what_has_no_column() -> None:
    line = parse_line(SUB_FLOW | {"sku": "A-1", "price": 12.5, "ok": True, "long": "x" * 201, "body": {"a": [1]}})
    assert line.fields is not None
    assert line.rest is not None
    assert json.loads(line.fields) == {"sku": "A-1", "price": 12.5, "ok": True}
    assert set(json.loads(line.rest)) == {"long", "body"}


@pytest.mark.parametrize(
    ("spelling", "kept"),
    [
        ("2023-06-23T11:33:17.898Z", "2023-06-23T11:33:17.898+00:00"),
        ("2023-06-23 14:33:17.898+03:00", "2023-06-23T11:33:17.898+00:00"),
        ("2023-06-23T11:33:17.898000+00:00", "2023-06-23T11:33:17.898+00:00"),
        ("2023-06-23T11:33:17.123456789+00:00", "2023-06-23T11:33:17.123456+00:00"),
        ("2023-06-23T11:33:17", "2023-06-23T11:33:17+00:00"),
        (1687519997186, "2023-06-23T11:33:17.186+00:00"),
        ("1687519997186", "2023-06-23T11:33:17.186+00:00"),
        ("yesterday", None),
        ("2023-02-30T11:33:17+00:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        (1e300, None),
        (True, None),
        ({"epoch": 1}, None),
    ],
)
def test_other_spellings_of_a_time_are_understood_and_kept(spelling: Any, kept: str | None) -> None:
    line = parse_line(SUB_FLOW | {"created": spelling})
    assert line.created == kept
    assert render(line)["created"] == spelling


def test_the_hash_tells_any_change_and_nothing_else() -> None:
    line = parse_line(SUB_FLOW)
    assert parse_line(dict(reversed(SUB_FLOW.items()))).src_hash == line.src_hash
    for name in FIELDS:
        assert parse_line(SUB_FLOW | {name: "another"}).src_hash != line.src_hash
    assert parse_line(SUB_FLOW | {"new": None}).src_hash != line.src_hash


def test_an_id_in_a_string_is_an_id() -> None:
    assert parse_line(SUB_FLOW | {"id": "17"}).log_id == 17
    assert parse_line(SUB_FLOW | {"id": "x17"}).log_id is None
    assert parse_line(SUB_FLOW | {"id": 2**63}).log_id is None


def page(results: str, **more: Any) -> bytes:
    return f'{{"count": {json.dumps(more.get("count", 1))}, "limit": 20, "results": {results}}}'.encode()


@pytest.mark.parametrize(
    "number",
    ["123456789012345678901234567890", "0.1000000000000000055511", "1e400", "1" * 5000, "-18446744073709551616.5"],
)
def test_numbers_keep_their_digits(number: str) -> None:
    parsed = parse_page(page(f'[{{"n": {number}}}]'))
    value = parsed.rows[0]["n"]
    assert Decimal(value) == Decimal(number)
    line = parse_line(parsed.rows[0])
    assert line.fields is None or "n" in line.fields
    assert Decimal(render(line)["n"]) == Decimal(number)


def test_short_numbers_stay_numbers() -> None:
    parsed = parse_page(page('[{"i": 7, "f": 12.5, "t": "86901234567890123456", "e": 1e3}]'))
    assert parsed.rows == [{"i": 7, "f": 12.5, "t": "86901234567890123456", "e": 1000.0}]


def test_lone_surrogates_and_nan_are_read() -> None:
    (row,) = parse_page(page('[{"s": "\\ud800", "n": NaN}]')).rows
    assert row["s"] == "\ud800"
    assert row["n"].is_nan()
    assert math.isnan(render(parse_line(row))["n"])


@pytest.mark.parametrize(
    ("count", "read"), [(5, 5), ("5", 5), (None, None), (-1, None), (1.5, None), (True, None), ("x", None)]
)
def test_count_is_evidence_only_where_it_is_a_number(count: Any, read: int | None) -> None:
    assert parse_page(page("[]", count=count)).count == read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b'{"results": [{"id": 1}',
        b"[]",
        b"null",
        b'{"results": null}',
        b'{"results": {"id": 1}}',
        b'{"results": [1]}',
        b'{"results": ' + b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"count": 0}',
        b'{"results": [{"x": 1e9999999999999999999}]}',
    ],
)
def test_what_is_no_page_is_never_an_empty_page(body: bytes) -> None:
    with pytest.raises(PageUnreadable):
        parse_page(body)


def test_a_byte_order_mark_is_read_over() -> None:
    assert parse_page(b"\xef\xbb\xbf" + page("[]")).rows == []


def test_canonical_time_sorts_as_it_reads() -> None:
    moments = [datetime(2023, 6, 23, 11, 33, second, micro, UTC) for second in (17, 18) for micro in (0, 5, 890, 900)]
    assert sorted(map(canonical, moments)) == [canonical(moment) for moment in sorted(moments)]
    assert load_exact("1.5") == 1.5


def test_values_that_do_not_fit_their_columns_are_kept_beside_them() -> None:
    """Numbers out of range, names that are too long for an index, other ends of a line."""
    row = {"id": 1, "row_num": 2**40, "filename_uuid": "u" * 5000, "triggered_by": "me@example.com\r\n"}
    line = parse_line(row)
    assert (line.row_num, line.filename_uuid, line.triggered_by) == (None, None, "me@example.com")
    assert render(line) == row


def test_a_new_shape_is_parsed_also_when_no_more_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parse, "_plans", dict.fromkeys(range(10_000)))
    row = {"id": 7, "state": "3", "status": 2}
    assert render(parse_line(row)) == row
    assert len(parse._plans) == 10_000


def test_times_as_numbers_and_back() -> None:
    moment = "2026-01-02T03:04:05.678+00:00"
    assert from_micros(micros(moment)) == moment
    assert to_milliseconds(moment) == "1767323045678"
    assert LoginRefused("refused", 3.0).seconds == 3.0
    assert ConfigError(["a", "b"]).problems == ("a", "b")
    assert "pip install '.[web]'" in extra("web"), "from its folder: PyPI's archiver is another program"
    assert SourceUnavailable("down", 503).status == 503


PLAIN = {
    "id": 1,
    "created": "2026-05-04T10:00:00.5+00:00",
    "finished": None,
    "original_filename_uuid": "run-1",
    "filename_uuid": "line-1",
    "state": 3,
    "row_num": 1,
    "triggered_by": "System",
    "sku": "SKU-1",
    "answer": {"code": 200},
}


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"sku": "\ud800"},
        {"sku": "a\0b"},
        {"sku": [1]},
        {"sku": "x" * 300},
        {"answer": "x" * 300},
        {"answer": 200},
        {"row_num": 2**40},
        {"row_num": None},
        {"state": "3"},
        {"created": None},
        {"created": "2026-13-45T00:00:00+00:00"},
        {"created": "2026-05-04 10:00"},
        {"finished": "2026-02-30T00:00:00+00:00"},
        {"filename_uuid": "u" * 5000},
        {"original_filename_uuid": None},
        {"triggered_by": "me@example.com\n"},
        {"triggered_by": "me@example.com\r\n"},
        {"triggered_by": None},
    ],
)
def test_a_row_that_is_odd_among_many_that_are_alike(odd: dict[str, Any]) -> None:
    rows = [{**PLAIN, "id": number, **(odd if number == 3 else {})} for number in range(8)]
    read = parse_columns(rows)
    lines = lines_of(read)
    assert are_same(lines, map(parse_line, rows))
    assert read.names == field_names(lines)
    assert are_rendered(lines, rows)


def test_names_of_fields_that_are_too_odd_for_a_column() -> None:
    rows = [{"id": number, "note": "x" * 300, "n" * 300: 1, "bad": "a\0b"} for number in range(2)]
    assert field_names(parse_line(row) for row in rows) == {"note", "$json"}


def test_rows_without_fields_of_their_own_are_read_together() -> None:
    rows = [{"id": number, "created": "2026-05-04T10:00:00+00:00", "status": 2} for number in range(8)]
    read = parse_columns(rows)
    assert are_same(lines_of(read), map(parse_line, rows))
    assert not read.names


@pytest.mark.parametrize("levels", [1, 199, 200, 201, 253, 254, 255, 300])
@pytest.mark.parametrize("parser", [parse_line, parse_run, parse_step])
def test_values_in_one_another(levels: int, parser: Callable[[Row], Any]) -> None:
    """orjson writes no more than 254 levels."""
    body = '{"results":[{"id":1,"x":%s1%s,"y":%s1%s}]}'
    (row,) = parse_page((body % ("[" * levels, "]" * levels, '{"a":' * levels, "}" * levels)).encode()).rows
    assert render(parser(row)) == row
    assert lines_of(parse_columns([row] * 5)) == [parse_line(row)] * 5


@pytest.mark.parametrize("levels", [350, 400, 450, 700, 900, 5000, 100_000])
@pytest.mark.parametrize("rules", [(), ("phone",)])
def test_a_row_that_is_nested_without_end_is_kept_or_an_unreadable_page(levels: int, rules: tuple[str, ...]) -> None:
    """How deep it may be is the interpreter's to say: Python 3.13 goes deeper than 3.11."""
    body = f'{{"results":[{{"id":1,"x":{"[" * levels}1{"]" * levels}}}]}}'.encode()
    try:
        (row,) = page_of(body, rules).rows
        assert render(parse_line(row)) == row
    except PageUnreadable as exc:
        assert re.search(r"nested too deeply|is not JSON", str(exc))  # noqa: PT017 - it may, and need not
    else:
        assert levels < 1000


@pytest.mark.parametrize("odd", [b'"oops"', b"null", b"7", b'[{"id": 1}]'])
def test_a_result_that_is_no_object_is_kept_beside_the_others(odd: bytes) -> None:
    page = parse_page(b'{"results": [{"id": 1}, %s, {"id": 2}], "count": 3}' % odd)
    assert [row.get("id") for row in page.rows] == [1, None, 2]
    assert page.rows[1] == {"$result": json.loads(odd)}
    assert render(parse_line(page.rows[1])) == page.rows[1]


@pytest.mark.parametrize(
    ("value", "read"),
    [(b"\xfc", "\udcfc"), (b"a\tb\nc\x01", "a\tb\nc\x01"), (b"\xed\xa0\x80", "\ud800"), (b"\xc3", "\udcc3")],
)
def test_bytes_that_json_forbids_are_kept_as_they_are(value: bytes, read: str) -> None:
    page = parse_page(b'{"results": [{"id": 1, "message": "%s", "price": 1.10}]}' % value)
    assert page.rows == [{"id": 1, "message": read, "price": 1.1}]
    assert render(parse_line(page.rows[0])) == page.rows[0]


@pytest.mark.parametrize("value", [-0.0, 1e22])
def test_a_float_that_jsonb_respells_is_odd_among_long_texts_too(value: float) -> None:
    """A column of which most are fields and one is a long text, and another one such a number."""
    rows: list[Row] = [
        SUB_FLOW | {"id": n, "note": note} for n, note in enumerate([1.5, value, "x" * 300, "y", 2, 3.5])
    ]
    read = parse_columns(rows)
    lines = {line.log_id: line for block in read.alike for line in block.lines()}
    assert lines | {line.log_id: line for line in read.odd} == {row["id"]: parse_line(row) for row in rows}
    assert {line.log_id for line in read.odd} == {1, 2}
