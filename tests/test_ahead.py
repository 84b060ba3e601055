"""Before and beside the daemon: a configuration from addresses, what a change would do, what lies ahead, runs live."""

from __future__ import annotations

import json
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver import cli
from archiver.config import load, pasted
from tests.system.story import small_flows, told

PROD = "https://flow.entegrator.akinon.net:3000"


def test_a_configuration_from_pasted_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARCHIVER_CONFIG", raising=False)
    one, other = (f"{PROD}/logs?projectid=p-1&flowId={flow}&log_type=1&page=2" for flow in ("f-1", "f-2"))
    assert cli.main(["init", one, other]) == 0
    assert "INTEGRATOR_USERNAME and INTEGRATOR_PASSWORD" in capsys.readouterr().out
    login = {"INTEGRATOR_USERNAME": "me", "INTEGRATOR_PASSWORD": "secret"}
    config = load(None, login)
    assert {name: one.base_url for name, one in config.integrators.items()} == {"prod": PROD}
    assert [(flow.project_id, flow.flow_id, flow.integrator) for flow in config.flows] == [
        ("p-1", "f-1", "prod"),
        ("p-1", "f-2", "prod"),
    ]
    mine = "http://[::1]:9/api/#/runs?projectId=p:2&flow_id=${X}&projectslug=brand&flowName=order"
    assert cli.main(["init", "--force", one, mine]) == 0
    config = load(None, dict.fromkeys(("PROD_USERNAME", "PROD_PASSWORD", "_1_9_USERNAME", "_1_9_PASSWORD"), "x"))
    flow = config.flows[1]
    assert (flow.project_id, flow.flow_id, flow.project_slug, flow.name) == ("p:2", "${X}", "brand", "order")
    assert config.integrators[flow.integrator].base_url == "http://[::1]:9"
    capsys.readouterr()
    assert cli.main(["init", "--force", f"{PROD}/logs?projectid=p-1&token=canary"]) == 2
    err = capsys.readouterr().err
    assert "has no flowId" in err
    assert "canary" not in err
    assert "p:2" in Path("config.yaml").read_text()  # as it was


@pytest.mark.parametrize("url", ["hallo", "ftp://h/?projectId=a&flowId=b", "http://h:1/logs", "", "http://h:x/?a=b"])
def test_what_is_no_address_says_so(url: str) -> None:
    with pytest.raises(ValueError, match=r"no address|has no"):
        pasted(url)


def test_what_a_change_would_do_and_what_lies_ahead(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = cli.main(["--config", str(path), *arguments])
        out, err = capsys.readouterr()
        return status, out + err

    flows = small_flows("price", "stock", "order", runs=5, lines=3)
    with told(tmp_path, database, flows=flows, now=datetime.now(UTC)) as story:
        path = story.configure()
        assert said("check", "--diff")[0] == 2  # there is no archive yet
        assert said("sync")[0] == 0
        assert said("check", "--diff") == (0, "ok      flows: 3 flows, as the archive knows them\n")
        document = json.loads(path.read_text())
        project = document["projects"][0]
        price, _, order = project["flows"]
        renamed, new = {**price, "name": "prices"}, {"id": "f-9", "name": "new"}
        document["projects"] = [
            {**project, "flows": [renamed, new]},
            {**project, "id": "elsewhere", "flows": [order]},
        ]
        path.write_text(json.dumps(document))
        status, out = said("check", "--diff")
        assert status == 1
        for words in (
            "ok      flow prices: renamed, it was price",
            "ok      flow new: new, of project",
            "warning flow order: moved from project",
            "ok      flow stock: no longer polled",
        ):
            assert words in out
        found = json.loads(said("check", "--diff", "--json")[1])
        assert {one["check"] for one in found} == {"flow prices", "flow new", "flow order", "flow stock"}

        story.configure()
        status, out = said("status")
        assert "the archive has" in out
        assert "without a poll the Integrator would drop unread runs after" in out
        (row, *_) = json.loads(said("status", "--json")[1])
        assert row["archive_bytes"] > 1_000_000
        assert row["archive_bytes_per_day"] > 0
        assert row["disk_days_left"] is None  # whose disk is it?
        assert 0 < row["outrun_in_days"] < 3
        followed(story)


def followed(story: object) -> None:
    """`tail` shows what is there, then what changes, a JSON object a line."""
    from tests.system.story import Story

    assert isinstance(story, Story)
    process = story.start("tail", "price", "--json", "-n", "2")
    assert process.stdout is not None
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        first = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert {row["flow_name"] for row in first} == {"price"}
        assert first[0]["started_at"] < first[1]["started_at"]
        story.query(f"UPDATE archive.run SET status = 3 WHERE log_id = {first[1]['log_id']} RETURNING 1")
        changed = json.loads(process.stdout.readline())
        assert (changed["log_id"], changed["status"]) == (first[1]["log_id"], "failed")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert timedelta(0) < datetime.now(UTC) - datetime.fromisoformat(changed["started_at"])
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
