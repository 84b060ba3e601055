"""The audit finds every defect that was planted, raises no false alarm, mends what can be mended, and goes on when it
was killed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from archiver import cli
from archiver.demo.flows import FlowShape
from archiver.demo.listing import Order
from archiver.store import connect, migrate
from tests.audit.defects import (
    KINDS,
    Bench,
    damaged_line,
    lost_line,
    lost_run_with_all,
    missed,
    plant,
    rotten_file,
    stale_run,
)
from tests.audit.worlds import alarms_of_a_moving_world
from tests.conftest import new_database
from tests.system.story import Story, small_flows, told

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HABITS: dict[str, Any] = {"runs": 32, "lines": 12, "failed": 0.4, "partial": 0.3, "empty": 0.0}


@contextmanager
def archived(postgres: str, folder: Path, flows: list[FlowShape], **defaults: Any) -> Iterator[Story]:
    with new_database(postgres) as dsn, told(folder, dsn, flows=flows, now=datetime.now(UTC)) as story:
        story.configure(**defaults)
        assert story.run("sync").returncode == 0
        yield story


class Archiver:
    """The command line in this process: quicker than one of its own for each call."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, story: Story, *arguments: str) -> tuple[int, Any]:
        self._capture.readouterr()
        status = cli.main(["--config", str(story.folder / "config.yaml"), *arguments])
        said = self._capture.readouterr()
        assert said.out or "--json" not in arguments, said.err
        return status, json.loads(said.out) if "--json" in arguments else said.out + said.err


@pytest.fixture
def archiver(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archiver:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARCHIVER_DATABASE_URL", raising=False)
    return Archiver(capsys)


def findings(said: dict[str, Any]) -> list[tuple[str, int, str]]:
    return [(one["level"], one["log_id"], one["verdict"]) for flow in said["flows"] for one in flow["findings"]]


def test_every_defect_is_found_listed_and_mended_and_nothing_else(
    postgres: str, tmp_path: Path, archiver: Archiver
) -> None:
    flows = small_flows("price", "stock", **HABITS)
    with archived(postgres, tmp_path, flows) as story:
        status, clean = archiver(story, "verify", "--json")
        assert (status, findings(clean), clean["is_well"]) == (0, [], True), clean
        assert all(flow["counts"]["line"].keys() == {"found"} for flow in clean["flows"])

        expected = plant(story.database or "", 2 * len(KINDS), seed=11)
        status, said = archiver(story, "verify", "--json")
        assert status == 1
        assert missed(expected, said) == []
        assert set(findings(said)) <= {one[1:] for one in expected}  # no false alarm

        listed = archiver(story, "gaps", "--json")[1]
        logs = {(one["kind"].removesuffix("_file"), one["log_id"]) for one in listed}
        assert {(one.verdict, one.log_id) for one in expected if not one.level.startswith("invariant")} <= logs
        assert archiver(story, "status")[0] == 1
        alone = archiver(story, "verify", "--self", "--json")[1]
        assert missed([one for one in expected if one.level.startswith("invariant")], alone) == []

        status, repaired = archiver(story, "verify", "--json", "--repair")
        assert all(one["mended"] for flow in repaired["flows"] for one in flow["findings"]), repaired
        status, after = archiver(story, "verify", "--json")
        assert (status, findings(after)) == (0, []), after
        assert archiver(story, "sync")[0] == 0
        assert story.differences() == []
        assert archiver(story, "gaps", "--json")[1] == []


def test_what_went_on_purpose_is_no_loss(postgres: str, tmp_path: Path, archiver: Archiver) -> None:
    """Pruned, erased and masked: none of it is an alarm; nor is what the Integrator no longer shows."""
    flows = small_flows("price", **{**HABITS, "runs": 24, "every": timedelta(hours=2)})
    with archived(postgres, tmp_path, flows, redact=["barcode"]) as story:
        # Of a line that will not be pruned, and of none that has a file.
        (sku,) = story.query(
            "SELECT fields ->> 'sku' FROM archive.line WHERE fields ? 'sku'"
            " GROUP BY 1 HAVING max(is_send_s3) = 0 ORDER BY max(created) DESC LIMIT 1"
        )[0]
        assert archiver(story, "forget", f"sku={sku}", "--yes")[0] == 0
        story.configure(redact=["barcode"], keep="30h", keep_lines="28h", keep_details="26h")
        with psycopg.connect(story.database or "") as connection:  # the second look of a day later was had
            connection.execute("UPDATE archive.run SET visit_at = NULL WHERE archive_state = 'sealed'")
        pruned = archiver(story, "prune", "--json")[1]
        assert pruned, "nothing was pruned"
        status, said = archiver(story, "verify", "--json")
        assert (status, findings(said)) == (0, []), said
        assert said["flows"][0]["counts"]["line"]["erased"] > 0
        assert said["flows"][0]["counts"]["file"].keys() == {"found"}


def test_an_accepted_loss_is_no_alarm_any_more(postgres: str, tmp_path: Path, archiver: Archiver) -> None:
    with archived(postgres, tmp_path, small_flows("price", **{**HABITS, "runs": 6})) as story:
        bench = Bench(story.database or "", seed=3)
        expected = [*lost_line(bench), *damaged_line(bench), *rotten_file(bench), *lost_run_with_all(bench)]
        bench.close()
        assert archiver(story, "verify", "--json")[0] == 1
        for lost in archiver(story, "gaps", "--json")[1]:
            assert archiver(story, "gaps", "ack", lost["gap_id"], "--reason", "of no use")[0] == 0
        status, said = archiver(story, "verify", "--json")
        assert (status, said["open_gaps"], len(findings(said))) == (0, 0, len(expected)), said
        assert archiver(story, "verify", "--self")[0] == 0
        assert archiver(story, "status")[0] == 0


@pytest.mark.parametrize("order", [Order.NEWEST_FIRST, Order.ARBITRARY])
def test_a_world_that_moves_raises_no_alarm(postgres: str, tmp_path: Path, order: Order) -> None:
    with new_database(postgres) as dsn:
        assert alarms_of_a_moving_world(tmp_path, dsn, order, seed=5, audits=2) == []


def test_an_audit_that_was_killed_goes_on(postgres: str, tmp_path: Path, archiver: Archiver) -> None:
    flows = [replace(flow, runs=40, lines=5, failed=0.0, partial=0.0) for flow in small_flows("price")]
    with archived(postgres, tmp_path, flows) as story:
        plant(story.database or "", 1, seed=3)  # found by the first of the two processes
        seen = len(story.server.requests)
        story.settings = {"requests_per_second": 20, "connections": 1}
        story.configure()
        process = story.start("verify", "--json")
        while len(story.server.requests) - seen < 20:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert list((tmp_path / "archiver-data" / "verify").glob("*.sqlite"))

        seen = len(story.server.requests)
        status, said = archiver(story, "verify", "--json")
        asked = [one.params for one in list(story.server.requests)[seen:] if one.path == "/logs"]
        assert status == 1
        assert [verdict for _, _, verdict in findings(said)] == ["lost"]
        assert said["flows"][0]["counts"]["run"]["found"] == 39
        assert 0 < len(asked) < 35  # 40 lists of lines, and those of runs
        assert not list((tmp_path / "archiver-data" / "verify").glob("*.sqlite"))


def test_an_audit_needs_no_right_to_write(postgres: str, tmp_path: Path, archiver: Archiver) -> None:
    with archived(postgres, tmp_path, small_flows("price", **{**HABITS, "runs": 5})) as story:
        writable = urlsplit(story.database or "")
        with psycopg.connect(story.database or "", autocommit=True) as owner:
            role = f"auditor_{writable.path[-8:]}"
            owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'".encode())
            owner.execute(f"GRANT USAGE ON SCHEMA archive, reporting TO {role}".encode())
            owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA archive, reporting TO {role}".encode())
            try:
                story.database = writable._replace(netloc=f"{role}:x@{writable.hostname}:{writable.port}").geturl()
                story.configure()
                status, said = archiver(story, "verify")
                planting = Bench(writable.geturl(), 3)
                stale_run(planting)  # which the archive cannot find out by itself
                planting.close()
                found, report = archiver(story, "verify")
            finally:
                owner.execute(f"GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}".encode())
                story.database = writable.geturl()
        assert (status, "all is well" in said) == (0, True), said
        assert "nothing of this audit is written down" in said
        assert (found, "not all is well" in report) == (1, True), report


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sample", "0%"), "is no share"),
        (("--sample", "lots"), "is no share"),
        (("--self", "--repair"), "leave one of the two out"),
        (("--since", "soon"), "is no time"),
        (("prise",), "did you mean 'price'"),
    ],
)
def test_a_wrong_call_is_refused(
    tmp_path: Path, database: str, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = connect(database)
    migrate(engine)
    engine.dispose()
    with told(tmp_path, database, flows=small_flows("price"), now=NOW):
        assert cli.main(["--config", str(tmp_path / "config.yaml"), "verify", *arguments]) == 2
    assert words in capsys.readouterr().err
