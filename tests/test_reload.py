"""The configuration while the daemon runs: taken over when its file changes or on SIGHUP, unless it is broken."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from archiver.config import Config, Flow, Integrator, Web
from archiver.daemon.polled import flow_changes, waits_for_start
from tests.system.story import Story, small_flows, told
from tests.test_daemon import daemon, polled, said, status, stop, wait_for


@pytest.fixture
def story(tmp_path: Path, database: str) -> Iterator[Story]:
    flows = small_flows("price", "stock", runs=4, lines=3)
    with told(tmp_path, database, flows=flows, now=datetime.now(UTC)) as story:
        yield story


def rewrite(story: Story, change: Any) -> None:
    path = story.folder / "config.yaml"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def events(story: Story, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in said(story).splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def test_a_daemon_lives_with_its_configuration(story: Story) -> None:
    """Broken, mended, a flow renamed, one removed and one back, another password: no pass is lost, none too many."""
    path = story.folder / "config.yaml"
    flows = json.loads(path.read_text())["projects"][0]["flows"]
    with daemon(story) as process:
        wait_for(lambda: min(polled(story)[name] for name in ("price", "stock")) > 1)

        good = path.read_text()
        path.write_text(good.replace('"every"', '"evry"'))
        wait_for(lambda: bool(events(story, "configuration not taken over: the one before goes on")))
        before = polled(story)["price"]
        wait_for(lambda: polled(story)["price"] > before + 2)
        (story.folder / "good.yaml").write_text(good)
        shown = story.run("--config", "good.yaml", "status")
        assert (shown.returncode, "did you mean 'every'?" in shown.stdout) == (1, True)
        assert "did you mean 'every'?" in story.run("--config", "good.yaml", "status", "--json").stdout

        path.write_text(good)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: bool(events(story, "configuration taken over")))

        def rename_and_remove(document: dict[str, Any]) -> None:
            document["projects"][0]["flows"] = [{**flows[0], "name": "prices"}]

        rewrite(story, rename_and_remove)
        wait_for(lambda: len(events(story, "configuration taken over")) == 2)
        change = events(story, "configuration taken over")[-1]
        assert (change["added"], change["removed"], change["changed"]) == ([], ["stock"], ["price → prices"])
        seen = polled(story)
        wait_for(lambda: polled(story)["price"] > seen["price"] + 3)
        assert polled(story)["stock"] <= seen["stock"] + 1  # the turn that was under way
        states = status(story)
        assert states["prices"]["is_configured"] is True
        assert (states["stock"]["condition"], states["stock"]["is_well"]) == ("not in the configuration", True)

        def another_password(document: dict[str, Any]) -> None:
            document["projects"][0]["flows"] = flows
            document["integrators"]["make-believe"]["password"] = "canary-wrong"

        rewrite(story, another_password)
        wait_for(lambda: "refused" in str(status(story)["price"]["last_error"]))
        rewrite(story, lambda document: document.update(json.loads(good)))
        wait_for(lambda: all(row["is_well"] for row in status(story).values()))
        seen = polled(story)
        wait_for(lambda: min((polled(story) - seen)[name] for name in ("price", "stock")) > 1)
        assert story.query("SELECT count(*) FROM archive.daemon") == [(1,)]
        assert stop(process) < 10
    assert "canary-wrong" not in said(story)
    assert "Traceback" not in said(story)
    assert story.query("SELECT count(*) FROM archive.daemon") == [(0,)]
    assert story.query("SELECT count(*) FROM archive.flow") == [(2,)]
    assert story.differences() == []
    one_line_for_each_pass(story)


def one_line_for_each_pass(story: Story) -> None:
    lines = {line["pass_id"]: line for line in events(story, "pass")}
    rows = story.query("SELECT pass_id, outcome, requests, rows_new, rows_changed FROM archive.pass")
    assert len(lines) == len(events(story, "pass"))
    assert lines.keys() == {row[0] for row in rows}
    for number, outcome, requests, new, changed in rows:
        line = lines[number]
        assert (line["outcome"], line["requests"]) == (outcome, requests)
        assert line["runs_new"] + line["lines_new"] == new
        assert line["runs_changed"] + line["lines_changed"] == changed
        assert line["seconds"] >= 0


def test_debug_shows_each_request_and_whose_it_was(story: Story) -> None:
    """Also of `sync`, and also of the pages that other threads fetch."""
    done = story.run("--debug", "sync")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    asked = [line for line in lines if line["event"] == "request"]
    assert len(asked) == len(story.server.requests)
    assert all(line["pass_id"] and line["flow"] for line in asked)
    assert {line["path"] for line in asked} >= {"/api/nifi/login", "/logs"}
    of_run = next(line for line in asked if "original_filename_uuid=" in line["query"])
    assert (of_run["method"], of_run["status"], of_run["attempt"]) == ("GET", 200, 1)
    passes = {row[0] for row in story.query("SELECT pass_id FROM archive.pass")}
    assert {line["pass_id"] for line in asked} == passes
    assert "make-believe" not in {word for line in asked for word in line.values() if isinstance(word, str)}
    assert not any("Bearer" in json.dumps(line) or "password" in json.dumps(line) for line in asked)
    assert done.stdout.count("\n") < 10


# --- what a change is, without a daemon ---

OLD = Config(
    Path("config.yaml"),
    Path("data"),
    integrators={"prod": Integrator("prod", "http://127.0.0.1:9")},
    flows=tuple(Flow("prod", "p", "brand", name, name) for name in ("a", "b", "c")),
)


def test_changes_by_name() -> None:
    a, b, _ = OLD.flows
    new = replace(OLD, flows=(replace(a, details="all"), replace(b, name="B"), Flow("prod", "p2", "other", "c", "c")))
    assert flow_changes(OLD, new) == (["c"], ["c"], ["a", "b → B"])
    assert not flow_changes(OLD, replace(OLD))
    assert flow_changes(OLD, OLD) == ([], [], [])


def test_what_waits_for_the_next_start() -> None:
    assert waits_for_start(OLD, replace(OLD, flows=())) == []
    assert waits_for_start(OLD, replace(OLD, workers=9, web=Web())) == ["workers", "web"]
