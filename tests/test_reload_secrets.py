"""Several Integrators under one daemon while their secrets rotate, flows move, and files come late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver import cli
from archiver.demo.flows import BRAND
from archiver.demo.server import USERNAME, Server, serve
from archiver.demo.world import World
from tests.system.story import DAYS, Story, small_flows, told
from tests.test_daemon import daemon, said, stop, wait_for
from tests.test_reload import events, rewrite

QUICK = """
    from archiver.daemon import reload
    reload.LOOK, reload.AGAIN = 0.3, 1.0
"""


@dataclass
class Both:
    """prod, of which `story` knows the truth, and dev; the secret of each is in a file of its own."""

    story: Story
    dev: Server
    secrets: Path

    @property
    def path(self) -> Path:
        return self.story.folder / "config.yaml"

    def rotate(self, server: Server, secret: str) -> None:
        """On the Integrator's side: the old password is void, and so is every token."""
        server.api.credentials[USERNAME] = secret
        server.expire_tokens()

    def project(self, volume: str, secret: str) -> None:
        """As Kubernetes does it: a new folder, and a link that is moved over the old one."""
        folder = self.secrets / volume
        folder.mkdir()
        (folder / "password").write_text(secret)
        link = self.secrets / "..data_tmp"
        link.symlink_to(volume)
        link.rename(self.secrets / "..data")

    def lists(self, server: Server) -> int:
        return server.counts["/logs"]

    def goes_on(self, server: Server) -> None:
        before = self.lists(server)
        wait_for(lambda: self.lists(server) > before + 3)


@contextmanager
def configured(folder: Path, database: str) -> Iterator[Both]:
    now = datetime.now(UTC)
    price, order = small_flows("price", "order", runs=4, lines=3)
    tests = World(lambda: now, start=now - timedelta(days=DAYS), flows=[order], seed=2)
    with told(folder, database, flows=[price], now=now) as story, serve(tests, credentials={USERNAME: "d-1"}) as dev:
        both = Both(story, dev, folder / "secrets")
        both.secrets.mkdir()
        both.project("..v1", "make-believe")
        (both.secrets / "password").symlink_to("..data/password")
        (folder / "credentials").mkdir()
        (folder / "credentials/dev").write_text("d-1\n")
        document = json.loads(both.path.read_text())
        prod = document["integrators"].pop("make-believe")
        del prod["password"]
        document["integrators"] = {
            "prod": {**prod, "password_file": "secrets/password"},
            "dev": {**prod, "base_url": dev.base_url, "password_file": "${CREDENTIALS_DIRECTORY}/dev"},
        }
        (project,) = document["projects"]
        document["projects"] = [
            {**project, "integrator": "prod"},
            {**project, "integrator": "dev", "flows": [{"id": order.flow_id, "name": "order"}]},
        ]
        both.path.write_text(json.dumps(document))
        yield both


@pytest.fixture
def both(tmp_path: Path, database: str) -> Iterator[Both]:
    with configured(tmp_path, database) as both:
        yield both


def how_it_stands(story: Story) -> dict[str, tuple[int, bool]]:
    rows = story.query(
        "SELECT integrator, max(failures_in_a_row), bool_or(login_refused) FROM archive.checkpoint"
        " JOIN archive.flow USING (flow_key) GROUP BY 1"
    )
    return {name: (failures, refused) for name, failures, refused in rows}


def taken_over(story: Story) -> list[list[str]]:
    """The integrators that each configuration changed. One that was read as its file came, between two looks, is read
    once more, and changes nothing then."""
    found = [one["integrators"] for one in events(story, "configuration taken over")]
    return [integrators for integrators in found if integrators]


def test_secrets_rotate_under_a_daemon(both: Both) -> None:
    """After a 401, before one, and in the middle of a file that is not there: the other Integrator notices nothing."""
    story, prod, dev = both.story, both.story.server, both.dev
    credentials = str(story.folder / "credentials")
    with daemon(story, inject=QUICK, CREDENTIALS_DIRECTORY=credentials) as process:
        wait_for(lambda: min(both.lists(prod), both.lists(dev)) > 3)

        both.rotate(prod, "p-2")  # a 401, and the old secret is refused
        wait_for(lambda: how_it_stands(story)["prod"][1])
        both.goes_on(dev)
        assert how_it_stands(story)["dev"] == (0, False)
        both.project("..v2", "p-2")
        wait_for(lambda: how_it_stands(story)["prod"] == (0, False))
        both.goes_on(prod)
        assert taken_over(story)[-1] == ["prod"]
        assert (prod.logins, dev.logins) == (3, 1)

        (story.folder / "credentials/dev").unlink()  # systemd puts another in its place
        wait_for(lambda: bool(events(story, "configuration not taken over: the one before goes on")))
        both.goes_on(dev)
        dev.api.credentials[USERNAME] = "d-2"
        (story.folder / "credentials/dev").write_text("d-2\n")
        wait_for(lambda: dev.logins == 2)  # at once: the new secret is used, and the old token no longer
        both.goes_on(dev)
        assert taken_over(story)[-1] == ["dev"]
        assert how_it_stands(story) == {"prod": (0, False), "dev": (0, False)}
        assert (prod.logins, dev.logins) == (3, 2)
        assert stop(process) < 10
    assert not [secret for secret in ("p-2", "d-1", "d-2") if secret in said(story)]
    assert story.differences() == []


def test_what_a_configuration_needs_may_come_later(both: Both) -> None:
    """A file that names a secret which is not there yet is tried again, and complained of once."""
    story, dev = both.story, both.dev
    with daemon(story, inject=QUICK, CREDENTIALS_DIRECTORY=str(story.folder / "credentials")) as process:
        wait_for(lambda: both.lists(dev) > 3)

        def names_another_file(document: dict[str, Any]) -> None:
            document["integrators"]["dev"]["password_file"] = "secrets/dev"

        rewrite(story, names_another_file)
        complaints = "configuration not taken over: the one before goes on"
        wait_for(lambda: bool(events(story, complaints)))
        both.goes_on(dev)
        dev.api.credentials[USERNAME] = "d-2"
        both.goes_on(dev)
        (both.secrets / "dev").write_text("d-2\n")
        wait_for(lambda: bool(events(story, "configuration taken over")))
        wait_for(lambda: dev.logins == 2)
        both.goes_on(dev)
        (told_once,) = events(story, complaints)
        assert "secrets/dev" in told_once["problems"][0]
        assert stop(process) < 10


def test_flows_move_between_integrators_and_projects(both: Both, capsys: pytest.CaptureFixture[str]) -> None:
    """What was archived stays where it is; what is polled is what the file says, a second later."""
    story, prod, dev = both.story, both.story.server, both.dev
    with daemon(story, inject=QUICK, CREDENTIALS_DIRECTORY=str(story.folder / "credentials")) as process:
        wait_for(
            lambda: (
                story.query(_RUNS) == [("dev", "order", BRAND.project_id, 4), ("prod", "price", BRAND.project_id, 4)]
            )
        )
        document = json.loads(both.path.read_text())
        (price,), (order,) = (project["flows"] for project in document["projects"])
        moved = {**document, "integrators": {"prod": document["integrators"]["prod"]}}
        moved["projects"] = [
            {**document["projects"][0], "flows": [{**price, "name": "prices"}]},
            {"id": "p-2", "slug": "other-brand", "integrator": "prod", "flows": [order]},
        ]
        planned = story.folder / "planned.yaml"
        planned.write_text(json.dumps(moved))
        capsys.readouterr()
        assert cli.main(["--config", str(planned), "check", "--diff"]) == 1
        out = " ".join(capsys.readouterr().out.split())
        assert "ok flow prices: renamed, it was price; its history goes with it" in out
        assert f"warning flow order: moved from project {BRAND.project_id} to p-2: it is archived anew" in out
        assert f"ok flow order: no longer polled (project {BRAND.project_id}); its history is kept" in out
        planned.rename(both.path)
        wait_for(lambda: bool(events(story, "configuration taken over")))
        wait_for(lambda: dev.open_connections == 0)  # nobody uses its client any more
        asked = both.lists(dev)
        wait_for(lambda: any(one.params.get("projectid") == "p-2" for one in list(prod.requests)))
        both.goes_on(prod)
        assert both.lists(dev) == asked
        (change,) = events(story, "configuration taken over")
        assert (change["added"], change["removed"], change["changed"]) == (["order"], ["order"], ["price → prices"])
        assert change["integrators"] == ["dev"]
        assert stop(process) < 10
    assert story.query(_RUNS) == [("dev", "order", BRAND.project_id, 4), ("prod", "prices", BRAND.project_id, 4)]
    assert story.query("SELECT count(*) FROM archive.flow") == [(3,)]
    assert story.differences() == []
    capsys.readouterr()
    assert cli.main(["--config", str(both.path), "status", "--json"]) == 0
    rows = {(row["integrator"], row["flow_name"]): row for row in json.loads(capsys.readouterr().out)}
    assert rows["dev", "order"]["is_configured"] is False
    assert rows["prod", "order"]["is_configured"] is True


_RUNS = """
    SELECT integrator, flow_name, project_id, count(*) FROM archive.run JOIN archive.flow USING (flow_key)
    WHERE archive_state <> 'open' GROUP BY 1, 2, 3 ORDER BY 1, 2
"""
