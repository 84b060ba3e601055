"""What was pruned does not come back, whatever the Integrator still shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from archiver.store import Policy, Retention
from tests.test_archive import FLOW, Bench, bench, line_log, main_log, zipped

__all__ = ["bench"]

DAY = 86_400.0


def forgotten_visits(bench: Bench) -> None:
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET visit_at = NULL WHERE archive_state = 'sealed'"))


def filled(bench: Bench) -> None:
    """An old run and a young one, each with lines and a file."""
    old, young = main_log(1, age=90 * DAY, status=3, is_send_S3=1), main_log(2, status=3, is_send_S3=1)
    bench.world.insert(FLOW, 1, old, young)
    bench.world.insert(FLOW, 3, line_log(10, 1), line_log(11, 1, status=3), line_log(20, 2))
    for number in (1, 2):
        bench.world.files[FLOW, number] = zipped(b'{"a": 1}')
    assert bench.turn().errors == []
    forgotten_visits(bench)


def pruned(bench: Bench, *, runs: bool) -> None:
    before = datetime.now(UTC) - timedelta(days=30)
    Retention(bench.store.engine).prune([Policy(bench.key, before if runs else None, before, before)])


@pytest.mark.parametrize("order", ["newest first", "arbitrary"])
def test_pruned_runs_stay_away(bench: Bench, order: str) -> None:
    filled(bench)
    pruned(bench, runs=True)
    assert bench.states() == {2: "sealed"}
    assert bench.one("SELECT (intervals -> -1 ->> 0)::timestamptz = kept_from FROM archive.checkpoint")
    with bench.store.engine.begin() as connection:
        connection.execute(
            text("UPDATE archive.checkpoint SET source = source || jsonb_build_object('order', CAST(:order AS text))"),
            {"order": order},
        )
    bench.world.update(FLOW, 1, 1, process_count=77)
    bench.world.insert(FLOW, 1, main_log(3))
    for _ in range(2):
        assert bench.turn().errors == []
    assert bench.states() == {2: "sealed", 3: "sealed"}
    assert bench.one("SELECT count(*) FROM archive.line") == 1
    assert bench.one("SELECT (intervals -> -1 ->> 0)::timestamptz >= kept_from FROM archive.checkpoint")
    # The day of the pruned run keeps its counts as history.
    assert bench.one("SELECT sum(runs) FROM archive.flow_day") == 3
    assert bench.one("SELECT sum(lines) FROM archive.flow_day") == 3


def test_pruned_lines_and_files_stay_away_and_their_count_still_proves_the_run(bench: Bench) -> None:
    filled(bench)
    pruned(bench, runs=False)
    assert bench.all("SELECT log_id, line_count, lines_pruned FROM archive.run ORDER BY 1") == [
        (1, 2, True),
        (2, 1, None),
    ]
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET archive_state = 'pending', visit_at = now()"))
    assert bench.turn().errors == []
    assert bench.states() == {1: "sealed", 2: "sealed"}
    assert bench.all("SELECT log_id FROM archive.line") == [(20,)]
    assert bench.all("SELECT log_id FROM archive.detail") == [(2,)]
    assert bench.one("SELECT line_count FROM archive.run WHERE log_id = 1") == 2


def test_an_open_run_of_pruned_times_is_followed_to_its_end(bench: Bench) -> None:
    filled(bench)
    bench.world.insert(FLOW, 1, main_log(3, age=80 * DAY, state=2, status=1))
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.checkpoint SET intervals = '[]', frontier = NULL"))
    bench.turn()
    pruned(bench, runs=True)
    assert bench.states() == {2: "sealed", 3: "open"}
    bench.world.update(FLOW, 1, 3, state=3, status=2)
    bench.world.insert(FLOW, 3, line_log(30, 3))
    assert bench.turn().errors == []
    assert bench.states() == {2: "sealed", 3: "sealed"}
    assert bench.one("SELECT count(*) FROM archive.line WHERE original_filename_uuid = 'run-3'") == 1
