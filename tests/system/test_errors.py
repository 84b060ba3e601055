"""`archiver errors` beside the truth of the world that was archived."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from archiver.cli.errors import CLASSES
from archiver.demo.mishaps import LINE_MISHAPS
from archiver.messages import CLASSES as KNOWN_CLASSES
from tests.system.story import Story, small_flows, told

CLASS = {mishap.code: mishap.kind for mishap in LINE_MISHAPS}


def truth(story: Story, since: datetime | None) -> dict[tuple[str, str], dict[str, Any]]:
    """Failed lines of finished runs by flow and error code: how many, in how many runs, of which products."""
    found: dict[tuple[str, str], dict[str, Any]] = defaultdict(lambda: {"lines": 0, "runs": set(), "skus": set()})
    for flow in story.flows:
        for run in story.world.main_logs(flow.flow_id):
            for line in story.world.line_logs(flow.flow_id, run["filename_uuid"]) if run["state"] == 3 else ():
                if line["status"] == 3 and (since is None or datetime.fromisoformat(line["created"]) >= since):
                    kind = found[flow.name, line["error_code"]]
                    kind["lines"] += 1
                    kind["runs"].add(line["original_filename_uuid"])
                    kind["skus"].add(line["sku"])
    return found


def asked(story: Story, *arguments: str) -> list[dict[str, Any]]:
    done = story.run("errors", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return list(json.loads(done.stdout))


def test_errors_are_those_of_the_world(tmp_path: Path, database: str) -> None:
    with told(tmp_path, database, flows=small_flows("price", "stock", failed=0.3), now=datetime.now(UTC)) as story:
        story.configure(search_fields=["sku", "no_such_field"])
        assert story.run("errors").returncode == 2, "there is no archive yet"
        assert story.run("sync").returncode == 0
        assert story.differences() == []
        middle = "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY created) FROM archive.line WHERE status = 3"
        half = story.query(middle)[0][0]
        for since, arguments in ((None, ()), (half, ("--since", half.isoformat()))):
            want, have = truth(story, since), asked(story, *arguments)
            of_lines = [one for one in have if one["affected"]]
            assert sorted(
                (one["flow_name"], one["error_class"], one["occurrences"], one["runs_hit"]) for one in of_lines
            ) == sorted((flow, CLASS[code], kind["lines"], len(kind["runs"])) for (flow, code), kind in want.items())
            assert sorted(one["affected"]["sku"]["distinct_values"] for one in of_lines) == sorted(
                len(kind["skus"]) for kind in want.values()
            )
            assert len(of_lines) > 3
            assert since or len(have) > len(of_lines), "steps that broke off have kinds of their own"
            assert all(one["affected"].keys() <= {"sku"} for one in have)
            assert [one["occurrences"] for one in have] == sorted((one["occurrences"] for one in have), reverse=True)
        check_options(story)


def check_options(story: Story) -> None:
    everything = asked(story)
    some = asked(story, "--flow", "price", "--class", "not_found,conflict", "--limit", "2")
    expected = [
        one for one in everything if one["flow_name"] == "price" and one["error_class"] in ("not_found", "conflict")
    ]
    assert some == expected[:2] != []
    assert asked(story, "--since", "0s") == []
    table = story.run("errors", "--limit", "3")
    assert table.returncode == 0
    assert len(table.stdout.splitlines()) == 4
    assert "there are more" in table.stderr
    assert everything[0]["sample"].split()[0] in table.stdout
    for wrong, words in (
        (("--class", "bogus"), "bogus"),
        (("--since", "soon"), "no time"),
        (("--flow", "prize"), "price"),
    ):
        refused = story.run("errors", *wrong)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert words in refused.stderr


def test_the_classes_of_the_help_are_those_of_the_rules() -> None:
    assert CLASSES == KNOWN_CLASSES


@pytest.mark.parametrize("zone", ["Europe/Istanbul", "America/New_York"])
def test_the_configured_time_zone_cuts_the_days(tmp_path: Path, database: str, zone: str) -> None:
    with told(tmp_path, database, flows=small_flows("price"), now=datetime.now(UTC)) as story:
        assert story.run("sync").returncode == 0
        path = story.configure()
        path.write_text(json.dumps({**json.loads(path.read_text()), "reporting": {"timezone": zone}}))
        assert story.run("sync").returncode == 0
        assert story.differences() == []
        days = (
            f"SELECT (started_at AT TIME ZONE '{zone}')::date, count(*), sum(line_count) FROM reporting.run GROUP BY 1"
        )
        assert sorted(story.query(days)) == sorted(story.query("SELECT day, runs, lines FROM reporting.run_daily"))
