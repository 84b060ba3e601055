"""Lines as they go into COPY: what a page becomes, read or only recognised, is what each line is by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.config import Flow
from archiver.logs import Line, Row, dump_exact, parse_line, parse_run, render
from archiver.sheets import Sheet, line_of, read_page, recognise_page, sheet_of, sheet_of_lines, text_of, texts_of
from archiver.store import OfRun, Put, Store
from tests.test_archive import line_log, main_log
from tests.test_logs import alike, rows

FLOW = Flow("prod", "p-1", "brand", "f-1", "price")
RUN = (1, "run-1", "2026-05-04T09:00:00+00:00")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(
    [r"\N", "\\", "a\tb", "a\nb", "\r\n", r"\.", "\x0b\x08", "é→\U0001f600", ""]
)
numbers = st.integers(-(2**63), 2**63 - 1)


def glanced(rows: list[Row], rules: tuple[str, ...] = ()) -> Sheet:
    """What becomes of a page of these rows that are most likely known."""
    body = dump_exact({"results": rows}).encode()
    sheet = recognise_page(body, rules).sheet
    sheet.keep(body, rules)
    return sheet


@settings(max_examples=100, deadline=None)
@given(rows)
def test_a_line_is_had_back_from_its_text(row: Row) -> None:
    line = parse_line(row)
    text = text_of(line)
    assert b"\n" not in text
    assert line_of(text) == line
    assert list(map(type, line_of(text))) == list(map(type, line))


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda number: st.lists(
            st.one_of(*(st.lists(one | st.none(), min_size=number, max_size=number) for one in (texts, numbers))),
            min_size=1,
            max_size=4,
        )
    )
)
def test_rows_by_the_column_are_those_by_themselves(columns: list[list[Any]]) -> None:
    assert texts_of(columns) == [text_of(row) for row in zip(*columns, strict=True)]


@settings(max_examples=100, deadline=None)
@given(alike())
def test_a_page_becomes_what_its_lines_are(rows: list[Row]) -> None:
    sheet, lines = sheet_of(rows), [parse_line(row) for row in rows]
    assert sorted(sheet.ids) == sorted(line.src_hash if line.log_id is None else line.log_id for line in lines)
    whole = [line for line in lines if None not in (line.log_id, line.created, line.original_filename_uuid)]
    assert sheet.hashes.keys() == sheet.texts.keys() == {line.log_id for line in whole}
    for line in singles(whole):
        assert render(line_of(sheet.texts[line.log_id or 0])) == render(line)
        assert (sheet.hashes[line.log_id or 0], line.log_id in sheet.failed) == (line.src_hash, line.status == 3)
    assert sheet.months == {str(line.created)[:7] for line in whole}
    assert sorted(dump_exact(render(line)) for line in sheet.loose) == sorted(
        dump_exact(row) for row, line in zip(rows, lines, strict=True) if line not in whole
    )


@settings(max_examples=100, deadline=None)
@given(alike())
def test_what_was_only_recognised_can_be_read_later(rows: list[Row]) -> None:
    read, seen, later = sheet_of(rows), glanced(rows), Sheet()
    assert (sorted(seen.ids), seen.hashes.keys(), seen.months) == (sorted(read.ids), read.hashes.keys(), read.months)
    later.add(seen)
    some = [line.log_id for line in singles(map(parse_line, rows)) if line.log_id in seen.hashes][::2]
    later.read(some)
    later.read(some)
    for one in some:
        assert seen.hashes[one] == read.hashes[one]
        assert render(line_of(later.texts[one])) == render(line_of(read.texts[one]))
        assert (one in later.failed) == (one in read.failed)


@settings(max_examples=100, deadline=None)
@given(alike())
def test_a_page_that_was_read_as_if_it_had_been_recognised(rows: list[Row]) -> None:
    """However odd its rows are, ids that come as text among them, they can be read later."""
    body = dump_exact({"results": rows, "count": len(rows)}).encode()
    read, later = read_page(body, ()), Sheet()
    if (glance := read.glance()) is None:
        assert read.sheet.loose or not read.sheet.hashes
        return
    assert (glance.listed, glance.runs, glance.sheet.hashes) == (read.listed, read.runs, read.sheet.hashes)
    assert not glance.sheet.texts
    glance.sheet.keep(body, ())
    later.add(glance.sheet)
    some = [*read.sheet.hashes][::2]
    later.read(some)
    assert [line_of(later.texts[one]) for one in some] == [line_of(read.sheet.texts[one]) for one in some]
    assert later.failed >= read.sheet.failed & set(some)


@pytest.mark.parametrize("change", [{"id": "7"}, {"created": None}, {"id": None}])
def test_odd_lines_of_a_page_that_was_read(change: Row) -> None:
    """What lacks an id or a time is not recognised; an id that comes as text is."""
    body = dump_exact(
        {"results": [line_log(7, 1) | change, *(line_log(number, 1) for number in range(8, 20))]}
    ).encode()
    glance = read_page(body, ()).glance()
    if None in change.values():
        assert glance is None
    else:
        assert glance is not None
        glance.sheet.keep(body, ())
        glance.sheet.read([7])
        assert line_of(glance.sheet.texts[7]).log_id == 7


def test_a_page_that_is_like_others_is_not_read_to_be_recognised() -> None:
    page = [line_log(number, 1, sku=f"A-{number}") for number in range(100)]
    seen = glanced(page)
    assert not seen.texts
    assert seen.hashes == {row["id"]: parse_line(row).src_hash for row in page}
    for odd in ({"id": "7"}, {"id": 2**70}, {"created": None}, {"created": "2026-13-45T00:00:00+00:00"}, {"sku": "\0"}):
        assert len(glanced([*page[1:], page[0] | odd]).texts) >= 99


def test_a_page_read_from_its_bytes_and_lines_read_one_by_one() -> None:
    """Lines that failed are told apart, and pages that do not have a line that is wanted are left alone."""
    page = [line_log(number, 1, status=3 if number % 10 == 0 else 2) for number in range(100)]
    read = read_page(dump_exact({"results": page, "count": "100"}).encode(), ())
    single = sheet_of_lines(map(parse_line, page))
    assert (read.listed.count, read.sheet.failed) == (100, set(range(0, 100, 10)))
    assert (single.ids, single.hashes, single.failed) == (read.sheet.ids, read.sheet.hashes, read.sheet.failed)
    assert {one: line_of(text) for one, text in single.texts.items()} == {row["id"]: parse_line(row) for row in page}
    both = glanced(page)
    both.add(glanced([line_log(number, 1, sku="other") for number in range(100, 200)]))
    both.read([150])
    assert both.texts.keys() == {150}


@pytest.mark.parametrize("earlier", [{"extra": 1}, {"row_num": 2**40}, {"sku": "\0"}, {}])
def test_of_a_line_that_is_listed_twice_the_later_one_holds(earlier: Row) -> None:
    """However rows are read: those that are alike together, odd ones by themselves."""
    page = [line_log(number, 1) for number in range(6)]
    twice = [line_log(99, 1, sku="old") | earlier, *page, line_log(99, 1, sku="new")]
    last = parse_line(twice[-1])
    for some in (twice, [*page, *twice], [row | {"extra": 1} for row in page] + twice):
        assert line_of(sheet_of(some).texts[99]) == last
        assert sheet_of(some).hashes[99] == glanced(some).hashes[99] == last.src_hash


def test_of_pages_whose_ids_come_as_text_the_later_one_holds() -> None:
    """Also where the earlier one was only recognised, and another line of it is wanted."""
    pages = [
        dump_exact({"results": [line_log(number, 1, sku=sku) | {"id": str(number)} for number in numbers]}).encode()
        for sku, numbers in (("old", (1, 2)), ("new", (1,)))
    ]
    earlier, later = read_page(pages[0], ()).glance(), read_page(pages[1], ())
    assert earlier is not None
    earlier.sheet.keep(pages[0], ())
    sheet = Sheet()
    sheet.add(earlier.sheet)
    sheet.add(later.sheet)
    sheet.read([1, 2])
    assert {one: render(line_of(text))["sku"] for one, text in sheet.texts.items()} == {1: "new", 2: "old"}
    assert line_of(sheet.texts[1]).src_hash == sheet.hashes[1]


def test_what_a_line_has_is_not_taken_from_its_run() -> None:
    """An empty name of a run is one, and can be had back."""
    rows = [line_log(1, 1) | {"created": None, "original_filename_uuid": ""}, line_log(2, 1) | {"created": None}]
    sheet = sheet_of(rows)
    sheet.settle("run-9", "2026-01-01T00:00:00+00:00")
    assert [render(line_of(text)) for text in sheet.texts.values()] == rows


def test_what_is_masked_stays_masked_when_it_is_read_later() -> None:
    page = [line_log(number, 1, phone=f"0532 {number}") for number in range(100)]
    seen = glanced(page, ("phone",))
    seen.read([7])
    assert render(line_of(seen.texts[7])) == page[7] | {"phone": "[redacted]"}
    assert seen.hashes[7] == parse_line(page[7] | {"phone": "[redacted]"}).src_hash
    assert seen.texts.keys() == {7}


def test_a_run_that_is_not_fresh_after_all_loses_nothing(store: Store, database: str) -> None:
    """Whoever says that no line of a run is there may be wrong: Postgres knows, and it is looked up."""
    key = store.register([FLOW])[FLOW]
    lease = store.leases.claim(key)
    assert lease is not None
    store.partitions.ensure({"2026-05"})
    run = parse_run(main_log(1))
    page = [line_log(number, 1, sku=f"A-{number}", status=3 if number % 3 == 0 else 2) for number in range(30)]

    def put(rows: list[Row], *, fresh: bool) -> Put:
        with store.writing(lease) as writer:
            return writer.put_sheets([OfRun(RUN, sheet_of(rows), fresh)])[0]

    with store.writing(lease) as writer:
        writer.put_runs([run])
    assert put(page[:20], fresh=True) == Put(20)
    changed = page[5] | {"status": 3, "message": "refused"}
    assert put([*page[10:], changed], fresh=True) == Put(10, 1)
    assert put([*page[:5], changed, *page[6:]], fresh=False) == Put()
    with store.writing(lease) as writer:
        assert writer.put_sheets([OfRun(RUN, glanced([*page[:5], changed, *page[6:]]))]) == [Put()]
        more = glanced([*page[:6], page[6] | {"state": 2}, page[7] | {"status": 4}])
        assert writer.put_sheets([OfRun(RUN, more)]) == [Put(0, 2)]
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT count(*), count(DISTINCT log_id), count(*) FILTER (WHERE status = 3) FROM archive.line"
        ).fetchone()
        counted = connection.execute("SELECT line_count, failed_line_count FROM archive.run").fetchone()
        kinds = connection.execute("SELECT sum(occurrences) FROM archive.error_group").fetchone()
    assert found == (30, 30, 10)
    assert (counted, kinds) == ((30, 10), (10,))


def singles(lines: Iterable[Line]) -> list[Line]:
    """Those whose id no other one has."""
    some = list(lines)
    times = Counter(line.log_id for line in some)
    return [line for line in some if times[line.log_id] == 1]


def test_a_page_tells_which_runs_its_lines_name() -> None:
    rows = [{"id": 1, "original_filename_uuid": "a"}, {"id": 2}, {"id": 3, "original_filename_uuid": None}]
    assert read_page(orjson.dumps({"results": rows}), ()).runs == {"a"}
    odd = [*rows, {"id": 4, "original_filename_uuid": ["b"]}, {"id": 5, "original_filename_uuid": 6}]
    assert recognise_page(orjson.dumps({"results": odd}), ()).runs == {"a"}
