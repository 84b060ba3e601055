"""The seeded world: the same for the same seed and time, believable, and with every habit that can be switched on."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson
import pytest

from archiver.demo.flows import BRAND, FlowShape, brand_flows, flow_named
from archiver.demo.listing import Ask, Order
from archiver.demo.table import TableWorld
from archiver.demo.world import World, demo_world

NOW = datetime(2026, 3, 12, 14, 27, 31, 250_000, tzinfo=UTC)
START = NOW - timedelta(days=3)
FORTY = replace(flow_named("price"), lines=40, spread=0.2, failed=0.2)
CALM = replace(FORTY, failed=0.0, partial=0.0, empty=0.0)
FLOW = FORTY.flow_id


def world_of(*flows: FlowShape, seed: int = 1, now: datetime = NOW) -> World:
    return World(lambda: now, start=START, flows=flows, seed=seed)


def created(row: dict[str, Any]) -> datetime:
    text = row["created"]
    return datetime.fromtimestamp(int(text) / 1000, UTC) if text.isdecimal() else datetime.fromisoformat(text)


def ids(rows: Iterable[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def test_world_is_a_function_of_seed_and_time() -> None:
    first, second, other = world_of(*brand_flows()), world_of(*brand_flows()), world_of(*brand_flows(), seed=2)
    for flow in first.flows:
        later = NOW + timedelta(hours=5)
        second.main_logs(flow.flow_id, later)  # having looked elsewhere changes nothing
        assert first.main_logs(flow.flow_id) == second.main_logs(flow.flow_id)
        assert first.main_logs(flow.flow_id) == first.at(NOW).main_logs(flow.flow_id)
        assert first.main_logs(flow.flow_id, START) != other.main_logs(flow.flow_id, NOW)
        run = first.main_logs(flow.flow_id)[0]["filename_uuid"]
        assert first.line_logs(flow.flow_id, run) == second.line_logs(flow.flow_id, run)
    failed = [row for flow in first.flows for row in first.main_logs(flow.flow_id) if row["is_send_S3"]]
    assert [first.download(row["id"]) for row in failed] == [second.download(row["id"]) for row in failed]


def test_a_run_starts_goes_on_and_finishes() -> None:
    world = world_of(replace(CALM, runs=1))
    run = world.main_logs(FLOW)[0]
    begin, end = (datetime.fromtimestamp(int(run[name]) / 1000, UTC) for name in ("created", "finished"))
    moments = [begin + (end - begin) * share / 20 for share in range(23)]
    seen = [world.main_logs(FLOW, moment)[0] for moment in moments]
    assert [row["state"] for row in seen] == sorted(row["state"] for row in seen)
    assert {(row["state"], row["status"]) for row in seen} == {(1, 1), (2, 1), (3, 2)}
    counts = [len(world.line_logs(FLOW, run["filename_uuid"], moment)) for moment in moments]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, run["process_count"])
    assert world.main_logs(FLOW, begin - timedelta(milliseconds=1)) == []


def test_demo_history_is_believable() -> None:
    world = demo_world(lambda: NOW)
    runs = [row for flow in world.flows for row in world.main_logs(flow.flow_id)]
    days = (NOW.timestamp() - world.start / 1e6) / 86_400
    assert 4_000 < sum(row["process_count"] for row in runs) / days < 8_000
    assert 0.02 < sum(row["status"] == 3 for row in runs) / len(runs) < 0.09
    assert {row["in_bound"] for row in runs} == {True, False}
    assert {row["triggered_by"][-1] for row in runs} == {"m", "\n"}
    ids = [row["id"] for row in runs] + [step["id"] for row in runs for step in row["sub_flows"]]
    assert len(ids) == len(set(ids))


def test_failures_have_files_that_explain_them() -> None:
    world, kinds = demo_world(lambda: NOW), set()
    for flow in world.flows:
        for run in world.main_logs(flow.flow_id):
            if run["status"] != 3:
                continue
            assert any(step["status"] == 3 for step in run["sub_flows"])
            for log in [run, *run["sub_flows"], *world.line_logs(flow.flow_id, run["filename_uuid"])]:
                assert (log["status"] == 3) <= (log["is_send_S3"] == 1)
                if log["status"] == 3:
                    document = unpacked(world.download(log["id"]))
                    assert document["log_id"] == log["id"]
                    kinds.add(document["errors"][0]["type"])
    assert kinds >= {"validation", "not_found", "conflict", "rate_limit", "server_error"}
    assert len(kinds) >= 8


def unpacked(text: bytes | None) -> dict[str, Any]:
    assert text is not None
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(text)))
    document = json.loads(archive.read(archive.namelist()[0]))
    assert isinstance(document, dict)
    return document


def test_ids_grow_with_insertion() -> None:
    rows = world_of(CALM).main_logs(FLOW)
    assert all(later["id"] > earlier["id"] and created(later) > created(earlier) for later, earlier in pairwise(rows))


def test_texts_are_turkish_english_and_seldom_hostile() -> None:
    world = demo_world(lambda: NOW, days=2)
    texts: list[str] = []
    for flow in world.flows:
        for run in world.main_logs(flow.flow_id):
            texts += [orjson.dumps(row).decode() for row in world.line_logs(flow.flow_id, run["filename_uuid"])]
    everything = "".join(texts)
    assert set("şğİıçöüŞ🎉✅") <= set(everything)
    assert "\\u0000" in everything
    assert "DROP TABLE" in everything
    assert 700 < len(everything.encode()) / len(texts) < 900
    assert sum("DROP TABLE" in text for text in texts) / len(texts) < 0.02


# --- habits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [Order.NEWEST_FIRST, Order.OLDEST_FIRST])
def test_lists_sorted_by_created(order: Order) -> None:
    world = world_of(replace(CALM, order=order))
    mains = world.main_logs(FLOW)
    for rows in (mains, world.line_logs(FLOW, mains[5]["filename_uuid"])):
        times = [created(row) for row in rows]
        assert len(times) > 20
        assert times == sorted(times, reverse=order is Order.NEWEST_FIRST)


def test_arbitrary_order_is_stable_and_keeps_relations_while_the_list_grows() -> None:
    world = world_of(replace(CALM, order=Order.ARBITRARY))
    before, after = ids(world.main_logs(FLOW, NOW - timedelta(hours=20))), ids(world.main_logs(FLOW))
    assert after not in (sorted(after), sorted(after, reverse=True))
    assert [log for log in after if log in set(before)] == before
    assert len(before) < len(after)


def test_unstable_ties_swap_between_requests_and_nothing_else_does() -> None:
    flow = replace(CALM, order=Order.NEWEST_FIRST_UNSTABLE_TIES, equal_created=5)
    one, two = world_of(flow), world_of(flow)
    first, second = one.main_logs(FLOW), one.main_logs(FLOW)
    assert ids(first) != ids(second)
    assert [row["created"] for row in first] == [row["created"] for row in second]
    assert [ids(two.main_logs(FLOW)), ids(two.main_logs(FLOW))] == [ids(first), ids(second)]


def test_equal_created_comes_in_groups() -> None:
    world = world_of(replace(CALM, equal_created=4))
    mains = world.main_logs(FLOW)
    lines = world.line_logs(FLOW, mains[8]["filename_uuid"])
    for rows in (mains, lines):
        sizes = [sum(row["created"] == time for row in rows) for time in {row["created"] for row in rows}]
        assert sorted(sizes)[-3:] == [4, 4, 4]


def test_rows_of_one_created_are_none_of_them_late() -> None:
    world = world_of(replace(CALM, equal_created=3))
    final = {row["id"]: created(row) for row in world.main_logs(FLOW)}
    for moment in sorted(set(final.values()))[-4:]:
        soon = moment + timedelta(seconds=1)
        then = world_of(replace(CALM, equal_created=3)).main_logs(FLOW, soon)
        assert set(ids(then)) == {log for log, began in final.items() if began <= soon}


@pytest.mark.parametrize("order", [Order.NEWEST_FIRST, Order.INSERTION])
def test_late_rows_show_up_below_the_newest(order: Order) -> None:
    world = world_of(replace(CALM, late=timedelta(hours=3), late_share=0.5, order=order))
    final = {row["id"]: row for row in world.main_logs(FLOW, NOW + timedelta(days=1))}
    missing = [row for row in final.values() if created(row) <= NOW and row["id"] not in ids(world.main_logs(FLOW))]
    assert missing
    assert all(NOW - created(row) < timedelta(hours=3) for row in missing)
    times = [created(final[log]) for log in ids(world.main_logs(FLOW))]
    assert (times == sorted(times, reverse=True)) is (order is Order.NEWEST_FIRST)


def test_retention_removes_what_is_old() -> None:
    world = world_of(replace(CALM, retention=timedelta(hours=10)))
    rows = world.main_logs(FLOW)
    assert 9 <= len(rows) <= 11
    oldest = rows[-1]["filename_uuid"]
    assert world.line_logs(FLOW, oldest)
    assert world.line_logs(FLOW, oldest, NOW + timedelta(hours=2)) == []


def test_runs_are_deleted_vanish_or_never_finish() -> None:
    flow = replace(CALM, deleted=0.3, vanishing=0.2, unfinished=0.2)
    world = world_of(flow)
    seen: dict[int, dict[str, Any]] = {}
    gone: set[int] = set()
    for hours in range(72):
        now = START + timedelta(hours=hours, minutes=10)
        shown = {row["id"]: row for row in world.main_logs(FLOW, now)}
        gone |= {row["state"] for log, row in seen.items() if log not in shown}
        seen = shown
    assert 3 in gone
    much_later = world.main_logs(FLOW, NOW + timedelta(days=2))
    stuck = [row for row in much_later if row["state"] != 3 and created(row) < NOW]
    assert stuck
    assert world.line_logs(FLOW, stuck[0]["filename_uuid"], NOW + timedelta(days=2))


def test_a_vanishing_run_is_seen_in_progress_and_then_no_more() -> None:
    world = world_of(replace(CALM, vanishing=1.0, runs=1))
    seconds = [world.main_logs(FLOW, START + timedelta(seconds=second)) for second in range(600)]
    shown = [index for index, rows in enumerate(seconds) if rows]
    assert shown == list(range(shown[0], shown[-1] + 1))
    assert shown[-1] < 599
    assert {rows[0]["state"] for rows in seconds if rows} == {1, 2}


def test_lines_and_files_come_after_the_run_has_finished() -> None:
    hour = timedelta(hours=1)
    world = world_of(replace(FORTY, failed=1.0, late_lines=hour, late_files=hour, late_share=0.4))
    run = next(row for row in world.main_logs(FLOW) if row["process_count"] >= 30)
    finished = datetime.fromtimestamp(int(run["finished"]) / 1000, UTC)
    moments = [finished + hour * share / 4 for share in range(6)]
    lines = [world.line_logs(FLOW, run["filename_uuid"], moment) for moment in moments]
    assert len(lines[0]) < len(lines[2]) < len(lines[-1]) == run["process_count"]
    files = [sum(row["is_send_S3"] for row in rows) for rows in lines]
    assert files[0] < files[-1] == run["fail_count"]
    late = next(row["id"] for row in lines[-1] if row["is_send_S3"] and row["id"] not in with_files(lines[0]))
    assert world.download(late, moments[0]) is None
    assert world.download(late, moments[-1]) is not None


def with_files(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows if row["is_send_S3"]]


def test_a_page_of_a_huge_run_is_cheap() -> None:
    huge = replace(CALM, lines=1_000_000, spread=0.0, runs=1, every=timedelta(days=1))
    world = world_of(huge)
    run = world.main_logs(FLOW)[0]["filename_uuid"]
    begun = time.process_time()
    pages = [
        world.listing(Ask(BRAND.project_id, FLOW, 3, 100, page, original_filename_uuid=run))
        for page in (1, 5_000, 10_000)
    ]
    assert time.process_time() - begun < 1.0
    assert [(page.total, page.size) for page in pages] == [(1_000_000, 100)] * 3
    assert orjson.loads(b"[" + pages[-1].rows + b"]")[-1]["row_num"] == 1


def test_prerendered_pages_are_the_same_pages() -> None:
    plain, rendered = world_of(FORTY), world_of(FORTY)
    assert rendered.prerender(limit=30) > 100_000
    for run in plain.main_logs(FLOW):
        ask = Ask(BRAND.project_id, FLOW, 3, 30, 1, original_filename_uuid=run["filename_uuid"])
        assert rendered.listing(ask) == plain.listing(ask)


# --- the table ------------------------------------------------------------------------------------------------------


def test_table_shows_what_a_test_puts_in() -> None:
    table = TableWorld(lambda: NOW)
    table.insert("f", 1, *({"id": number, "filename_uuid": f"r{number}"} for number in range(5)))
    table.insert("f", 1, {"id": 9, "filename_uuid": "r9"}, at=2)
    table.delete("f", 1, 0, 3)
    table.update("f", 1, 4, state=3, exact=orjson.Fragment(b"1.10"), sub_flows=[{"id": 70, "log_type": 2}])
    assert ids(table.main_logs("f")) == [1, 9, 2, 4]
    page = table.listing(Ask(BRAND.project_id, "f", 1, limit=2, page=2))
    assert (page.total, page.size) == (4, 2)
    assert b'"exact":1.10' in page.rows
    assert table.listing(Ask(BRAND.project_id, "f", 2)).rows == b'{"id":70,"log_type":2}'
    assert table.listing(Ask("another", "f", 1)).total == 0
    with pytest.raises(KeyError):
        table.update("f", 1, 77, state=1)


def test_table_keeps_lines_and_files() -> None:
    table = TableWorld(lambda: NOW)
    table.insert("f", 3, {"id": 1, "original_filename_uuid": "a", "n": 5}, {"id": 2, "original_filename_uuid": "b"})
    table.keep_file("f", 1, {"errors": []})
    assert ids(table.line_logs("f", "b")) == [2]
    assert table.listing(Ask(BRAND.project_id, "f", 3, search=(("n", "5"),))).total == 1
    assert unpacked(table.file(*BRAND, "f", 1)) == {"errors": []}
    assert table.file(BRAND.project_id, "wrong", "f", 1) is None
    assert table.download(1) == table.file(*BRAND, "f", 1)
