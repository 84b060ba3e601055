"""Operating the archiver from the command line, against an Integrator that answers over HTTP and a real Postgres."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver import cli
from archiver.demo.flows import BRAND
from archiver.demo.server import PASSWORD, USERNAME, serve
from archiver.demo.world import World


class Place:
    """A folder with a configuration for a make-believe Integrator, and its archive."""

    def __init__(self, base_url: str, flows: list[dict[str, str]], database: str) -> None:
        self.flows = flows
        self._settings: dict[str, Any] = {
            "database": {"url": database},
            "integrators": {
                "demo": {
                    "base_url": base_url,
                    "username": USERNAME,
                    "password": PASSWORD,
                    "requests_per_second": 1000,
                }
            },
            "projects": [{"id": BRAND.project_id, "slug": BRAND.slug, "flows": flows}],
        }
        self.write()

    def write(self, slug: str = BRAND.slug, **login: str) -> None:
        self._settings["projects"][0]["slug"] = slug
        self._settings["integrators"]["demo"].update(login)
        Path("config.yaml").write_text(json.dumps(self._settings), encoding="utf-8")


@pytest.fixture
def place(
    request: pytest.FixtureRequest, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """By its parameter the Integrator's clock is behind; where that is hours, it is not, but there is more history."""
    monkeypatch.chdir(tmp_path)
    for name in ("ARCHIVER_CONFIG", "ARCHIVER_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    behind = getattr(request, "param", timedelta(0))
    start = datetime.now(UTC) - behind - timedelta(hours=3)
    behind = behind if behind < timedelta(hours=1) else timedelta(0)
    world = World(lambda: datetime.now(UTC) - behind, start=start)
    with serve(world) as server:
        flows = [{"id": flow.flow_id, "name": flow.name} for flow in world.flows if flow.name in ("price", "order")]
        yield Place(server.base_url, flows, database)


def test_from_check_to_status(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        given = cli.main(arguments)
        out, err = capsys.readouterr()
        assert given == status, out + err
        return out

    first = json.loads(said("check", "--json"))
    assert {finding["level"] for finding in first} == {"ok"}
    # Whether one of three hours' runs has a file is for the world to say.
    assert [word for finding in first if (word := finding["check"].split()[0]) != "files"] == [
        *("configuration", "database", "schema", "clock", "login", "flow", "flow", "clock"),
    ]
    assert "none yet" in first[2]["message"]
    assert "runs listed, the first in the list of 20" in first[5]["message"]

    assert "price" in said("sync", "price")
    conditions = {row["flow_name"]: row["last_run_at"] for row in json.loads(said("status", "--json"))}
    assert conditions["price"].endswith("+00:00")
    assert conditions["order"] is None
    rows = said("sync").splitlines()
    assert rows[0].split() == ["FLOW", "OUTCOME", "NEW", "RUNS", "NEW", "LINES", "FILES", "REQUESTS", "TOOK"]
    assert all(" done " in row for row in rows[1:])
    assert json.loads(said("runs", "--flow", "order", "--json", "--limit", "1"))[0]["flow_name"] == "order"
    assert "up to date" in said("check")


@pytest.mark.parametrize("place", [timedelta(minutes=7)], indirect=True)
def test_a_clock_that_is_wrong_is_a_warning(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check"]) == 1
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "clock of demo: 7 min" in warnings[0] or "clock of demo: 6 min 59 s" in warnings[0]
    assert "behind" in warnings[0]


def test_check_tells_what_is_wrong(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.flows.append({"id": "no-such-flow", "name": "wrong"})
    place.write()
    assert cli.main(["check"]) == 1
    out = capsys.readouterr().out
    assert "warning flow wrong: no runs listed: is the id no-such-flow right?" in out
    place.write(password="wrong-one")
    assert cli.main(["check"]) == 2
    out = capsys.readouterr().out
    assert "error   login demo" in out
    assert "wrong-one" not in out


@pytest.mark.parametrize("place", [timedelta(hours=30)], indirect=True)
def test_a_slug_that_is_wrong_is_told_by_the_files_that_do_not_come(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check"]) == 0
    assert f"ok      files of {BRAND.slug}: a file was downloaded" in capsys.readouterr().out
    place.write(slug="my-brand")
    assert cli.main(["check"]) == 1
    assert "warning files of my-brand: none, of 3 logs that should have one: is 'my-brand'" in capsys.readouterr().out
    assert cli.main(["sync"]) == 0
    assert "is the project's slug 'my-brand' right?" in capsys.readouterr().err


def test_who_only_reads_needs_no_login(place: Place, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["sync", "price"]) == 0
    place.write(password="${NOT_SET_ANYWHERE}")
    capsys.readouterr()
    for command in (["status"], ["runs"], ["gaps"], ["db", "url"], ["verify", "--self"], ["migrate"]):
        assert cli.main(command) == 0, capsys.readouterr().err
    for command in (["sync"], ["check"], ["verify"]):
        assert cli.main(command) == 2
    out, err = capsys.readouterr()
    assert " ".join((out + err).split()).count("the environment variable NOT_SET_ANYWHERE is not set") == 3
    dump = tmp_path / "archive.dump"
    assert cli.main(["db", "dump", str(dump)]) == 0
    assert dump.read_bytes().startswith(b"PGDMP")


def test_a_dump_that_cannot_be_written_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = tmp_path / "nowhere" / "archive.dump"
    (tmp_path / "taken.part").mkdir()
    taken = tmp_path / "taken"
    for file, why in ((tmp_path, f"{tmp_path} is"), (taken, f"{taken}.part is"), (nowhere, "No such file")):
        assert cli.main(["db", "dump", str(file)]) == 2
        assert f"{file} cannot be written: {why}" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [tmp_path / "taken.part"]


def test_a_refused_login_is_told_with_status_2(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(password="wrong-one")
    assert cli.main(["sync"]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:2] == ["FLOW", "OUTCOME"], "a log is no part of the answer"
    assert "failed" in out
    assert "price: integrator demo" in err
    assert "integrators.demo.username or .password" in err
    assert "wrong-one" not in out + err
    assert {line.split()[4] for line in out.splitlines()[1:]} == {"0", "1"}, "one login for both, and none in the next"
    assert cli.main(["sync"]) == 2
    assert {line.split()[4] for line in capsys.readouterr().out.splitlines()[1:]} == {"0"}
    assert cli.main(["status"]) == 1
    assert "failing" in capsys.readouterr().out


def test_sync_of_a_flow_nobody_configured_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sync", "prices"]) == 2
    assert "did you mean 'price'?" in capsys.readouterr().err
