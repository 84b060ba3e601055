"""Pages that come again as they were are not read again; what of them is archived is looked up all the same."""

from __future__ import annotations

import os
import threading

import pytest
from sqlalchemy import text

from archiver.archive import archive_flow
from archiver.archive import lines as reading
from archiver.archive.memory import NONE, PageMemory
from archiver.archive.turn import FlowReport
from archiver.logs import Row, dump_exact
from archiver.sheets import ReadPage, read_page, recognise_page, sheet_of
from tests.test_archive import FLOW, Bench, bench, line_log, main_log

__all__ = ["bench"]


def body_of(rows: list[Row]) -> bytes:
    return dump_exact({"count": len(rows), "limit": 100, "results": rows}).encode()


PAGE = body_of([line_log(number, 1) for number in range(100)])


def test_a_page_is_found_by_its_bytes_and_by_what_is_masked_in_it() -> None:
    memory = PageMemory()
    assert memory.find(PAGE, ()) is None
    memory.keep(PAGE, (), read_page(PAGE, ()))
    memory.keep(PAGE, ("sku",), read_page(PAGE, ("sku",)))
    for rules in ((), ("sku",)):
        found, fresh = memory.find(PAGE, rules), recognise_page(PAGE, rules)
        assert found is not None
        assert (found.listed, found.runs, found.sheet.hashes) == (fresh.listed, fresh.runs, fresh.sheet.hashes)
        assert (found.sheet.ids, found.sheet.times, found.sheet.months) == (
            fresh.sheet.ids,
            fresh.sheet.times,
            fresh.sheet.months,
        )
        assert not found.sheet.texts
    assert memory.find(PAGE, ("name",)) is None
    assert memory.find(PAGE[:-1] + b" }", ()) is None


def test_whoever_finds_a_page_may_do_with_it_as_he_likes() -> None:
    memory = PageMemory()
    memory.keep(PAGE, (), read_page(PAGE, ()))
    for _ in range(2):
        found = memory.find(PAGE, ())
        assert found is not None
        assert len(found.sheet.ids) == 100
        found.sheet.add(sheet_of([line_log(1000, 1)]))


def test_the_pages_that_nobody_asked_for_longest_are_forgotten_first() -> None:
    pages = [body_of([line_log(number * 100 + one, 1) for one in range(100)]) for number in range(20)]
    memory = PageMemory(20_000)
    for page in pages:
        memory.keep(page, (), read_page(page, ()))
        memory.find(pages[0], ())
    known = [memory.find(page, ()) is not None for page in pages]
    assert known[0]
    assert known[-1]
    assert 4 <= sum(known) <= 10
    for page in pages:  # what is kept twice is counted once
        memory.keep(page, (), read_page(page, ()))
        memory.keep(page, (), read_page(page, ()))
    assert sum(memory.find(page, ()) is not None for page in pages) == sum(known)


def test_nothing_is_remembered_where_nobody_wants_it() -> None:
    NONE.keep(PAGE, (), read_page(PAGE, ()))
    assert NONE.find(PAGE, ()) is None


def test_threads_share_a_memory() -> None:
    memory, failures = PageMemory(30_000), list[BaseException]()
    pages = [body_of([line_log(number * 100 + one, 1) for one in range(100)]) for number in range(30)]
    read = [read_page(page, ()) for page in pages]

    def work(seed: int) -> None:
        try:
            for turn in range(300):
                one = os.urandom(1)[0] % len(pages)
                if turn % 2:
                    memory.keep(pages[one], (), read[one])
                elif (found := memory.find(pages[one], ())) is not None:
                    assert found.listed.ids[0] == one * 100
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert 0 < memory._size <= 30_000


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How pages are read, in their order."""
    done: list[str] = []

    def noted(name: str) -> None:
        read = getattr(reading, name)

        def note(body: bytes, rules: tuple[str, ...]) -> ReadPage:
            done.append(name)
            page: ReadPage = read(body, rules)
            return page

        monkeypatch.setattr(reading, name, note)

    noted("read_page")
    noted("recognise_page")
    return done


def test_lines_that_are_read_again_are_looked_up_again(bench: Bench, reads: list[str]) -> None:
    """Also those that somebody has taken away, and those that have changed since."""
    memory, lines = PageMemory(), [line_log(number, 1, status=3) for number in range(1, 251)]
    bench.world.insert(FLOW, 1, main_log(1, status=3))
    bench.world.insert(FLOW, 3, *lines)

    def turn() -> FlowReport:
        lease = bench.store.leases.claim(bench.key)
        assert lease is not None
        report = archive_flow(bench.flow, bench.client, bench.store, lease, eager=True, memory=memory)
        assert (report.crash, report.errors) == (None, [])
        return report

    def change(statement: str) -> None:
        with bench.store.engine.begin() as connection:
            connection.execute(text(statement))

    def again() -> FlowReport:
        reads.clear()
        change("UPDATE archive.run SET archive_state = 'pending', visit_at = now(), lines_walk = NULL")
        return turn()

    assert turn().lines_new == 250
    assert "read_page" in reads
    assert (again().lines_new, reads) == (0, [])
    change("DELETE FROM archive.line WHERE log_id % 100 = 7")
    change("UPDATE archive.run SET line_count = 247, failed_line_count = 247")
    assert again().lines_new == 3
    assert reads == []
    bench.world.update(FLOW, 3, 120, sku="other")
    report = again()
    assert (report.lines_new, report.lines_changed, reads) == (0, 1, ["recognise_page"])
    rows = bench.all("SELECT log_id, fields->>'sku' FROM archive.line")
    assert sorted(rows) == [(row["id"], "other" if row["id"] == 120 else row["sku"]) for row in lines]
