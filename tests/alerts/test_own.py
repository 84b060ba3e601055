"""Alerts of the archiver itself: its disk, its login, what it has lost; daemons that die while they tell."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from archiver import cli
from archiver.alerts import Rounds
from archiver.database import folder
from archiver.queries import reading
from archiver.queries.signs import flow_facts, now
from archiver.signs import Facts, Settings, Space, conditions
from archiver.store import connect, migrate
from tests.alerting import FLOW, Archive, Inbox
from tests.system.story import small_flows, told
from tests.test_daemon import daemon, polled, said, stop, wait_for

# Of what Apprise imports.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def test_a_refused_login_is_one_alert_and_no_heart_beats(archive: Archive) -> None:
    beating = SecretStr(archive.inbox.url.replace("json://", "http://"))
    well = archive.rounds(heartbeat=beating)
    well.decide()
    well.beat()
    assert archive.inbox.beats == 1
    reason = "integrator prod refused its username and password: no (it is not tried again for 900 s, or until …)"
    behind = "failures_in_a_row = 40, frontier = now() - interval '9 h'"
    archive.sql(f"UPDATE archive.checkpoint SET {behind}, last_error = '{reason}', login_refused = true")
    assert archive.round() == ["archiver: integrator prod refuses the login"]
    assert reason in archive.inbox.came[-1][1]
    well.decide()
    well.beat()
    assert archive.inbox.beats == 1
    mended = "failures_in_a_row = 0, last_error = NULL, login_refused = false, frontier = now()"
    archive.sql(f"UPDATE archive.checkpoint SET {mended}")
    assert archive.round() == ["archiver: over: integrator prod refuses the login"]


def test_what_looks_like_a_refused_login_is_none(archive: Archive) -> None:
    """What an Integrator says is its own matter."""
    words = "integrator prod refused its list: it was refused before"
    archive.sql(f"UPDATE archive.checkpoint SET failures_in_a_row = 1, last_error = '{words}'")
    assert archive.round() == []


def test_a_disk_that_will_be_full(archive: Archive, tmp_path: Path) -> None:
    """By what came in the last week, and what is free where the server's files are."""
    archive.runs(2, 2, 2, ago=timedelta(days=2))
    titles = []
    for days in (10_000_000, 14):
        config = replace(archive.config(disk=timedelta(days=days)), data_dir=tmp_path)
        rounds = Rounds(archive.engine, lambda config=config: config, dict)  # type: ignore[misc]
        rounds.decide()
        rounds.send()
        titles.append(archive.inbox.titles[-1])
    assert titles[0].startswith("archiver: the disk is full in ")
    assert titles[1] == titles[0].replace("archiver: ", "archiver: over: ")
    body = archive.inbox.came[0][1]
    assert "the archive has " in body
    assert " more a day; " in body


def test_the_room_that_is_left() -> None:
    """A disk is nearly full whatever the growth, and well again a fifth further on."""

    def titles(free: int | None, growth: float | None = None, *, held: bool = False) -> list[str]:
        facts = Facts(datetime.now(UTC), space=Space(10**10, growth, free))
        return [one.title for one in conditions(facts, Settings(), {("disk", "database")} if held else ())]

    assert titles(None, 10**9) == []  # a server elsewhere
    assert titles(10**9 - 10**8) == ["the database's disk has 900.0 MB left"]
    assert titles(10**9 - 10**8, 10**6) == ["the database's disk has 900.0 MB left"]  # enough for years
    assert titles(10**9 + 10**8) == []
    assert titles(10**9 + 10**8, held=True) == ["the database's disk has 1.1 GB left"]
    assert titles(13 * 10**9, 10**9) == ["the disk is full in 13 days"]
    assert titles(15 * 10**9, 10**9) == []
    assert titles(15 * 10**9, 10**9, held=True) == ["the disk is full in 15 days"]
    assert titles(17 * 10**9, 10**9, held=True) == []
    assert titles(3 * 10**9, 2 * 10**9) == ["the disk is full within two days"]


def test_the_room_is_that_of_the_folder_with_the_files(archive: Archive, tmp_path: Path) -> None:
    """Root's server may live on another disk than its home."""
    config = replace(archive.config(), data_dir=tmp_path / "data")
    assert folder(config) == tmp_path / "data"
    (tmp_path / "data").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "data/elsewhere").symlink_to(tmp_path / "disk")
    assert folder(config) == tmp_path / "disk"


def test_what_is_lost_is_told_until_somebody_accepts_it(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"database": {"url": archive.dsn}}))
    archive.sql("UPDATE archive.run SET archive_state = 'lost' WHERE log_id = 1")
    assert archive.round() == ["archiver: price: 1 thing missing"]
    assert "lost_run: " in archive.inbox.came[-1][1]
    archive.sql("UPDATE archive.run SET archive_state = 'lost' WHERE log_id = 2")
    assert archive.round() == []  # cooling down
    archive.later("1 hour")
    assert archive.round() == ["archiver: price: 2 things missing"]  # it got worse
    assert cli.main(["--config", str(path), "gaps", "ack", "--all", "--reason", "the ERP was rebuilt"]) == 0
    assert archive.round() == ["archiver: over: price: 2 things missing"]


def test_a_login_that_was_refused_before_the_upgrade_stays_one_alert(database: str) -> None:
    """Versions before told it by text alone."""
    engine = connect(database)
    migrate(engine, "0014")
    before = (
        "integrator prod refused its integrators.prod.username or .password: no; correct it in the configuration",
        "integrator prod: its integrators.prod.token was refused before; it is not tried again for 9 s",
        "integrator prod: no complete answer within 60 s",
    )
    with psycopg.connect(database) as connection:
        for number in range(len(before)):
            connection.execute(
                "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)"
                " VALUES ('prod', 'p', 's', %s, 'f')",
                (str(number),),
            )
        connection.execute(
            "INSERT INTO archive.checkpoint (flow_key, last_error) SELECT flow_key, (%s::text[])[flow_id::int + 1]"
            " FROM archive.flow",
            (list(before),),
        )
    migrate(engine)
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT login_refused FROM archive.checkpoint ORDER BY flow_key").fetchall()
    assert found == [(True,), (True,), (False,)]
    engine.dispose()


# --- daemons ---

QUICK = """
    from archiver.daemon import alerting, reload
    alerting.DECIDE = reload.LOOK = 0.3
"""
# It decides, and hangs before it sends.
HANGS = f"""{QUICK}
    import time
    from archiver.alerts import Rounds
    Rounds.send = lambda self: time.sleep(600)
"""


def test_none_is_lost_to_a_kill_and_none_told_twice_by_two(tmp_path: Path, database: str, hook: Inbox) -> None:
    """Killed between decision and sending; then two go on, and tell once what both of them see."""
    flows = [replace(flow, failed=1.0) for flow in small_flows("price", runs=3, lines=3)]
    with told(tmp_path, database, flows=flows, now=datetime.now(UTC)) as story:
        path = story.folder / "config.yaml"
        good = json.dumps({**json.loads(path.read_text()), "alerts": {"to": [hook.url], "cooldown": "0s"}})
        path.write_text(good)
        with daemon(story, inject=HANGS) as process:
            wait_for(lambda: story.query("SELECT to_regclass('archive.alert_message')") != [(None,)])
            wait_for(lambda: story.query("SELECT count(*) FROM archive.alert_message") == [(1,)])
            process.kill()
            process.wait()
        assert hook.titles == []
        with daemon(story, inject=QUICK) as one, daemon(story, inject=QUICK) as other:
            wait_for(lambda: hook.titles == ["archiver: price failed 3 times in a row"])
            wait_for(lambda: story.query(_LIVING) == [(2,)])
            path.write_text(good.replace('"every"', '"evry"'))
            wait_for(lambda: len(hook.titles) > 1)
            assert hook.titles[1].endswith(" cannot be used")
            assert "did you mean 'every'?\nthe one before goes on" in hook.came[1][1]
            seen = polled(story)["price"]
            wait_for(lambda: polled(story)["price"] > seen + 4)
            path.write_text(good)
            wait_for(lambda: len(hook.titles) > 2)
            assert hook.titles[2:] == [hook.titles[1].replace("archiver: ", "archiver: over: ")]
            assert stop(one) < 20
            assert stop(other) < 20
        assert len(hook.titles) == 3
        assert "alerts do not work" not in said(story)


# The one that was killed shows itself for a minute more.
_LIVING = "SELECT count(*) FROM archive.daemon WHERE seen_at > (SELECT made_at FROM archive.alert_message LIMIT 1)"


def test_a_flow_whose_logs_come_late_by_hours_is_not_behind_for_that(archive: Archive) -> None:
    """Its frontier keeps the distance that was learnt."""
    kinds = []
    for learnt in (0, 6 * 3_600_000_000):
        archive.sql(
            "UPDATE archive.checkpoint SET frontier = now() - interval '6 h', checked_at = now(),"
            f" source = jsonb_build_object('lateness', {learnt})"
        )
        with reading(archive.engine) as reader:
            facts = Facts(now(reader), flow_facts(reader, {archive.key: FLOW}, {}))
        kinds.append([one.kind for one in conditions(facts, Settings())])
    assert kinds == [["lag"], []]


def test_a_flow_that_is_polled_once_a_night_is_not_behind_by_day(archive: Archive) -> None:
    """Its cron says when the next polls come: one that has not come is waited for as long as any flow's."""
    nightly = replace(FLOW, every=None, cron=f"{datetime.now(UTC) - timedelta(hours=3):%M %H} * * *")
    kinds = []
    for ago in ("3 h", "50 h"):
        archive.sql(f"UPDATE archive.checkpoint SET frontier = now() - interval '{ago}' - interval '10 min'")
        with reading(archive.engine) as reader:
            facts = Facts(now(reader), flow_facts(reader, {archive.key: nightly}, {}))
        kinds.append([one.kind for one in conditions(facts, Settings())])
    assert kinds == [[], ["lag"]]
