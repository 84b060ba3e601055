"""The passes, one behaviour at a time: a list of rows that the test changes, a real server, a real Postgres."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from archiver import config
from archiver.archive import FlowReport, archive_flow, files
from archiver.client import Client
from archiver.demo.faults import Body, Call, Fault, Faults, Status
from archiver.demo.flows import BRAND
from archiver.demo.server import PASSWORD, USERNAME, Server, serve
from archiver.demo.table import TableWorld
from archiver.demo.wire import Answer, Peer, Request
from archiver.detail import unpack
from archiver.logs import Row
from archiver.store import Store, connect, migrate
from archiver.verify import check_self
from archiver.worker_processes import Helpers

FLOW = "flow-1"


def main_log(number: int, *, age: float = 3600, state: int = 3, status: int = 2, **more: Any) -> Row:
    """A main log that began `age` seconds ago."""
    created = datetime.now(UTC) - timedelta(seconds=age)
    return {
        "id": number,
        "created": str(int(created.timestamp() * 1000)),
        "finished": str(int(created.timestamp() * 1000) + 5000) if state == 3 else None,
        "process_group_id": FLOW,
        "process_group_name": "price",
        "parent_process_group_id": None,
        "original_filename_uuid": f"run-{number}",
        "filename_uuid": f"run-{number}",
        "state": state,
        "status": status,
        "process_count": 0,
        "log_type": 1,
        "is_send_S3": 0,
        "sub_flows": [],
        **more,
    }


def line_log(number: int, run: int, **more: Any) -> Row:
    return {
        "id": number,
        "created": "2026-05-04T10:00:00.5+00:00",
        "original_filename_uuid": f"run-{run}",
        "filename_uuid": f"line-{number}",
        "state": 3,
        "status": 2,
        "log_type": 3,
        "is_send_S3": 0,
        "sku": f"SKU-{number}",
        **more,
    }


@dataclass
class Bench:
    """A flow that a test archives turn by turn."""

    world: TableWorld
    server: Server
    faults: Faults
    store: Store
    client: Client
    flow: config.Flow
    key: int

    def turn(self, **changes: Any) -> FlowReport:
        lease = self.store.leases.claim(self.key)
        assert lease is not None
        report = archive_flow(replace(self.flow, **changes), self.client, self.store, lease, eager=True)
        assert report.crash is None, report.crash
        return report

    def all(self, statement: str) -> list[tuple[Any, ...]]:
        with self.store.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def one(self, statement: str) -> Any:
        ((value,),) = self.all(statement)
        return value

    def states(self) -> dict[int, str]:
        return dict(self.all("SELECT log_id, archive_state FROM archive.run"))


@pytest.fixture
def bench(database: str, tmp_path: Path) -> Iterator[Bench]:
    world = TableWorld(lambda: datetime.now(UTC))
    faults = Faults(seed=1)
    with serve(world, faults) as server:
        path = tmp_path / "config.yaml"
        settings = {
            "integrators": {
                "here": {
                    "base_url": server.base_url,
                    "username": USERNAME,
                    "password": PASSWORD,
                    "requests_per_second": 1000,
                    "timeout": "2s",
                }
            },
            "projects": [{"id": BRAND.project_id, "slug": BRAND.slug, "flows": [{"id": FLOW, "name": "price"}]}],
            "defaults": {"settle": "0s", "since": "2000-01-01"},
        }
        path.write_text(json.dumps(settings))
        loaded = config.load(path, {})
        engine = connect(database)
        migrate(engine)
        store = Store(engine, "test")
        with Client(loaded.integrators["here"], store.hold) as client:
            (flow,) = loaded.flows
            yield Bench(world, server, faults, store, client, flow, store.register([flow])[flow])
        store.close()


def test_a_turn_without_news_costs_one_request_and_five_connections(bench: Bench) -> None:
    """Each connection is asked whether it still stands; a thousand flows polled every minute ask 17 times a second."""
    bench.world.insert(FLOW, 1, *(main_log(number, age=200_000 + number) for number in range(30)))
    bench.turn()
    bench.turn()  # the frontier is younger than all runs by now
    asked, taken = bench.client.requests, []
    event.listen(bench.store.engine, "engine_connect", lambda *_: taken.append(1))
    report = bench.turn()
    assert report.outcome == "done"
    assert bench.client.requests - asked == 1
    assert len(taken) <= 5


def test_a_run_is_followed_until_it_has_finished(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1, state=2, status=1))
    bench.turn()
    assert bench.states() == {1: "open"}
    bench.world.update(FLOW, 1, 1, state=3, status=2)
    bench.world.insert(FLOW, 3, line_log(10, 1), line_log(11, 1))
    bench.turn()
    assert bench.states() == {1: "sealed"}
    assert bench.one("SELECT line_count FROM archive.run") == 2


@pytest.mark.parametrize("levels", [("main", "sub", "line"), ("main", "sub")])
def test_the_lines_of_a_run_that_never_finishes_are_kept_as_they_are(bench: Bench, levels: tuple[str, ...]) -> None:
    """A flow that died in the middle of a run: its lines are the only proof of what was sent."""
    bench.world.insert(FLOW, 1, main_log(1, state=2, status=1), main_log(2, age=4000, state=2, status=1), main_log(3))
    bench.world.insert(FLOW, 3, line_log(10, 1), line_log(11, 1, state=2, status=1), line_log(20, 2))
    bench.turn(levels=levels)
    assert bench.one("SELECT count(*) FROM archive.line") == 0

    def a_week_later(**changes: Any) -> None:
        with bench.store.engine.begin() as connection:
            connection.execute(
                text("UPDATE archive.run SET first_seen_at = now() - interval '8 days', visit_at = now()")
            )
        bench.turn(levels=levels, **changes)

    a_week_later(stuck_after=timedelta(days=9))
    assert bench.states() == {1: "open", 2: "open", 3: "sealed"}
    a_week_later()
    kept = [10, 11, 20] if "line" in levels else []
    assert bench.states() == {1: "stuck", 2: "stuck", 3: "sealed"}
    assert [row[0] for row in bench.all("SELECT log_id FROM archive.line ORDER BY 1")] == kept
    assert bench.one("SELECT round(extract(epoch FROM min(visit_at) - now()) / 3600)::int FROM archive.run") == 24

    bench.world.insert(FLOW, 3, line_log(12, 1))
    bench.world.delete(FLOW, 1, 2)
    a_week_later()
    a_week_later()
    assert bench.states() == {1: "stuck", 2: "lost", 3: "sealed"}
    bench.world.update(FLOW, 1, 1, state=3, status=3)
    bench.world.update(FLOW, 3, 11, state=3, status=3)
    a_week_later()
    assert bench.states() == {1: "sealed", 2: "lost", 3: "sealed"}
    kept = [10, 11, 12, 20] if "line" in levels else []
    assert [row[0] for row in bench.all("SELECT log_id FROM archive.line ORDER BY 1")] == kept
    if kept:
        assert bench.all("SELECT status FROM archive.line WHERE log_id = 11") == [(3,)]
    assert not [broken for broken in check_self(bench.store.engine, [bench.key]) if broken.count]


def test_lines_of_a_run_that_goes_on_and_on_are_read_once_a_day(bench: Bench) -> None:
    """It is no fault that they become more while they are read, and who is eager asks for the run alone."""
    bench.world.insert(FLOW, 1, main_log(1, state=2, status=1))
    bench.world.insert(FLOW, 3, *(line_log(1000 - n, 1) for n in range(450)))
    numbers = iter(range(2000, 9000))
    bench.faults.add(Call(lambda _: bench.world.insert(FLOW, 3, line_log(next(numbers), 1))), path="/logs", log_type=3)
    bench.turn()
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET first_seen_at = now() - interval '8 days', visit_at = now()"))
    assert bench.turn().errors == []
    assert bench.states() == {1: "stuck"}
    assert bench.one("SELECT count(*) FROM archive.line") >= 450
    asked = bench.client.requests
    assert bench.turn().errors == []
    assert bench.client.requests - asked == 2  # the poll, and the run


def test_nothing_is_lost_while_the_list_itself_is_not_there(bench: Bench) -> None:
    """A gateway that answers 404 to everything says nothing of an open run."""
    bench.world.insert(FLOW, 1, main_log(1, state=2, status=1), main_log(2, age=4000))
    bench.turn()
    absent = bench.faults.add(Status(404), path="/logs")
    for _ in range(3):
        assert "suddenly empty" in bench.turn().errors[0]
    assert bench.states()[1] == "open"
    bench.faults.remove(absent)
    bench.world.update(FLOW, 1, 1, state=3)
    bench.turn()
    assert bench.states()[1] == "sealed"


def test_a_finished_run_never_becomes_unfinished(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1))
    bench.turn()
    bench.world.update(FLOW, 1, 1, state=2, status=1, finished=None)
    bench.turn()
    assert bench.all("SELECT state, status FROM archive.run") == [(3, 2)]


def test_a_sealed_run_is_looked_at_once_more_after_a_day(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1))
    bench.turn()
    assert bench.one("SELECT round(extract(epoch FROM visit_at - now()) / 3600)::int FROM archive.run") == 24
    bench.world.insert(FLOW, 3, line_log(10, 1))
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET visit_at = now()"))
    bench.turn()
    assert bench.states() == {1: "sealed"}
    assert bench.one("SELECT count(*) FROM archive.line") == 1
    assert bench.one("SELECT visit_at IS NULL FROM archive.run")


@pytest.mark.parametrize("settle", [timedelta(0), timedelta(days=1)])
def test_lines_that_were_going_on_when_their_run_had_finished_are_read_again(bench: Bench, settle: timedelta) -> None:
    bench.world.insert(FLOW, 1, main_log(1))
    bench.world.insert(FLOW, 3, line_log(10, 1, state=2, status=1), line_log(11, 1))
    bench.turn(settle=settle)
    bench.world.update(FLOW, 3, 10, state=3, status=2)
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET visit_at = now()"))
    bench.turn(settle=settle)
    assert bench.states() == {1: "sealed"}
    assert bench.all("SELECT state, status FROM archive.line ORDER BY log_id") == [(3, 2), (3, 2)]


def without_steps(number: int, **more: Any) -> Row:
    """A main log as a source lists it that shows sub flows by themselves alone."""
    return {name: value for name, value in main_log(number, **more).items() if name != "sub_flows"}


def step_log(number: int, run: int, **more: Any) -> Row:
    own = {"log_type": 2, "original_filename_uuid": f"run-{run}", "filename_uuid": f"step-{number}"}
    return main_log(number) | own | {"created": "2026-05-04T10:00:00.5+00:00"} | more


def test_steps_that_their_run_does_not_show_are_asked_for_all_of_them_and_again(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, without_steps(1, is_send_S3=1))
    bench.world.insert(FLOW, 2, *(step_log(100 + number, 1) for number in range(250)))
    bench.turn(settle=timedelta(days=1))
    assert bench.one("SELECT count(*) FROM archive.step WHERE run_log_id = 1") == 250
    assert bench.one("SELECT count(*) FROM archive.detail") == 0

    bench.world.update(FLOW, 2, 300, status=3)
    bench.world.files[FLOW, 1] = zipped(b"{}")
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET visit_at = now()"))
    bench.turn(settle=timedelta(days=1))
    assert bench.all("SELECT log_id FROM archive.step WHERE status = 3") == [(300,)]
    assert bench.all("SELECT log_id, outcome FROM archive.detail") == [(1, "stored")]
    asked = bench.client.requests
    bench.turn()
    assert bench.client.requests - asked == 1


def test_steps_that_are_listed_without_an_id_are_in_quarantine(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, without_steps(1))
    bench.world.insert(FLOW, 2, step_log(100, 1), *(step_log(101, 1, name=name) | {"id": None} for name in "ab"))
    report = bench.turn()
    assert report.refused == 2
    assert bench.all("SELECT log_id FROM archive.step") == [(100,)]
    kept = "SELECT source::jsonb ->> 'name', log_type, run_log_id, reason FROM archive.quarantine ORDER BY 1"
    assert bench.all(kept) == [(name, 2, 1, "it has no usable id") for name in "ab"]
    assert bench.turn().refused == 0


def test_steps_are_not_asked_for_where_runs_show_them_or_nobody_wants_them(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1, sub_flows=[step_log(100, 1)]), without_steps(2, age=4000))
    bench.world.insert(FLOW, 2, step_log(100, 1), step_log(101, 2))
    bench.turn(levels=("main", "line"))
    assert bench.all("SELECT log_id FROM archive.step") == [(100,)]


def test_a_run_without_an_execution_id_gets_nobodys_steps(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, without_steps(1) | {"filename_uuid": None, "original_filename_uuid": None})
    bench.world.insert(FLOW, 2, step_log(100, 7) | {"original_filename_uuid": None})
    bench.turn()
    assert bench.one("SELECT count(*) FROM archive.step") == 0


def zipped(document: bytes, name: str = "log.json") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, document)
    return base64.b64encode(buffer.getvalue())


def test_the_files_of_a_failed_run_are_kept_byte_for_byte(bench: Bench) -> None:
    steps = [main_log(101, log_type=2, status=3, is_send_S3=1), main_log(102, log_type=2, is_send_S3=0)]
    bench.world.insert(
        FLOW, 1, main_log(1, status=3, is_send_S3=1, sub_flows=steps), main_log(2, is_send_S3=1, age=4000)
    )
    bench.world.insert(FLOW, 3, line_log(10, 1, status=3, is_send_S3=1), line_log(11, 1), line_log(12, 2, is_send_S3=1))
    for number in (1, 101, 10):
        bench.world.files[FLOW, number] = zipped(b'{"id": %d, "price": 1.10}' % number)
    report = bench.turn()
    assert report.errors == []
    rows = bench.all("SELECT log_type, log_id, outcome, document::text, body_form FROM archive.detail ORDER BY 1")
    assert rows == [
        (kind, number, "stored", f'{{"id": {number}, "price": 1.10}}', "zip")
        for kind, number in ((1, 1), (2, 101), (3, 10))
    ]
    assert bench.one("SELECT encode(sha256(body), 'hex') = sha256 FROM archive.detail WHERE log_id = 1")


def test_a_line_that_failed_makes_its_run_a_failed_one(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1, status=2, is_send_S3=1))
    bench.world.insert(FLOW, 3, line_log(10, 1, status=3))
    bench.world.files[FLOW, 1] = zipped(b"{}")
    bench.turn()
    assert bench.all("SELECT log_id, outcome FROM archive.detail") == [(1, "stored")]


def test_the_lines_of_a_run_without_a_filename_uuid_are_its_lines(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1, filename_uuid=None))
    bench.world.insert(FLOW, 3, line_log(10, 1, status=3, is_send_S3=1))
    bench.world.files[FLOW, 10] = zipped(b"{}")
    bench.turn()
    assert bench.all("SELECT log_id, outcome FROM archive.detail") == [(10, "stored")]


def test_lines_of_other_runs_are_kept_and_told_of(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1), main_log(2, age=4000))
    bench.world.insert(FLOW, 3, line_log(10, 1), line_log(20, 2))
    bench.faults.add(Filterless(), path="/logs", log_type=3)
    (error,) = bench.turn().errors
    assert "lists those of others" in error
    assert bench.one("SELECT count(*) FROM archive.line") == 2


@dataclass
class Filterless(Fault):
    """All lines of a flow are listed, whichever run they are asked for."""

    def before(self, request: Request, peer: Peer) -> None:
        request.params.pop("original_filename_uuid", None)


@pytest.mark.parametrize(("policy", "files"), [("none", []), ("failed", [1]), ("all", [1, 2])])
def test_the_policy_says_which_files_are_wanted(bench: Bench, policy: str, files: list[int]) -> None:
    bench.world.insert(FLOW, 1, main_log(1, status=3, is_send_S3=1), main_log(2, status=2, is_send_S3=1, age=4000))
    for number in (1, 2):
        bench.world.files[FLOW, number] = zipped(b"{}")
    bench.turn(details=policy)
    assert [row[0] for row in bench.all("SELECT log_id FROM archive.detail ORDER BY 1")] == files


def test_a_file_that_is_announced_and_never_there_is_missing_by_name(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1, status=3, is_send_S3=1))
    for _ in range(5):
        assert bench.turn().errors == []
        assert bench.one("SELECT outcome FROM archive.detail") == "wanted"
    assert "missing" in bench.turn().errors[0]
    assert bench.all("SELECT outcome, attempts FROM archive.detail") == [("missing", 6)]


@dataclass
class FileFails(Fault):
    """The file of this log is answered with this status."""

    log_id: int
    status: int

    def after(self, request: Request, answer: Answer) -> None:
        if request.params["id"] == str(self.log_id):
            answer.say(self.status, b"out of order")


def test_a_download_that_fails_every_time_holds_nothing_up_and_is_given_up_by_name(bench: Bench) -> None:
    """One file that is answered with 500 for ever, beside one that can be had, and history that is still to be read."""
    bench.world.insert(FLOW, 1, main_log(1, status=3, is_send_S3=1), main_log(2, age=90_000, status=3, is_send_S3=1))
    bench.world.files[FLOW, 2] = zipped(b"{}")
    fails = bench.faults.add(FileFails(1, 500), path="/logs/download")
    report = bench.turn()
    assert "file of log 1: " in report.errors[0]
    assert bench.all("SELECT log_id, outcome FROM archive.detail ORDER BY 1") == [(1, "wanted"), (2, "stored")]
    assert bench.one("SELECT backfill IS NULL AND intervals <> '[]' FROM archive.checkpoint")
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.detail SET attempts = 18"))
    assert bench.one("SELECT outcome FROM archive.detail WHERE log_id = 1") == "wanted"
    bench.faults.remove(fails)
    bench.faults.add(FileFails(1, 403), path="/logs/download")
    assert "tried again later" in bench.turn().errors[0]
    assert "missing: given up after 20 fetches" in bench.turn().errors[0]
    assert bench.turn().errors == []


def test_a_file_that_takes_longer_than_a_turn_is_kept_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.world.insert(FLOW, 1, *(main_log(n, age=3600 + n, status=3, is_send_S3=1) for n in range(1, 7)))
    for number in range(1, 7):
        bench.world.files[FLOW, number] = zipped(b"{}")
    download = bench.client.download

    def slowly(flow: config.Flow, log_id: int) -> object:
        time.sleep(1.5)
        return download(flow, log_id)

    monkeypatch.setattr(bench.client, "download", slowly)
    for most in (4, 6):  # connections at a time
        lease = bench.store.leases.claim(bench.key)
        assert lease is not None
        report = archive_flow(bench.flow, bench.client, bench.store, lease, eager=True, seconds=1.0)
        assert (report.crash, report.errors, report.outcome) == (None, [], "left")
        assert bench.one("SELECT count(*) FROM archive.detail WHERE outcome = 'stored'") == most


def test_where_no_download_is_answered_the_others_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DOWN", 3)  # each takes its time
    bench.world.insert(FLOW, 1, *(main_log(n, age=3600 + n, status=3, is_send_S3=1) for n in range(1, 41)))
    bench.faults.add(Status(500), path="/logs/download")
    (error,) = bench.turn().errors
    assert "(and 3 more); tried again later" in error
    assert bench.all("SELECT log_id FROM archive.detail WHERE attempts = 1 ORDER BY 1") == [(1,), (2,), (3,), (4,)]


def test_an_unreadable_file_is_kept_and_fetched_three_times(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1, status=3, is_send_S3=1))
    bench.world.files[FLOW, 1] = base64.b64encode(b"PK no zip at all")
    for expected in ("wanted", "wanted", "unreadable"):
        bench.turn()
        assert bench.one("SELECT outcome FROM archive.detail") == expected
        assert bench.one("SELECT length(body) > 10 FROM archive.detail")
    assert bench.one("SELECT error FROM archive.detail")


def test_a_document_that_postgres_refuses_is_kept_as_a_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pure room lets through by mistake must not stop the flow."""
    bench.world.insert(FLOW, 1, main_log(1, status=3, is_send_S3=1))
    bench.world.files[FLOW, 1] = zipped(b'{"a": 1}')
    monkeypatch.setattr(files, "unpack", lambda body: unpack(body)._replace(document='{"a": "\\u0000"}'))
    assert bench.turn().errors == []
    ((outcome, document, changes, size),) = bench.all(
        "SELECT outcome, document, document_changes, length(body) FROM archive.detail"
    )
    assert (outcome, document) == ("stored", None)
    assert "22P05" in changes
    assert size > 50


def test_a_row_that_cannot_be_stored_is_kept_with_the_reason(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1), main_log(2, age=3700, id="no number"))
    bench.world.insert(FLOW, 3, *(line_log(number, 1) for number in range(10, 30)), line_log(99, 1, id=None))
    report = bench.turn()
    assert report.refused == 2
    assert bench.states() == {1: "sealed"}
    assert bench.one("SELECT count(*) FROM archive.line") == 20
    kept = bench.all("SELECT log_type, source::jsonb -> 'id', reason FROM archive.quarantine ORDER BY 1")
    assert kept == [(1, "no number", "it has no usable id and created"), (3, None, "it has no usable id")]
    assert bench.turn().refused == 0  # it is told once


def test_one_row_that_postgres_refuses_does_not_sink_its_batch(bench: Bench) -> None:
    with bench.store.engine.begin() as connection:
        connection.execute(
            text("ALTER TABLE archive.line ADD CONSTRAINT line_hostile_check CHECK (row_num IS DISTINCT FROM 13)")
        )
    bench.world.insert(FLOW, 1, main_log(1))
    bench.world.insert(FLOW, 3, *(line_log(number, 1, row_num=number) for number in range(1, 150)))
    report = bench.turn()
    assert report.refused == 1
    assert bench.one("SELECT count(*) FROM archive.line") == 148
    ((source, reason),) = bench.all("SELECT source::jsonb ->> 'row_num', reason FROM archive.quarantine")
    assert source == "13"
    assert "23514" in reason
    assert bench.states() == {1: "sealed"}


def test_a_page_of_lines_that_does_not_parse_fails_its_run_and_no_other(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1), main_log(2, age=4000))
    bench.world.insert(FLOW, 3, line_log(10, 1), line_log(20, 2))
    rule = bench.faults.add(Body(b"<html>busy</html>"), path="/logs", log_type=3, times=3)
    report = bench.turn()
    assert rule.fired == 3
    assert "run-1" in report.errors[0]
    assert bench.states() == {1: "pending", 2: "sealed"}
    assert bench.one("SELECT error FROM archive.run WHERE log_id = 1")
    assert bench.turn().errors == []
    assert bench.states() == {1: "sealed", 2: "sealed"}


def test_what_is_older_than_since_is_left_alone(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, *(main_log(number, age=86400.0 * number) for number in range(1, 400)))
    since = datetime.now(UTC) - timedelta(days=50.5)
    bench.turn(since=since)
    assert bench.one("SELECT count(*) FROM archive.run") == 50
    bench.turn(since=datetime.now(UTC) - timedelta(days=300.5))  # asked to go further back
    assert bench.one("SELECT count(*) FROM archive.run") == 300


def test_levels_say_what_is_archived(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1))
    bench.world.insert(FLOW, 3, line_log(10, 1))
    bench.turn(levels=frozenset({"main", "sub"}))
    assert bench.states() == {1: "sealed"}
    assert bench.one("SELECT count(*) FROM archive.line") == 0


def test_a_lease_that_was_taken_over_writes_nothing_more(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1))
    lease = bench.store.leases.claim(bench.key)
    assert lease is not None
    assert bench.store.leases.claim(bench.key) is None
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.checkpoint SET fence = fence + 1"))
    report = archive_flow(bench.flow, bench.client, bench.store, lease)
    assert "another process" in report.notes[0]
    assert bench.one("SELECT count(*) FROM archive.run") == 0


def test_pages_that_helpers_read_are_those_that_this_process_reads(bench: Bench) -> None:
    """Also while they are killed in the middle, and begun again."""
    helpers, killed = Helpers(2), 0
    lines = [line_log(number, number % 3 + 1, price=number / 7) for number in range(1, 15_001)]
    bench.world.insert(FLOW, 1, *map(main_log, (3, 2, 1)))
    bench.world.insert(FLOW, 3, *lines)

    def kill(_: FlowReport) -> None:
        nonlocal killed
        for process in list(helpers._processes):
            if process.poll() is None and any(line._is_ready for line in helpers._free):
                process.kill()
                killed += 1

    lease = bench.store.leases.claim(bench.key)
    assert lease is not None
    report = archive_flow(bench.flow, bench.client, bench.store, lease, helpers=helpers, eager=True, progress=kill)
    assert (report.errors, report.crash, report.lines_new) == ([], None, 15_000)
    assert killed
    rows = bench.all("SELECT log_id, fields->>'sku', (fields->>'price')::float8 FROM archive.line")
    assert sorted(rows) == [(row["id"], row["sku"], row["price"]) for row in lines]
