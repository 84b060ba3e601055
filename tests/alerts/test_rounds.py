"""Alerts, whole: a real daemon's rounds on a real database, a real mail server, a webhook; nothing told twice."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from archiver import cli
from archiver.alerts import Channels, Rounds, beat
from archiver.errors import ConfigError
from archiver.signs import Message
from tests.alerting import CANARY, Archive, Inbox, free_port, mail_server
from tests.system.story import small_flows, told
from tests.test_daemon import daemon, said, stop, wait_for

pytestmark = [
    # Of what they import, and of a server that is asked to do without TLS.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning"),
]


@pytest.fixture(autouse=True)
def no_names_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """smtplib asks for the name of this machine, which takes seconds where there is no DNS."""
    monkeypatch.setattr(socket, "getfqdn", lambda name="": name or "localhost")


def test_a_failure_its_recovery_and_nothing_between(archive: Archive) -> None:
    archive.runs(2, 2, 2)
    assert archive.round() == []
    archive.runs(3)
    assert archive.round() == ["archiver: price failed"]
    body = archive.inbox.came[-1][1]
    key, number = archive.key, archive.sql("SELECT max(log_id) FROM archive.run")[0][0]
    assert f"https://logs.example.com/archive/flows/{key}/runs/{number}" in body
    assert "ERP: connection refused" in body
    assert "1 of 1 line failed" in body
    assert "last good run: " in body
    for _ in range(3):
        archive.runs(3, message="ERP: quite another error")
        assert archive.round() == []
    archive.runs(2)
    assert archive.round() == ["archiver: over: price failed 4 times in a row"]
    assert "good again: the run of " in archive.inbox.came[-1][1]
    assert archive.round() == []
    assert CANARY not in json.dumps(archive.inbox.came)


def test_so_many_in_a_row(archive: Archive) -> None:
    archive.runs(2, 3, 3)
    assert archive.round(failures=3) == []
    archive.runs(3)
    assert archive.round(failures=3) == ["archiver: price failed 3 times in a row"]
    archive.runs(4)  # empty is no failure
    assert archive.round(failures=3) == ["archiver: over: price failed 3 times in a row"]


def test_what_comes_and_goes_is_told_once_in_a_while(archive: Archive) -> None:
    told: list[str] = []
    for _ in range(4):
        archive.runs(3)
        told += archive.round()
        archive.runs(2)
        told += archive.round()
    assert told == ["archiver: price failed", "archiver: over: price failed"]
    archive.runs(3)
    assert archive.round() == []
    archive.later("31 minutes")
    assert archive.round() == ["archiver: price failed"]


def test_quiet_hours_end_with_what_still_holds(archive: Archive) -> None:
    now = datetime.now(UTC)
    night = ((now - timedelta(hours=1)).time(), (now + timedelta(hours=1)).time())
    archive.runs(2, 3)
    assert archive.round(quiet=night) == []
    archive.runs(2)
    assert archive.round(quiet=night) == []
    assert archive.round() == []  # it came and went while nobody listened
    archive.runs(3)
    assert archive.round(quiet=night) == []
    assert archive.round() == ["archiver: price failed"]
    archive.runs(2)
    archive.round(quiet=night)
    archive.runs(3)
    archive.round(quiet=night)
    assert archive.round() == []  # people know it as failing, and so it is


def test_a_first_history_brings_one_alert_for_what_is_current(archive: Archive) -> None:
    archive.sql("UPDATE archive.flow SET added_at = now()")
    archive.sql(
        "INSERT INTO archive.run (flow_key, log_id, created, finished, state, status, form, src_hash, archive_state,"
        f" seen_at) SELECT {archive.key}, 100000 + n, at, at, 3, 3, 0, 0, 'sealed', now()"
        " FROM generate_series(10081, 20080) n CROSS JOIN LATERAL (SELECT now() - n * interval '1 min' AS at) moment"
    )
    assert archive.round() == []  # the newest is a week old
    archive.runs(3)
    assert archive.round() == ["archiver: price failed 10,000 times in a row"]


def test_two_daemons_tell_it_once(archive: Archive) -> None:
    archive.runs(2, 3)
    both = [archive.rounds(), archive.rounds()]
    threads = [threading.Thread(target=lambda one=one: (one.decide(), one.send())) for one in both * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert archive.inbox.titles == ["archiver: price failed"]


def test_what_could_not_be_sent_is_sent_after_a_restart(archive: Archive) -> None:
    archive.inbox.status = 500
    archive.runs(2, 3)
    rounds = archive.rounds()
    rounds.decide()
    assert rounds.send() is False
    (row,) = archive.sql("SELECT attempts, error, done_at FROM archive.alert_message")
    assert (row[0], row[2]) == (1, None)
    assert CANARY not in row[1]
    archive.inbox.status = 200
    assert archive.round() == []  # its time has not come
    archive.sql("UPDATE archive.alert_message SET next_attempt_at = now()")
    assert archive.round() == ["archiver: price failed"]
    assert archive.round() == []


def test_one_that_was_killed_while_it_sent_leaves_it_to_the_next(archive: Archive) -> None:
    archive.runs(2, 3)
    archive.rounds().decide()
    assert archive.rounds()._kept.claim(600) is not None  # and then it is gone
    assert archive.round() == []
    archive.sql("UPDATE archive.alert_message SET claimed_until = now()")
    assert archive.round() == ["archiver: price failed"]


def test_a_channel_that_has_it_does_not_get_it_again(archive: Archive, hook: Inbox) -> None:
    with mail_server() as mail:
        archive.inbox.status = 500
        to = (SecretStr(mail.url), SecretStr(archive.inbox.url))
        archive.runs(2, 3)
        archive.round(to=to)
        assert mail.titles == ["archiver: price failed"]
        assert "https://logs.example.com/archive/flows/" in mail.came[0][1]
        pause = "SELECT next_attempt_at - value::timestamptz FROM archive.alert_message, jsonb_each_text(delivered)"
        assert archive.sql(pause) == [(timedelta(seconds=30),)], "both times are the database's"
        archive.inbox.status = 200
        archive.sql("UPDATE archive.alert_message SET next_attempt_at = now()")
        archive.round(to=to)
        assert (mail.titles, hook.titles) == (["archiver: price failed"], ["archiver: price failed"])


def test_several_things_are_one_message(archive: Archive) -> None:
    archive.runs(2, 2, ago=timedelta(days=30))
    archive.runs(3)
    archive.sql(
        """UPDATE archive.checkpoint SET gaps = '[{"from": null, "to": "2026-01-01T00:00:00+00:00", "reason": "why"}]',
        frontier = now() - interval '3 hours', failures_in_a_row = 4, last_error = 'no answer'"""
    )
    (title,) = archive.round()
    assert title == "archiver: 3 problems (the archive of price is 2 h 50 min behind, …)"
    body = archive.inbox.came[-1][1]
    for words in ("failed 4 times in a row: no answer", "1 gap in the archive", "price failed"):
        assert words in body


def test_a_new_kind_of_error_in_a_run_that_succeeds(archive: Archive) -> None:
    archive.runs(2, line=3, message="ERP: no such warehouse: WH-12")
    assert archive.round() == ["archiver: price: a new kind of error (not_found)"]
    assert "says: ERP: no such warehouse: WH-12" in archive.inbox.came[-1][1]
    archive.runs(2, line=3, message="ERP: no such warehouse: WH-13")
    assert archive.round() == []
    archive.sql("UPDATE archive.error_group SET first_seen_at = first_seen_at - interval '2 days'")
    assert archive.round() == []  # it is over when it is new no longer, and nobody has to hear of that
    assert archive.sql("SELECT count(*) FROM archive.alert WHERE resolved_at IS NULL") == [(0,)]


def test_a_flow_that_falls_silent(archive: Archive) -> None:
    for day in range(30, 0, -1):
        archive.runs(2, ago=timedelta(days=day))
    assert archive.round() == []  # a day is usual
    archive.sql("UPDATE archive.run SET created = created - interval '8 h', finished = finished - interval '8 h'")
    assert archive.round() == ["archiver: price has not run for 1 d 8 h"]
    archive.runs(2)
    assert archive.round() == ["archiver: over: price has not run for 1 d 8 h"]


def test_silence_by_a_fixed_time(archive: Archive) -> None:
    archive.runs(2, ago=timedelta(hours=2))
    assert archive.round() == []
    assert archive.round(stale_after=timedelta(hours=1)) == ["archiver: price has not run for 2 h 1 min"]


def test_the_learnt_ranges(archive: Archive) -> None:
    """Four weeks of days; then lines fail that did not, and runs take long."""
    archive.sql("DELETE FROM archive.flow_day")
    archive.sql(
        "INSERT INTO archive.flow_day (flow_key, day, runs, succeeded, failed, empty, lines, failed_lines,"
        f" duration_p95) SELECT {archive.key}, current_date - n, 20, 20, 0, 0, 1000, 10 + n, 40"
        " FROM generate_series(1, 27) n"
    )
    archive.runs(2, 2, 2, 2, 2, 2)
    archive.sql("UPDATE archive.run SET line_count = 50, failed_line_count = 1")
    assert archive.round() == []
    archive.sql("UPDATE archive.run SET failed_line_count = 6, finished = created + interval '5 min'")
    assert archive.round() == ["archiver: 2 problems (price: 12 % of the lines fail, …)"]
    body = archive.inbox.came[-1][1]
    assert "36 of the newest 300 lines failed; usually at most 3.4 % do" in body
    assert "the newest five runs took 5 min (median); usually at most 40 s" in body
    archive.sql("UPDATE archive.run SET failed_line_count = 1, finished = created + interval '30 s'")
    assert archive.round() == ["archiver: 2 over (price: 12 % of the lines fail, …)"]
    assert archive.round(error_rate=0.01, duration=timedelta(seconds=20)) == []  # cooling down
    archive.later("1 hour")
    assert archive.round(error_rate=0.01, duration=timedelta(seconds=20)) != []
    assert archive.round(error_rate="off", duration="off") != []


def test_a_flow_that_nobody_polls_any_more_has_no_open_alert(archive: Archive) -> None:
    archive.runs(2, 3)
    archive.round()
    config = archive.config()
    alone = Rounds(archive.engine, lambda: config, dict)
    alone.decide()
    assert archive.sql("SELECT count(*) FROM archive.alert WHERE resolved_at IS NULL") == [(1,)]
    archive.sql("UPDATE archive.checkpoint SET next_due_at = now() - interval '2 days'")
    alone.decide()
    assert archive.sql("SELECT resolution FROM archive.alert") == [("nobody polls the flow any more",)]


# --- channels ---


def test_no_secret_in_what_a_channel_says() -> None:
    refused = f"mailto://someone:{CANARY}@127.0.0.1:{free_port()}?from=a@example.com&to=b@example.com&mode=insecure"
    nowhere = f"json://127.0.0.1:{free_port()}/{CANARY}?:key={CANARY}"
    with mail_server() as mail:
        wrong = mail.url.replace(CANARY, f"{CANARY}-wrong") + "&cto=1"
        channels = Channels([SecretStr(url) for url in (refused, nowhere, wrong, mail.url)])
        found = list(channels.send(Message("test", "t", "b")))
    assert [bool(one.error) for one in found] == [True, True, True, False]
    assert CANARY not in repr(found)
    assert [one.channel for one in found][:2] == ["1 E-Mail 127.0.0.1", "2 JSON 127.0.0.1"]
    assert CANARY not in beat(SecretStr(f"http://127.0.0.1:{free_port()}/{CANARY}")) != ""
    with pytest.raises(ConfigError, match=r"alerts.to\[0\]: value \*\*\*: Apprise makes nothing of this nonsense"):
        Channels([SecretStr(f"nonsense://{CANARY}")])


# --- from the command line ---


def test_a_mail_server_that_hangs_delays_no_poll(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And test, list and ack, as an operator uses them."""

    def said_by(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(["--config", str(path), *arguments])
        return (status, *capsys.readouterr())

    flows = [replace(flow, failed=1.0) for flow in small_flows("price", runs=3, lines=3)]
    with (
        socket.create_server(("127.0.0.1", 0)) as hanging,
        mail_server() as mail,
        told(tmp_path, database, flows=flows, now=datetime.now(UTC)) as story,
    ):
        path = story.folder / "config.yaml"
        document = json.loads(path.read_text())
        stuck = f"mailto://127.0.0.1:{hanging.getsockname()[1]}?from=a@example.com&to=b@example.com&cto=2"
        path.write_text(json.dumps({**document, "alerts": {"to": [stuck, mail.url]}}))
        inject = """
            import socket
            from archiver.daemon import alerting
            alerting.DECIDE, socket.getfqdn = 0.5, lambda name="": "localhost"
        """
        with daemon(story, inject=inject) as process:
            wait_for(lambda: bool(story.query("SELECT FROM archive.alert_message WHERE attempts > 0")))
            polls = story.server.counts["/logs"]
            wait_for(lambda: story.server.counts["/logs"] > polls + 2)
            wait_for(lambda: mail.titles == ["archiver: price failed 3 times in a row"])
            assert stop(process) < 20
        assert CANARY not in said(story)
        status, out, _ = said_by("alerts", "list")
        assert (status, "price failed 3 times in a row" in out) == (1, True)
        (row,) = json.loads(said_by("alerts", "list", "--json")[1])
        assert (row["kind"], row["flow_name"], row["wants_attention"]) == ("failed", "price", True)
        assert said_by("alerts", "ack", "4711")[0] == 2
        assert said_by("alerts", "ack")[0] == 2
        acked = said_by("alerts", "ack", str(row["alert_id"]), "--reason", "known")
        assert acked == (0, f"alert {row['alert_id']} is acknowledged\n", "")
        assert said_by("alerts", "list")[0] == 0
        path.write_text(json.dumps({**document, "alerts": {"to": [mail.url]}}))
        assert said_by("alerts", "test") == (0, "ok      1 E-Mail 127.0.0.1\n", "")
        assert mail.titles[-1] == "archiver: this is a test"
        path.write_text(json.dumps(document))
        status, _, err = said_by("alerts", "test")
        assert (status, "alerts.to: nobody is named" in err) == (2, True)
