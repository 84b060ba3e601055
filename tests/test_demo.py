"""The make-believe Integrator's wire against the vendor's page; the contract can be run against other servers too."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from archiver import cli, daemon
from archiver.demo.flows import FlowShape, brand_flows, flow_named
from archiver.demo.listing import Order
from archiver.demo.server import PASSWORD, USERNAME, Server, serve
from archiver.demo.world import World
from tests.conftest import new_database, open_folder
from tests.replay import TOKEN, replaying
from tests.system.story import told

NOW = datetime(2026, 3, 12, 14, 27, 31, 250_000, tzinfo=UTC)
START = NOW - timedelta(days=3)
FORTY = replace(flow_named("price"), lines=40, spread=0.2, failed=0.2)


def world_of(*flows: FlowShape, seed: int = 1, now: datetime = NOW) -> World:
    return World(lambda: now, start=START, flows=flows, seed=seed)


@dataclass
class Integrator:
    """A server that claims to speak the Logs API, and what a test has to know about its data."""

    base_url: str
    username: str
    password: str
    project_id: str
    project_slug: str
    flow_id: str
    run_id: str  # of a finished run with at least 30 lines
    with_file: int  # a log with is_send_S3 = 1
    without_file: int
    sku: str  # of a line of the run

    def login(self, **form: str) -> requests.Response:
        form = form or {"username": self.username, "password": self.password}
        return requests.post(f"{self.base_url}/api/nifi/login", data=form, timeout=5)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.login().text}"}

    def logs(self, log_type: object = 1, **more: object) -> requests.Response:
        asked = {"projectid": self.project_id, "flowId": self.flow_id, "log_type": log_type, **more}
        params = {name: str(value) for name, value in asked.items() if value is not None}
        return requests.get(f"{self.base_url}/logs", params=params, headers=self.headers(), timeout=5)

    def download(self, log_id: int, **more: str | None) -> requests.Response:
        asked = {
            "id": str(log_id),
            "projectId": self.project_id,
            "flowId": self.flow_id,
            "projectslug": self.project_slug,
        }
        params = {name: value for name, value in {**asked, **more}.items() if value is not None}
        return requests.get(f"{self.base_url}/logs/download", params=params, headers=self.headers(), timeout=5)


def described(server: Server, world: World, flow: FlowShape) -> Integrator:
    runs = world.main_logs(flow.flow_id)
    run = next(row for row in runs if row["state"] == 3 and row["process_count"] >= 30)
    project, files = flow.project, [row["id"] for row in runs if row["is_send_S3"]]
    lines = world.line_logs(flow.flow_id, run["filename_uuid"])
    bare = next(row["id"] for row in lines if not row["is_send_S3"])
    known = (flow.flow_id, run["filename_uuid"], files[0], bare, lines[7]["sku"])
    return Integrator(server.base_url, USERNAME, PASSWORD, project.project_id, project.slug, *known)


@contextmanager
def demo(_: pytest.FixtureRequest) -> Iterator[Integrator]:
    world = world_of(FORTY)
    with serve(world) as server:
        yield described(server, world, FORTY)


@contextmanager
def replay(request: pytest.FixtureRequest) -> Iterator[Integrator]:
    """The archive of that world, shown by the replayed API."""
    world = world_of(FORTY)
    folder = request.getfixturevalue("tmp_path_factory").mktemp("replay")
    with (
        new_database(request.getfixturevalue("postgres")) as database,
        told(folder, database, flows=[FORTY], world=world) as story,
    ):
        story.configure(details="all")
        done = story.run("sync")
        assert done.returncode == 0, done.stderr
        one = described(story.server, world, FORTY)
        with replaying(database, TOKEN) as url:
            yield replace(one, base_url=url, username="anybody@example.com", password=TOKEN)


IMPLEMENTATIONS: dict[str, Callable[[pytest.FixtureRequest], AbstractContextManager[Integrator]]] = {
    "demo": demo,
    "replay": replay,
}
"""Another implementation of the vendor's page joins the contract by being named here."""


@pytest.fixture(scope="module", params=sorted(IMPLEMENTATIONS))
def integrator(request: pytest.FixtureRequest) -> Iterator[Integrator]:
    with IMPLEMENTATIONS[request.param](request) as described_one:
        yield described_one


# --- the contract ---------------------------------------------------------------------------------------------------


def test_login_answers_with_the_token_alone(integrator: Integrator) -> None:
    answer = integrator.login()
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text
    assert not set(answer.text) & set(' "{}\r\n')


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            {"username": "somebody@example.com", "password": "wrong"},
            "The supplied username and password are not valid.",
        ),
        ({"username": "somebody@example.com"}, "The username and password must be specified."),
    ],
)
def test_login_refuses_in_plain_text(integrator: Integrator, form: dict[str, str], message: str) -> None:
    answer = integrator.login(**form)
    assert (answer.status_code, answer.text.strip()) == (400, message)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer unknown"}, {"Authentication": "Bearer x"}])
@pytest.mark.parametrize("path", ["/logs", "/logs/download"])
def test_calls_need_a_token(integrator: Integrator, path: str, headers: dict[str, str]) -> None:
    assert requests.get(integrator.base_url + path, headers=headers, timeout=5).status_code == 401


COMMON_FIELDS = {
    *("created", "id", "process_group_id", "process_group_name", "parent_process_group_id", "original_filename_uuid"),
    *("filename_uuid", "state", "status", "finished", "fragment_count", "process_count", "success_count", "fail_count"),
    *("in_bound", "schedule", "is_triggered", "triggered_by", "log_type", "flow_order", "is_send_S3"),
}


def test_main_logs_look_like_the_sample(integrator: Integrator) -> None:
    answer = integrator.logs(1, limit=20)
    page = answer.json()
    assert parsedate_to_datetime(answer.headers["Date"]).utcoffset() == timedelta(0)
    assert set(page) >= {"count", "limit", "page", "previous", "next", "results"}
    assert (page["limit"], page["page"], page["previous"]) == (20, 1, "")
    for row in page["results"]:
        assert COMMON_FIELDS | {"sub_flows"} <= set(row)
        assert row["created"].isdecimal()
        assert row["finished"] is None or row["finished"].isdecimal()
        assert row["log_type"] == 1
        for step in row["sub_flows"]:
            assert COMMON_FIELDS | {"row_num"} <= set(step)
            assert datetime.fromisoformat(step["created"]).utcoffset() == timedelta(0)
            assert step["log_type"] == 2


def test_line_logs_belong_to_their_run_and_carry_search_fields(integrator: Integrator) -> None:
    page = integrator.logs(3, original_filename_uuid=integrator.run_id, limit=100).json()
    assert len(page["results"]) == page["count"] >= 30
    for row in page["results"]:
        assert COMMON_FIELDS | {"row_num"} <= set(row)
        assert (row["log_type"], row["original_filename_uuid"]) == (3, integrator.run_id)
        assert isinstance(row["sku"], str)
        assert datetime.fromisoformat(row["created"]).utcoffset() == timedelta(0)


def test_pages_divide_the_list(integrator: Integrator) -> None:
    asked: dict[str, object] = {"original_filename_uuid": integrator.run_id}
    whole = [row["id"] for row in integrator.logs(3, limit=100, **asked).json()["results"]]
    parts = [
        integrator.logs(3, limit=7, page=number, **asked).json()["results"] for number in range(1, len(whole) // 7 + 2)
    ]
    assert [row["id"] for part in parts for row in part] == whole
    assert integrator.logs(3, limit=100, page=50, **asked).status_code == 404
    second = integrator.logs(3, limit=7, page=2, **asked).json()
    assert (second["page"], second["limit"], second["count"]) == (2, 7, len(whole))
    assert "page=1" in second["previous"]


def test_limit_is_25_unless_told(integrator: Integrator) -> None:
    page = integrator.logs(3, original_filename_uuid=integrator.run_id).json()
    assert (page["limit"], page["page"], len(page["results"])) == (25, 1, 25)


def test_a_run_is_found_by_its_execution_id(integrator: Integrator) -> None:
    page = integrator.logs(1, filename_uuid=integrator.run_id).json()
    assert [row["filename_uuid"] for row in page["results"]] == [integrator.run_id]
    assert integrator.logs(1, filename_uuid="no-such-run").status_code == 404


def test_sub_logs_are_the_embedded_ones(integrator: Integrator) -> None:
    [run] = integrator.logs(1, filename_uuid=integrator.run_id).json()["results"]
    steps = integrator.logs(2, original_filename_uuid=integrator.run_id).json()["results"]
    assert sorted(step["id"] for step in steps) == sorted(step["id"] for step in run["sub_flows"])


def test_lines_are_searched_by_field_and_value(integrator: Integrator) -> None:
    search = {"search_field.1": "sku", "search_value.1": integrator.sku, "limit": 100}
    everywhere = integrator.logs(3, **search).json()["results"]
    within = integrator.logs(3, original_filename_uuid=integrator.run_id, **search).json()["results"]
    assert {row["sku"] for row in everywhere + within} == {integrator.sku}
    assert {row["id"] for row in within} <= {row["id"] for row in everywhere}
    assert integrator.logs(3, **{**search, "search_value.1": "no-such-sku"}).status_code == 404
    both = {"search_field.2": "log_type", "search_value.2": "1"}
    assert integrator.logs(3, **search, **both).status_code == 404


@pytest.mark.parametrize("spelling", ["projectid", "projectId"])
def test_both_spellings_of_the_project(integrator: Integrator, spelling: str) -> None:
    asked = {"projectid": None, spelling: integrator.project_id}
    assert integrator.logs(1, **asked).status_code == 200
    assert integrator.download(integrator.with_file, **{"projectId": None, **asked}).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"flowId": None},
        {"projectid": None},
        {"log_type": None},
        {"log_type": 0},
        {"log_type": 4},
        {"log_type": "main"},
        {"limit": 0},
        {"limit": 101},
        {"limit": "ten"},
        {"page": 0},
        {"page": -1},
    ],
)
def test_missing_or_incorrect_parameters_are_400(integrator: Integrator, wrong: dict[str, object]) -> None:
    assert integrator.logs(**{"log_type": 1, **wrong}).status_code == 400


def test_unknown_flow_is_an_empty_list(integrator: Integrator) -> None:
    assert integrator.logs(1, flowId="no-such-flow").status_code == 404


def test_download_is_base64_of_a_zip_with_one_json_file(integrator: Integrator) -> None:
    answer = integrator.download(integrator.with_file)
    assert answer.status_code == 200
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(answer.text)))
    [name] = archive.namelist()
    assert isinstance(json.loads(archive.read(name)), dict)


def test_download_without_a_file_or_a_parameter(integrator: Integrator) -> None:
    assert integrator.download(integrator.without_file).status_code == 404
    assert integrator.download(integrator.with_file, projectslug=None).status_code == 400
    assert integrator.download(integrator.with_file, projectId=None).status_code == 400


# --- the server -----------------------------------------------------------------------------------------------------


def test_server_shows_exactly_the_worlds_truth() -> None:
    flows = [replace(flow, order=order) for flow, order in zip(brand_flows(), Order, strict=True)]
    world = world_of(*flows, now=START + timedelta(hours=9))
    with serve(world) as server:
        for flow in flows:
            one = described_flow(server, flow)
            rows = one.logs(1, limit=100).json()["results"]
            assert sorted_by_id(rows) == sorted_by_id(world.main_logs(flow.flow_id))
            if flow.order is not Order.NEWEST_FIRST_UNSTABLE_TIES:
                assert rows == world.main_logs(flow.flow_id)
            run = max(rows, key=lambda row: row["process_count"])["filename_uuid"]
            lines = one.logs(3, original_filename_uuid=run, limit=100).json()["results"]
            assert sorted_by_id(lines) == sorted_by_id(world.line_logs(flow.flow_id, run)[:100])
            assert lines


def described_flow(server: Server, flow: FlowShape) -> Integrator:
    return Integrator(server.base_url, USERNAME, PASSWORD, *flow.project, flow.flow_id, "", 0, 0, "")


def sorted_by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: int(row["id"]))


def test_tokens_live_for_a_number_of_requests_or_a_time() -> None:
    world = world_of(FORTY)
    with serve(world, token_requests=3) as server:
        one = described_flow(server, FORTY)
        headers = one.headers()
        statuses = [requests.get(f"{one.base_url}/logs", headers=headers, timeout=5).status_code for _ in range(5)]
        assert statuses == [400, 400, 400, 401, 401]
        assert server.logins == 1
        again = one.headers()
        server.expire_tokens()
        assert requests.get(f"{one.base_url}/logs", headers=again, timeout=5).status_code == 401
    with serve(world, token_seconds=0.05) as server:
        headers = described_flow(server, FORTY).headers()
        time.sleep(0.06)
        assert requests.get(f"{server.base_url}/logs", headers=headers, timeout=5).status_code == 401


def test_server_keeps_a_book_and_connections_alive() -> None:
    with serve(world_of(FORTY)) as server, requests.Session() as session:
        one = described_flow(server, FORTY)
        session.headers.update(one.headers())
        for page in range(1, 6):
            session.get(f"{one.base_url}/logs?page={page}", timeout=5)
        listed = [seen for seen in server.requests if seen.path == "/logs"]
        assert [seen.params["page"] for seen in listed] == ["1", "2", "3", "4", "5"]
        assert len({seen.connection for seen in listed}) == 1
        assert (server.counts["/logs"], server.logins) == (5, 1)


def test_empty_lists_can_be_200_and_files_quoted_or_wrapped() -> None:
    world = world_of(FORTY)
    with serve(world, empty_status=200, file_form="quoted") as server:
        one = described(server, world, FORTY)
        assert one.logs(1, page=99).json()["results"] == []
        plain = world.download(one.with_file)
        assert plain is not None
        assert one.download(one.with_file).text == f'"{plain.decode()}"'
    with serve(world, file_form="wrapped") as server:
        lines = described(server, world, FORTY).download(one.with_file).text.split()
        assert "".join(lines) == plain.decode()
        assert max(map(len, lines)) == 76


def test_the_command_tells_what_it_archived_and_nothing_else() -> None:
    folder = open_folder()
    command = [sys.executable, "-m", "archiver", "demo", "--once", "--days", "1", "--dir", str(folder / "demo")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVER_")}
    environment |= {"COLUMNS": "80", "PATH": "/usr/bin:/bin"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, cwd=folder, env=environment
        )
    finally:
        shutil.rmtree(folder)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said[0].startswith("A make-believe Integrator is up.")
    assert said[1].split()[:2] == ["FLOW", "OUTCOME"]
    assert all(" done " in line for line in said[2:7])
    assert "are archived" in said[8]
    assert f"  python -m archiver --config {folder}/demo/config.yaml status" in said, "a command stays on one line"


def test_a_folder_that_was_used_before_goes_on_with_its_world_and_a_signal_is_told_by_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = datetime.now(UTC) - timedelta(days=3)
    (tmp_path / "world.json").write_text(json.dumps({"start": start.isoformat()}), encoding="utf-8")

    def sync(*_: object, **__: object) -> list[object]:
        os.kill(os.getpid(), signal.SIGTERM)
        return []

    monkeypatch.setattr(daemon, "opened", lambda _: nullcontext())
    monkeypatch.setattr(daemon, "sync", sync)
    assert cli.main(["demo", "--once", "--days", "30", "--dir", str(tmp_path)]) == 128 + signal.SIGTERM
    assert "Archiving 3 days of its history" in capsys.readouterr().out


def test_a_second_demo_leaves_the_folder_of_a_living_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its Integrator would take the place of the first one's, and be gone a moment later."""
    folder, during = tmp_path / "demo", []
    command = ["demo", "--once", "--days", "1", "--dir", str(folder)]

    def sync(_: object, __: object, **___: object) -> list[object]:
        before = (folder / "config.yaml").read_bytes()
        during.append((cli.main(command), (folder / "config.yaml").read_bytes() == before))
        os.kill(os.getpid(), signal.SIGTERM)
        return []

    monkeypatch.setattr(daemon, "opened", lambda _: nullcontext())
    monkeypatch.setattr(daemon, "sync", sync)
    for attempt in (1, 2):
        assert cli.main(command) == 128 + signal.SIGTERM
        assert during == [(2, True)] * attempt, "and the folder is free again where the first one has ended"
    assert f"a demo is already at work in {folder}: end it first" in capsys.readouterr().err
