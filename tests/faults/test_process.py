"""Rows 53 to 62 of the catalogue: the scheduler, the process, and what people and programs put in and get out.

Of a process is a real one, `archiver run` or a command; `inject` is Python that it runs first.
"""

from __future__ import annotations

import csv
import io
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import requests
import yaml
from apscheduler.executors.pool import ThreadPoolExecutor as Pool
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from archiver import config
from archiver.config import Flow
from archiver.daemon.schedule import Heartbeat, Schedule
from archiver.demo.faults import Faults, Hang, Latency
from archiver.errors import ConfigError
from archiver.queries.statement import StatementRefused, statement
from archiver.store import connect
from tests.faults.scene import Scene
from tests.system.story import small_flows, told
from tests.test_archive import FLOW, line_log, main_log
from tests.test_daemon import daemon, is_polling, said, stop, story_waits, wait_for
from tests.test_search import asking, found

NOW = datetime(2026, 5, 4, 10, 3, 20, tzinfo=UTC)


def test_53_a_job_that_hangs(tmp_path: Path, archive: str) -> None:
    """A turn that makes no step ends the process with an error, so that its supervisor starts a new one.

    Naive: `max_instances=1` skips every later run of the job, and the flow is silent for ever.
    """
    inject = """
        import threading
        from archiver.client import Client
        Client.list_logs = lambda *_, **__: threading.Event().wait()
        run.STALLED = 2.0
    """
    with told(tmp_path, archive) as story, daemon(story, inject=inject) as process:
        assert process.wait(60) == 1
        assert "no progress for 0 minutes in flow" in said(story)
    ran: list[int] = []
    release = threading.Event()

    def hangs() -> None:
        ran.append(1)
        release.wait(20)

    with scheduler() as naive:
        naive.add_job(hangs, "interval", seconds=0.1, max_instances=1)
        time.sleep(1)
        release.set()
    assert ran == [1]


class scheduler:  # noqa: N801 - a context manager
    """A background scheduler as its documentation shows it."""

    def __init__(self, **options: Any) -> None:
        self._scheduler = BackgroundScheduler(timezone=UTC, **options)

    def __enter__(self) -> Any:
        self._scheduler.start()
        return self._scheduler

    def __exit__(self, *_: object) -> None:
        self._scheduler.shutdown(wait=True)


def test_54_busy_workers_and_a_second_of_grace(tmp_path: Path, archive: str) -> None:
    """However busy the workers are, each flow has its turn, the longest overdue first.

    Naive: a job that waits for a worker for more than a second has misfired, and does not run at all.
    """
    flows = small_flows("price", "stock", "order", runs=1, lines=1)
    faults = Faults()
    faults.add(Latency(0.3))
    with told(tmp_path, archive, flows=flows, faults=faults) as story:
        path = story.configure(every="1s")
        path.write_text(json.dumps({**json.loads(path.read_text()), "workers": 1}))
        with daemon(story) as process:

            def polls(flow_id: str) -> int:
                return sum(one.params.get("flowId") == flow_id for one in list(story.server.requests))

            wait_for(lambda: min(polls(flow.flow_id) for flow in flows) >= 2)
            assert stop(process) < 10
    ran: list[str] = []

    def slow() -> None:
        ran.append("slow")
        time.sleep(1.5)

    with scheduler(executors={"default": Pool(1)}) as naive:
        start = datetime.now(UTC) + timedelta(seconds=0.1)
        naive.add_job(slow, "date", run_date=start)
        naive.add_job(lambda: ran.append("waits"), "date", run_date=start + timedelta(seconds=0.05))
        time.sleep(2)
    assert ran == ["slow"]


@pytest.mark.parametrize(
    ("inject", "words"),
    [
        (
            # The thread dies with the job store: `running` stays true.
            """
            from apscheduler.schedulers import background
            real = background.BackgroundScheduler._process_jobs
            def dies(self, seen=[]):
                seen.append(1)
                if len(seen) > 3:
                    raise RuntimeError
                return real(self)
            background.BackgroundScheduler._process_jobs = dies
            import threading
            threading.excepthook = lambda _: None
            run.LATE, run.DEAD = 1.0, 2.0
            """,
            "the scheduler has stopped ticking",
        ),
        (
            """
            from archiver.store import Store
            def due(*_):
                raise KeyError("canary")
            Store.due = due
            """,
            "the scheduler's tick failed: KeyError",
        ),
    ],
    ids=["dead scheduler", "tick that crashes"],
)
def test_55_the_scheduler_dies(tmp_path: Path, archive: str, inject: str, words: str) -> None:
    """The main thread listens for the ticks, and ends the process where none comes.

    Naive: a trigger that raises ends the scheduler's thread, and `running` stays true.
    """
    with told(tmp_path, archive) as story, daemon(story, inject=inject) as process:
        assert process.wait(60) == 1
        assert words in said(story)
    if "dead" not in words:
        return

    class Raises(IntervalTrigger):  # type: ignore[misc]
        def get_next_fire_time(self, previous: Any, now: Any) -> Any:
            if previous is not None:
                raise RuntimeError("trigger")
            return super().get_next_fire_time(previous, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda _: None)
        naive = BackgroundScheduler(timezone=UTC)
        naive.start()
        naive.add_job(lambda: None, Raises(seconds=1, timezone=UTC))
        naive._thread.join(10)
        assert not naive._thread.is_alive()
        assert naive.running
        naive.shutdown(wait=False)


STEPPING = """
    import datetime as module, os, sys, time
    offset = [0.0]
    class Stepped(module.datetime):
        @classmethod
        def now(cls, tz=None):
            return module.datetime.now(tz) + module.timedelta(seconds=step())
    def step():
        try:
            with open("step") as file:
                return float(file.read() or 0)
        except OSError:
            return 0.0
    import apscheduler.schedulers.base, apscheduler.triggers.interval
    for one in (apscheduler.schedulers.base, apscheduler.triggers.interval, run):
        one.datetime = Stepped
    run.LATE = 1.0
"""
HOUR, DECADE = 3600.0, 10 * 365.25 * 86_400


def test_56_the_clock_of_the_machine_steps(tmp_path: Path, archive: str) -> None:
    """An hour and ten years, back and forth: polls go on within seconds, and none comes twice at once.

    Naive: after a step back of an hour, an interval's next run lies an hour ahead; after a step forward, every run
    that was jumped over is listed first.
    """
    with told(tmp_path, archive, flows=small_flows("price", runs=2, lines=2)) as story:
        with daemon(story, inject=STEPPING) as process:
            wait_for(is_polling(story))
            for step in (-HOUR, HOUR, -DECADE, DECADE, 0.0):
                (story.folder / "new-step").write_text(str(step))
                (story.folder / "new-step").rename(story.folder / "step")
                polls = story.server.counts["/logs"]
                wait_for(lambda before=polls: story.server.counts["/logs"] > before + 3)  # type: ignore[misc]
            assert stop(process) < 10
        assert "Traceback" not in said(story)
    ran: list[float] = []
    with scheduler() as naive:
        beats = [naive.add_job(print, trigger) for trigger in (IntervalTrigger(seconds=1, timezone=UTC), Heartbeat(1))]
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        assert [len(beat._get_run_times(tomorrow)) > 86_000 for beat in beats] == [True, False]
        assert len(beats[1]._get_run_times(tomorrow)) == 1
        for beat in beats:
            beat.remove()
        job = naive.add_job(lambda: ran.append(time.monotonic()), "interval", seconds=0.2)
        time.sleep(0.5)
        naive.modify_job(job.id, next_run_time=datetime.now(UTC) + timedelta(hours=1))  # as the clock says then
        before = len(ran)
        time.sleep(1)
    assert len(ran) == before > 0


@pytest.mark.parametrize("step", [-HOUR, HOUR, -DECADE, DECADE])
def test_56_the_clock_of_the_database_steps(scene: Scene, step: float) -> None:
    """What the database wrote down by its old clock, for the next poll and for a lease whose owner was killed, does
    not keep a flow waiting.

    Naive: due when `next_due_at` has come, free when `lease_until` has gone: after an hour, or after ten years.
    """
    schedule = Schedule(scene.flow)
    with scene.store.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE archive.checkpoint SET next_due_at = now() + make_interval(secs => %s),"
            " lease_owner = 'killed', lease_until = now() + make_interval(secs => %s)",
            (1 - step, 5 - step),
        )
    (seconds,) = scene.store.due([scene.key]).values()
    assert schedule.is_due(seconds, NOW)
    assert (seconds <= 0) == (step > 0)  # the naive way waits
    assert scene.store.leases.claim(scene.key) is not None


ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns")


def changes(zone: str) -> Iterator[datetime]:
    """Every moment from 2015 to 2036 at which the zone's offset changes."""
    info, hour = ZoneInfo(zone), timedelta(hours=1)
    day = datetime(2015, 1, 1, tzinfo=UTC)
    while day.year < 2037:
        hours = [day + n * hour for n in range(25)]
        day = hours[-1]
        if hours[0].astimezone(info).utcoffset() != day.astimezone(info).utcoffset():
            pairs = pairwise(hours)
            yield from (
                two for one, two in pairs if one.astimezone(info).utcoffset() != two.astimezone(info).utcoffset()
            )


@pytest.mark.parametrize("zone", ZONES)
def test_57_summer_time(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around every change of the machine's zone, cron's times come as ever: it counts in UTC.

    Naive: cron in the zone's own time: an hour has no poll, or a poll has to wait for an hour more.
    """
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        ours: set[timedelta] = set()
        naive: set[timedelta] = set()
        local = CronTrigger.from_crontab("30 * * * *", timezone=zone)
        schedule = Schedule(Flow("prod", "p-1", "brand", "f-1", "price", every=None, cron="30 * * * *"))
        moments = list(changes(zone))
        for change in moments:
            ours |= steps(change, lambda now: now + timedelta(seconds=schedule._next(now)[0]))
            naive |= steps(change, lambda now: local.get_next_fire_time(None, now).astimezone(UTC))
        assert len(moments) > 30  # Morocco changes no more from 2026 on, where the machine has heard of it
        assert ours == {timedelta(hours=1)}
        half = {"Australia/Lord_Howe"}
        daily = CronTrigger.from_crontab("30 2 * * *", timezone=zone)
        days = set()
        for change in moments:
            days |= steps(
                change - timedelta(days=1), lambda now: daily.get_next_fire_time(None, now).astimezone(UTC), 3
            )
        assert len(days) > 1 or len(naive) > 1 or zone in half
    finally:
        monkeypatch.undo()
        time.tzset()


def steps(around: datetime, following: Callable[[datetime], Any], count: int = 8) -> set[timedelta]:
    """The times between the next `count` polls."""
    now, found = around - timedelta(hours=4), set()
    last = following(now)
    for _ in range(count):
        now = following(last + timedelta(seconds=1))
        found.add(now - last)
        last = now
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("head_first", [False, True])
def test_58_a_signal_while_the_integrator_hangs(
    tmp_path: Path, archive: str, number: signal.Signals, head_first: bool
) -> None:
    """It ends within ten seconds, status 0, and what it broke off is no failure of the flow.

    Naive: `sys.exit` in a job is swallowed, see below.
    """
    faults = Faults()
    faults.add(Hang(head_first=head_first), path="/logs")
    with told(tmp_path, archive, faults=faults) as story:
        story.settings["timeout"] = "60s"
        story.configure()
        with daemon(story) as process:
            wait_for(is_polling(story))
            assert stop(process, number) < 10
        assert "Traceback" not in said(story)
        # Nothing went wrong: the archiver broke it off itself.
        assert story.query("SELECT sum(failures_in_a_row) FROM archive.checkpoint") == [(0,)]


def test_58_a_signal_while_it_starts(tmp_path: Path, archive: str) -> None:
    """The schema is being changed by somebody else, so the start waits. Naive: the signal waits, too."""
    with told(tmp_path, archive) as story, psycopg.connect(archive) as other:
        other.execute("LOCK TABLE archive.alembic_version, archive.flow IN ACCESS EXCLUSIVE MODE")
        with daemon(story) as process:
            wait_for(lambda: story_waits(archive))
            assert stop(process) < 10
        assert "Traceback" not in said(story)


def test_58_a_signal_while_the_database_hangs(tmp_path: Path, archive: str) -> None:
    """What a turn writes waits for a lock that nobody gives: only the end of the process ends that.

    Naive: `sys.exit` in a job is swallowed, and the scheduler goes on.
    """
    with told(tmp_path, archive) as story, psycopg.connect(archive) as other:
        other.execute("LOCK TABLE archive.run IN ACCESS EXCLUSIVE MODE")
        with daemon(story) as process:
            wait_for(lambda: story_waits(archive))
            assert stop(process) < 10
    ran: list[int] = []

    def leaves() -> None:
        ran.append(1)
        sys.exit(1)

    with scheduler() as naive:
        naive.add_job(leaves, "date")
        time.sleep(0.5)
        assert ran == [1]
        assert naive.running


def test_59_alive_without_progress(tmp_path: Path, archive: str) -> None:
    """Health is how far the frontier lags: a process that lives and gets nowhere is not well.

    Naive: the process answers, so it is healthy.
    """
    with told(tmp_path, archive, flows=small_flows("price", runs=3, lines=2)) as story:
        path = story.configure()
        port = free_port()
        path.write_text(json.dumps({**json.loads(path.read_text()), "web": {"listen": f"127.0.0.1:{port}"}}))
        # Told so, it ticks and gives nobody work.
        inject = """
            import os
            from archiver.store import Store
            def due(*given, real=Store.due):
                return {} if os.path.exists("stall") else real(*given)
            Store.due = due
        """
        url = f"http://127.0.0.1:{port}"
        with daemon(story, inject=inject) as process:
            wait_for(lambda: requests.get(f"{url}/healthz", timeout=5).status_code == 200)
            wait_for(lambda: story.query("SELECT frontier IS NOT NULL FROM archive.checkpoint") == [(True,)])
            (story.folder / "stall").touch()
            polls = -1
            while polls != story.server.counts["/logs"]:
                polls = story.server.counts["/logs"]
                time.sleep(2)
            with psycopg.connect(archive) as later:
                late = "next_due_at = now() - interval '3 h', frontier = frontier - interval '3 h', lease_until = NULL"
                later.execute(f"UPDATE archive.checkpoint SET {late}, checked_at = now() - interval '3 h'")
            wait_for(lambda: requests.get(f"{url}/healthz", timeout=5).status_code == 503)
            assert process.poll() is None  # alive: the naive answer
            assert stop(process) < 10
        status = json.loads(story.run("status", "--json").stdout)
        assert status[0]["is_well"] is False


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_60_yaml_executes_nothing(tmp_path: Path) -> None:
    """A configuration is data. Naive: `yaml.unsafe_load`, once the default, runs what it says."""
    marker, path = tmp_path / "executed", tmp_path / "config.yaml"
    payload = f"defaults: !!python/object/apply:os.system ['touch {marker}']\n"
    yaml.unsafe_load(payload)
    assert marker.exists()
    marker.unlink()
    path.write_text(payload)
    with pytest.raises(ConfigError, match="line 1: a tag"):
        config.load(path, {})
    assert not marker.exists()


SLOW = "SELECT pg_sleep(30)"
HOSTILE = [
    "'; DROP TABLE archive.run CASCADE; --",
    "') OR 1=1 --",
    "%' OR '1'='1",
    "\\",
    "$$",
    "{}",
    "(a+)+$",
    "%s%s",
    ":x",
    '"',
]


def test_61_sql_and_patterns_as_input(scene: Scene) -> None:
    """Whatever is asked for is a value: names, texts and orders are bound, or come from a list.

    Naive: the text becomes part of the statement.
    """
    scene.world.insert(FLOW, 1, main_log(1))
    scene.world.insert(FLOW, 3, *(line_log(10 + n, 1, sku=text, **{f"odd {n}": "x"}) for n, text in enumerate(HOSTILE)))
    assert scene.turn().errors == []
    engine = connect(scene.database)
    for number, text in enumerate(HOSTILE):
        assert found(engine, asking(("sku", text))) == [(scene.key, 10 + number)]
        assert found(engine, asking((text, "x"))) == []
    with (
        pytest.raises(StatementRefused, match="longer than"),
        statement(engine, SLOW, timedelta(seconds=0.3)) as answer,
    ):
        list(answer.rows)
    engine.dispose()
    with psycopg.connect(scene.database) as naive:
        everything = f"SELECT count(*) FROM archive.line WHERE fields ->> 'sku' = '{HOSTILE[1]}'".replace("')", "'")
        assert naive.execute(everything.encode()).fetchone() == (len(HOSTILE),)
        naive.execute(f"SELECT '{HOSTILE[0]}'".encode())
        assert naive.execute("SELECT to_regclass('archive.run')").fetchone() == (None,)
        naive.rollback()


def test_62_formulas_and_escapes(scene: Scene) -> None:
    """In CSV a text never is a formula, and numbers stay numbers; on a terminal no text acts.

    Naive: `csv` writes what it gets, and a spreadsheet runs it; `print` hands escapes to the terminal.
    """
    texts = ["=1+1", "+cmd|'/c calc'!A0", "@SUM(1)", "-2+3", "\t=1", "-5.25", "+90 212", "plain", "\x1b[31mred\u202e"]
    rows = (line_log(10 + n, 1, message=text, status=3) for n, text in enumerate(texts))
    scene.world.insert(FLOW, 1, main_log(1, status=3))
    scene.world.insert(FLOW, 3, *rows)
    scene.turn()
    with told(scene.folder, scene.database) as story:
        statement = "SELECT message, -row_number() OVER () AS n FROM reporting.line ORDER BY log_id"
        done = story.run("sql", statement, "--csv")
        assert done.returncode == 0, done.stderr
        cells = list(csv.reader(io.StringIO(done.stdout)))[1:]
        assert [cell for cell, _ in cells[:5]] == [f"'{text}" for text in texts[:5]]
        assert cells[5][0] == "-5.25"
        assert all(number.startswith("-") for _, number in cells)
        shown = story.run("sql", statement)
    assert "\x1b[31m" not in shown.stdout
    assert "\u202e" not in shown.stdout
    naive = io.StringIO()
    csv.writer(naive).writerow(texts[:1])
    assert naive.getvalue() == "=1+1\r\n"
