"""The pages over an archive of the make-believe Integrator, as a browser without scripts sees them."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import psycopg
import pytest
import requests
from psycopg.types.json import Jsonb

from archiver.logs import load_exact, parse_line
from archiver.queries import run_lines
from archiver.queries.flow_runs import FlowRuns, page_of_runs
from archiver.queries.reader import Place, reading
from archiver.store import connect
from archiver.web.pages import search
from archiver.web.room import TABLES
from tests.conftest import new_database
from tests.replay import TOKEN, replaying
from tests.system.story import Story, small_flows, told
from tests.test_web_pages import HOSTILE, Tags

NOW = datetime.now(UTC).replace(microsecond=0)
EVIL = 7_000_000_001  # the log id of the run that holds nothing but hostile content
PREFIX = "/some/path"


@dataclass
class Site:
    """A server over an archive, and the Integrator that it was archived from."""

    url: str
    session: requests.Session
    story: Story
    database: str

    def get(self, path: str, status: int = 200) -> requests.Response:
        answer = self.session.get(urljoin(self.url, path), timeout=30, allow_redirects=False)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer

    def text(self, path: str, status: int = 200) -> str:
        return unescape(re.sub(r"<[^>]+>", " ", self.get(path, status).text))

    def rows(self, path: str) -> list[dict[str, Any]]:
        found = self.get(path).json()
        assert isinstance(found, list)
        return found

    def key_of(self, flow_id: str) -> int:
        return int(self.ask(f"SELECT flow_key FROM archive.flow WHERE flow_id = '{flow_id}'")[0][0])

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(statement.encode()).fetchall()


@pytest.fixture(scope="module")
def site(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    flows = small_flows("price", "order", lines=70, failed=0.3, partial=0.2)
    with (
        new_database(postgres) as database,
        told(tmp_path_factory.mktemp("site"), database, flows=flows, now=NOW) as story,
    ):
        done = story.run("sync")
        assert done.returncode == 0, done.stderr
        _add_evil(database)
        with replaying(database) as url, requests.Session() as session:
            session.post(f"{url}/login", data={"token": TOKEN}, timeout=5)
            yield Site(url, session, story, database)


_COMMON = "process_group_id, process_group_name, original_filename_uuid, filename_uuid, triggered_by, schedule"
Bind = dict[str, Any]


def _add_evil(database: str) -> None:
    """A flow, a run, a step, lines and files with hostile text wherever text goes."""
    with psycopg.connect(database, autocommit=True) as connection:
        (key,) = connection.execute(
            "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)"
            " VALUES (%(e)s, %(e)s, %(e)s, %(e)s, %(e)s) RETURNING flow_key",
            {"e": HOSTILE},
        ).fetchone() or (0,)
        bind = {"key": key, "e": HOSTILE, "id": EVIL, "run": f"run {HOSTILE}", "at": NOW - timedelta(hours=1)}
        for add in (_evil_state, _evil_run, _evil_lines, _evil_files):
            add(connection, bind)


def _evil_state(connection: psycopg.Connection[Any], bind: Bind) -> None:
    """How the flow's archive stands, and the kind of its errors."""
    connection.execute(
        "INSERT INTO archive.checkpoint (flow_key, last_error, failures_in_a_row, gaps, intervals) VALUES"
        " (%(key)s, %(e)s, 3, %(gaps)s, %(intervals)s)",
        bind
        | {
            "gaps": Jsonb([{"from": None, "to": "2026-01-01T00:00:00+00:00", "reason": HOSTILE}]),
            "intervals": Jsonb([["2026-01-01T00:00:00+00:00", NOW.isoformat()]]),
        },
    )
    connection.execute(
        "INSERT INTO archive.pass (flow_key, started_at, ended_at, outcome, error)"
        " VALUES (%(key)s, %(at)s, %(at)s, %(e)s, %(e)s)",
        bind,
    )
    connection.execute(
        "INSERT INTO archive.error_group (flow_key, fingerprint, version, error_class, template, sample,"
        " occurrences, runs_hit, first_seen_at, last_seen_at) VALUES (%(key)s, 5, 1, %(e)s, %(e)s, %(e)s, 2, 1,"
        " %(at)s, %(at)s)",
        bind,
    )


def _evil_run(connection: psycopg.Connection[Any], bind: Bind) -> None:
    """A run with one step."""
    connection.execute(
        f"INSERT INTO archive.run (flow_key, log_id, created, finished, {_COMMON}, state, status, form, src_hash,"
        " archive_state, seen_at, extra, line_count, failed_line_count, error_key) VALUES (%(key)s, %(id)s, %(at)s,"
        " %(at)s, %(e)s, %(e)s, %(run)s, %(run)s, %(e)s, %(e)s, 3, 3, 0, 1, 'sealed', now(), %(extra)s, 2, 2, 5)",
        bind | {"extra": Jsonb({"message": HOSTILE})},
    )
    connection.execute(
        f"INSERT INTO archive.step (flow_key, log_id, created, finished, {_COMMON}, state, status, form, src_hash,"
        " run_log_id, seen_at, extra) VALUES (%(key)s, %(id)s + 1, %(at)s, %(at)s, %(e)s, %(e)s, %(run)s, %(run)s,"
        " %(e)s, %(e)s, 3, 3, 0, 1, %(id)s, now(), %(extra)s)",
        bind | {"extra": Jsonb({"message": HOSTILE})},
    )


def _evil_lines(connection: psycopg.Connection[Any], bind: Bind) -> None:
    """Two lines, and the names of their fields."""
    fields = Jsonb({"message": HOSTILE, HOSTILE: HOSTILE, "sku": HOSTILE, "cell": "=1+1"})
    rest = Jsonb({"deep": [HOSTILE, {HOSTILE: [HOSTILE]}]})
    for number in (2, 3):
        connection.execute(
            f"INSERT INTO archive.line (flow_key, log_id, created, {_COMMON}, state, status, form, src_hash,"
            " row_num, fields, rest, error_key) VALUES (%(key)s, %(id)s + %(n)s, %(at)s, %(e)s, %(e)s, %(run)s,"
            " %(e)s, %(e)s, %(e)s, 3, 3, 0, 1, %(n)s, %(fields)s, %(rest)s, 5)",
            bind | {"n": number, "fields": fields, "rest": rest},
        )
        connection.execute("INSERT INTO archive.field VALUES (%(key)s, %(name)s)", bind | {"name": f"f{number}"})
    connection.execute("INSERT INTO archive.field VALUES (%(key)s, %(e)s)", bind)


def _evil_files(connection: psycopg.Connection[Any], bind: Bind) -> None:
    """A file of the run, of its step and of a line."""
    document = {"request_body": HOSTILE, "response_body": f"<a>{HOSTILE}</a>", HOSTILE: [HOSTILE, {HOSTILE: None}]}
    for log_type, log_id in ((1, EVIL), (2, EVIL + 1), (3, EVIL + 2)):
        connection.execute(
            "INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, body,"
            " body_form, document, message, error, document_changes) VALUES (%(key)s, %(type)s, %(log)s, %(id)s,"
            " %(at)s, 'stored', %(body)s, 'response', %(document)s, %(e)s, %(e)s, %(e)s)",
            bind | {"type": log_type, "log": log_id, "body": HOSTILE.encode(), "document": Jsonb(document)},
        )


# --- everything that a page leads to ---


def _links(page: requests.Response) -> set[str]:
    """Where a page leads, without the places within pages."""
    found = set()
    for tag, attributes in Tags(page.text).found:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (page.url, tag)
        assert tag != "style", page.url
        if tag == "script":
            assert attributes.get("src"), f"{page.url}: a script of its own"
        for name in ("href", "src", "action", "hx-get"):
            target = attributes.get(name)
            if target is None:
                continue
            assert target.startswith((PREFIX, "#")), f"{page.url}: {target}"
            if name != "action" and target.startswith(PREFIX):
                found.add(target.partition("#")[0])
    return found


def _kind(link: str) -> str:
    """Pages that differ in their numbers only are one kind; a few of each are looked at."""
    url = urlsplit(link)
    return re.sub(r"\d+|[0-9a-f]{16}|(?<==)[^&]*(?=&|$)", "#", f"{url.path}?{url.query}") + (
        link[-10:] if "format=" in link else ""
    )


def test_every_link_leads_somewhere_and_nothing_hostile_gets_through(site: Site) -> None:
    seen: set[str] = set()
    kinds: Counter[str] = Counter()
    with replaying(site.database, public_url=f"http://logs.example{PREFIX}") as url, requests.Session() as session:
        session.post(f"{url}/login", data={"token": TOKEN}, timeout=5)
        session.headers["Cookie"] = f"archiver_session={session.cookies['archiver_session']}"
        evil = f"{PREFIX}/flows/3/runs/{EVIL}"
        ahead = [
            f"{PREFIX}/",
            evil,
            f"{evil}/line/{EVIL + 2}",
            f"{PREFIX}/search?q={quote(HOSTILE)}",
            f"{PREFIX}/history",
        ]
        while ahead:
            link = ahead.pop()
            if link in seen or kinds[_kind(link)] >= 3 or "/static/" in link:
                continue
            seen.add(link)
            kinds[_kind(link)] += 1
            answer = session.get(url + link, timeout=30, allow_redirects=False)
            assert answer.status_code in (200, 303), f"{link}: {answer.status_code} {answer.text[:200]}"
            kind = answer.headers.get("Content-Type", "")
            assert "Traceback" not in answer.text
            if kind.startswith("text/html"):
                assert not re.search(r"[\u202a-\u202e\x1b]", answer.text), link
                assert "<script>alert" not in answer.text, link
                ahead += sorted(_links(answer))
            elif kind.startswith("application/json"):
                assert json.loads(answer.content) is not None
            elif kind.startswith("text/csv"):
                cells = [cell for row in csv.reader(io.StringIO(answer.text)) for cell in row]
                assert not [cell for cell in cells if re.match(r"[=@\t]|[+-]\D", cell)], link
            elif answer.status_code == 200:
                assert "attachment" in answer.headers["Content-Disposition"]
    wanted = (
        "/flows/#?",
        "/flows/#/runs/#?",
        "/line/#?",
        "/sub/#?",
        "/download?",
        "/errors?",
        "/errors/#/#?",
        "/archive?",
    )
    for part in wanted:
        assert any(kind.endswith(part) for kind in kinds), part
    assert len(seen) > 60


# --- the board ---


def _on_the_board(site: Site, flow: int) -> str:
    rows = site.get("/").text.split("<tr ")
    return next(row for row in rows if f'href="/flows/{flow}"' in row)


def test_the_board_says_both_that_a_run_failed_and_that_nothing_is_archived(site: Site) -> None:
    (key,) = site.ask(f"SELECT flow_key FROM archive.run WHERE log_id = {EVIL}")[0]
    row = _on_the_board(site, key)
    assert re.findall(r'<span class="state \w+">([^<]*)', row) == ["Failed", "Not archived now"]
    assert row.count('<small class="why">') == 2, "what the run says, and why nothing is archived"
    assert "Not archived now" not in _on_the_board(site, 1)
    page = site.get("/").text
    troubled = len(re.findall(r'<tr class="is-(?:failed|stale|unreachable)"', page))
    assert f"{troubled} of 3 {'needs' if troubled == 1 else 'need'} attention" in page


def _polls(url: str) -> tuple[bool, bool]:
    """Whether the board says that no daemon is at work, and whether it promises a poll."""
    page = requests.get(f"{url}/", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30).text
    polls = re.findall(r'<td data-label="Next poll">([^<]*)</td>', page)
    assert len(polls) == 3
    return "No daemon is at work on this archive" in page, set(polls) != {"\N{EN DASH}"}


def test_the_board_promises_a_poll_only_where_a_daemon_is_at_work(site: Site) -> None:
    assert _polls(site.url) == (True, False)
    with replaying(site.database, flow_keys=(1,)) as url:
        assert _polls(url) == (False, True), "the daemon of this process"
    with psycopg.connect(site.database, autocommit=True) as connection:
        connection.execute("INSERT INTO archive.daemon (owner, flows) VALUES ('host:1:x', 2)")
        try:
            assert _polls(site.url) == (False, True)
            connection.execute("UPDATE archive.daemon SET seen_at = now() - interval '5 minutes'")
            assert _polls(site.url) == (True, False)
        finally:
            connection.execute("DELETE FROM archive.daemon")


# --- a flow ---


def test_a_flow_tells_the_truth_about_its_runs(site: Site) -> None:
    flow = site.story.flows[0]
    truth = site.story.world.main_logs(flow.flow_id)
    key = site.key_of(flow.flow_id)
    rows = site.rows(f"/flows/{key}?since=all&format=json")
    assert {row["log_id"] for row in rows} == {row["id"] for row in truth}
    assert [row["started_at"] for row in rows] == sorted((row["started_at"] for row in rows), reverse=True)
    failed = {row["id"] for row in truth if row["status"] == 3}
    assert failed
    assert {row["log_id"] for row in site.rows(f"/flows/{key}?since=all&status=failed&format=json")} == failed
    by_hand = {row["id"] for row in truth if row["is_triggered"]}
    assert {row["log_id"] for row in site.rows(f"/flows/{key}?since=all&trigger=manual&format=json")} == by_hand
    slow = sorted(row["duration_seconds"] for row in rows if row["duration_seconds"])[-3]
    long = site.rows(f"/flows/{key}?since=all&shortest={slow:.3f}&format=json")
    assert {row["log_id"] for row in long} == {row["log_id"] for row in rows if (row["duration_seconds"] or 0) >= slow}
    page = site.get(f"/flows/{key}?since=all").text
    picture = next(one["data-picture"] for _, one in Tags(page).found if "data-picture" in one)
    drawn = json.loads(picture or "")
    assert [int(one) for one in drawn["ids"]] == [row["log_id"] for row in reversed(rows)]
    assert drawn["status"].count("bad") == len(failed)
    lines = sum(row["failed_line_count"] for row in rows)
    assert re.search(rf"Failed lines</dt><dd>{lines:,} ", page)


def test_kinds_of_errors_are_counted_in_the_period_alone(site: Site) -> None:
    """Between two failed lines of a flow, as a period that is drawn over its picture."""
    lines = "archive.line WHERE status = 3 AND flow_key <= 2"
    key, first, last = site.ask(
        "SELECT flow_key, percentile_disc(0.3) WITHIN GROUP (ORDER BY created),"
        f" percentile_disc(0.7) WITHIN GROUP (ORDER BY created) FROM {lines} GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    )[0]
    since, until = (one.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for one in (first, last))
    for path, after in ((f"since={since}&until={until}", since), (f"since=all&until={until}", "-infinity")):
        within = f"status = 3 AND flow_key = {key} AND created >= '{after}' AND created < '{until}'"
        of_lines = site.ask(
            "SELECT lpad(to_hex(error_key), 16, '0'), count(*), count(DISTINCT original_filename_uuid)"
            f" FROM archive.line WHERE {within} GROUP BY 1"
        )
        everything = site.ask(
            "SELECT DISTINCT lpad(to_hex(error_key), 16, '0') FROM (SELECT error_key FROM archive.line"
            f" WHERE {within} UNION ALL SELECT error_key FROM archive.step WHERE {within}"
            f" UNION ALL SELECT error_key FROM archive.run WHERE {within}) logs WHERE error_key IS NOT NULL"
        )
        for page in (f"/flows/{key}?table=errors&", f"/errors?flow={key}&"):
            rows = site.rows(f"{page}{path}&format=json")
            told = {row["fingerprint"]: (row["occurrences"], row["runs_hit"]) for row in rows}
            assert told.keys() == {name for (name,) in everything}
            assert {name: told[name] for name, _, _ in of_lines} == {name: (n, runs) for name, n, runs in of_lines}
        page = site.get(f"/flows/{key}?{path}").text.partition("Kinds of errors")[2].partition('id="runs"')[0]
        shown = re.findall(r'data-label="Times" class="n">(\d+)<', page)
        assert [int(n) for n in shown] == [row["occurrences"] for row in rows[:8]]


def test_a_chosen_period_is_named_beside_the_others(site: Site) -> None:
    chosen = '<a href="/flows/1?status=failed" aria-current="true" title="Without this period">'
    for query, named in (
        ("since=2026-01-02T03:04:05Z&until=2026-02-01", ["2026-01-02 03:04:05", "2026-02-02 00:00:00"]),
        ("since=all&until=2026-02-01", ["2026-02-02 00:00:00"]),
        ("since=2026-01-01", ["2026-01-01 00:00:00"]),
    ):
        page = site.get(f"/flows/1?status=failed&{query}").text
        assert re.findall(r">([^<]*)</time>", page.partition(chosen)[2].partition("</a>")[0]) == named
    for query in ("", "since=7d", "since=all", "since=soon"):
        page = site.get(f"/flows/1?status=failed&{query}", 400 if "soon" in query else 200).text
        assert "Without this period" not in page


def test_pages_of_runs_have_each_run_once(site: Site) -> None:
    engine = connect(site.database)
    with reading(engine) as reader:
        every = [row["log_id"] for row in page_of_runs(reader, FlowRuns(1), 1000).rows]
        seen: list[int] = []
        place: Place | None = None
        while True:
            part = page_of_runs(reader, FlowRuns(1, behind=place), 7)
            seen += [row["log_id"] for row in part.rows]
            place = part.more
            if place is None:
                break
    engine.dispose()
    assert seen == every
    assert len(every) > 14


def test_filters_that_mean_little_are_looked_for_among_so_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archiver.queries.flow_runs.LOOKED_AT", 5)
    engine = connect(site.database)
    with reading(engine) as reader:
        which = FlowRuns(1, by="nobody")
        part = page_of_runs(reader, which, 50)
        assert (part.rows, part.looked_at) == ([], 5)
        rounds = 1
        while part.more is not None:
            part = page_of_runs(reader, FlowRuns(1, by="nobody", behind=part.more), 50)
            rounds += 1
    engine.dispose()
    assert rounds == len(site.story.world.main_logs(site.story.flows[0].flow_id)) // 5 + 1


@pytest.mark.parametrize("form", ["csv", "json"])
def test_tables_lead_to_what_they_leave_out(site: Site, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr("archiver.web.pages.tables.MOST", 10)
    monkeypatch.setattr("archiver.web.pages.tables.BATCH", 4)
    flow = site.story.flows[0]
    path: str | None = f"/flows/{site.key_of(flow.flow_id)}?since=all&format={form}"
    seen, answers = [], 0
    while path:
        answer = site.get(path)
        rows = answer.json() if form == "json" else list(csv.DictReader(io.StringIO(answer.text)))
        assert len(rows) <= 10
        seen += [int(row["log_id"]) for row in rows]
        path = answer.links.get("next", {}).get("url")
        answers += 1
    truth = site.story.world.main_logs(flow.flow_id)
    assert len(seen) == len(truth)
    assert set(seen) == {row["id"] for row in truth}
    assert answers == -(-len(truth) // 10)


def test_programs_are_answered_as_programs(site: Site) -> None:
    answer = requests.get(f"{site.url}/flows/1?format=json", timeout=5, allow_redirects=False)
    assert (answer.status_code, answer.json()["status"]) == (401, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert requests.get(f"{site.url}/flows/1?format=json", headers=bearer, timeout=5).json()
    assert site.get("/flows/99?format=csv", 404).json()["message"].startswith("The archive knows no flow")


def test_only_some_tables_are_made_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archiver.web.room.PATIENCE", 0.2)
    with replaying(site.database) as url, ExitStack() as open_ones:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        ask = f"{url}/flows/1?since=all&format=json"
        monkeypatch.setattr("archiver.web.pages.tables.json_rows", lambda rows: "[" + " " * 20_000_000 + "]")
        slow = [
            open_ones.enter_context(requests.get(ask, headers=bearer, stream=True, timeout=20)) for _ in range(TABLES)
        ]
        assert [one.status_code for one in slow] == [200] * TABLES
        busy = requests.get(ask, headers=bearer, timeout=20)
        assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
        assert requests.get(f"{url}/flows/1", headers=bearer, timeout=20).status_code == 200, "pages go on"
        open_ones.close()
        deadline = time.monotonic() + 20
        monkeypatch.undo()
        while requests.get(ask, headers=bearer, timeout=20).status_code != 200:
            assert time.monotonic() < deadline, "the turns of those who went away never end"


# --- a run ---


def _failed_line(site: Site) -> tuple[int, int, int, str]:
    return site.ask(
        "SELECT l.flow_key, r.log_id, l.log_id, l.original_filename_uuid FROM archive.line l"
        " JOIN archive.run r ON r.flow_key = l.flow_key AND r.filename_uuid = l.original_filename_uuid"
        " JOIN archive.detail d ON d.flow_key = l.flow_key AND d.log_type = 3 AND d.log_id = l.log_id"
        " WHERE l.status = 3 AND d.outcome = 'stored' AND l.flow_key <= 2 ORDER BY l.created DESC LIMIT 1"
    )[0]


def test_from_the_board_to_what_the_other_side_answered(site: Site) -> None:
    flow_key, run_id, line_id, _ = _failed_line(site)
    assert f"/flows/{flow_key}" in site.get("/").text
    run = f"/flows/{flow_key}/runs/{run_id}"
    assert f"{run}/line/{line_id}" in site.get(run).text
    sent = site.story.world.download(line_id)
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(sent))) as opened:
        document = json.loads(opened.read(opened.namelist()[0]))
    text = site.text(f"{run}/line/{line_id}")
    assert "Response body" in text
    fingerprint, kind = site.ask(
        "SELECT g.fingerprint, g.error_class FROM reporting.error_group g JOIN reporting.line l"
        f" ON l.flow_key = g.flow_key AND l.error_fingerprint = g.fingerprint WHERE l.log_id = {line_id}"
    )[0]
    named = f'href="/errors/{flow_key}/{fingerprint}">{kind.replace("_", " ").capitalize()}</a>'
    assert named in site.get(f"{run}/line/{line_id}").text
    for message in [one["message"] for one in document["errors"]]:
        assert message in text
    assert site.get(f"{run}/line/{line_id}/download").content == base64.b64decode(sent)


def test_a_run_as_json_is_all_of_it(site: Site) -> None:
    flow_key, run_id, _, uuid = _failed_line(site)
    one = site.get(f"/flows/{flow_key}/runs/{run_id}?format=json&status=all").json()
    flow = next(flow for flow in site.story.flows if one["flow_name"] == flow.name)
    lines = site.story.world.line_logs(flow.flow_id, uuid)
    assert {line["log_id"] for line in one["lines"]} == {line["id"] for line in lines}
    assert len(one["steps"]) == len(flow.steps)
    assert {(file["log_type"], file["outcome"]) for file in one["details"]} >= {("line", "stored"), ("sub", "stored")}
    assert one["more_lines"] is None


@pytest.mark.parametrize("short", [3_000, 10])
def test_pages_of_lines_have_each_line_once(site: Site, monkeypatch: pytest.MonkeyPatch, short: int) -> None:
    """Also those of a long run, which are read by time."""
    monkeypatch.setattr(run_lines, "SHORT", short)
    flow_key, run_id, count = site.ask(
        "SELECT flow_key, log_id, line_count FROM archive.run WHERE flow_key <= 2 ORDER BY line_count DESC LIMIT 1"
    )[0]
    assert count > 60
    path, seen = f"/flows/{flow_key}/runs/{run_id}?status=all", []
    while path:
        page = site.get(path).text.partition("<h2>Files")[0]
        seen += re.findall(rf'runs/{run_id}/line/(\d+)">\1', page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        path = unescape(following[1]) if following else ""
    assert len(seen) == len(set(seen)) == count


def test_lines_are_found_by_words_and_by_values(site: Site) -> None:
    flow_key, run_id, line_id, _ = _failed_line(site)
    run = f"/flows/{flow_key}/runs/{run_id}?format=json&table=lines"
    line = next(row for row in site.rows(f"{run}&status=failed") if row["log_id"] == line_id)
    sku = json.loads(line["fields"])["sku"]
    for query in (f"sku={sku}", sku.lower()[2:], f'sku={sku} "{line["message"][:12]}"'):
        found = site.rows(f"{run}&status=all&q={quote(query)}")
        assert line_id in [row["log_id"] for row in found], query
        assert all(sku in row["fields"] for row in found), query
    assert site.rows(f"{run}&q=sku%3DNOTHING") == []


def test_ids_lead_to_runs(site: Site) -> None:
    flow_key, run_id, line_id, uuid = _failed_line(site)
    for word in (uuid, uuid[:12], str(run_id), str(line_id)):
        assert site.get(f"/runs/{word}", 303).headers["Location"] == f"/flows/{flow_key}/runs/{run_id}"
    assert f"/flows/{flow_key}/runs/{run_id}" in site.get(f"/search?q={uuid}").text


# --- search, history, errors, archive ---


def test_search_and_history_of_a_value(site: Site) -> None:
    sku, count = site.ask(
        "SELECT fields ->> 'sku', count(*) FROM archive.line WHERE fields ->> 'sku' LIKE '%-%' AND flow_key <= 2"
        " GROUP BY 1 HAVING count(DISTINCT status) = 2 ORDER BY 2 DESC LIMIT 1"
    )[0]
    assert len(site.rows(f"/search?q=sku%3D{sku}&format=json")) == count
    told = site.rows(f"/history?q=sku%3D{sku}&format=json")
    assert len(told) == count
    page = site.text(f"/history?q=sku%3D{sku}")
    assert ("first failure" in page) == any(row["turn"] == "broke" for row in told)
    assert "did you mean" in site.text(f"/search?q=skuu%3D{sku}")
    assert "did you mean" in site.text(f"/history?q=skuu%3D{sku}")


def test_a_thing_stands_always_so_where_all_of_its_story_is_shown(site: Site) -> None:
    value = site.ask(
        "SELECT fields ->> 'sku' FROM archive.line WHERE flow_key <= 2 GROUP BY 1"
        " HAVING count(*) > 1 AND bool_and(status = 2) LIMIT 1"
    )[0][0]

    def since(more: str) -> list[str]:
        page = site.get(f"/history?q=sku%3D{value}{more}").text
        return re.findall(r'<td data-label="Since">([^<]*)</td>', page)

    assert set(since("")) == set(since("&since=all")) == {"always"}
    assert set(since("&since=1y")) == {"before what is shown"}


def test_a_story_that_is_cut_does_not_say_always(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LIMITS", ("1", "1", "1"))
    value = site.ask(
        "SELECT fields ->> 'sku' FROM archive.line WHERE flow_key <= 2 GROUP BY 1 HAVING count(*) > 1 LIMIT 1"
    )[0][0]
    page = site.text(f"/history?q=sku%3D{value}")
    assert "before what is shown" in page
    assert ", the newest:" in page


def test_errors_by_day_add_up(site: Site) -> None:
    groups = [one for one in site.rows("/errors?since=all&format=json") if one["flow_key"] <= 2]
    assert groups
    for group in groups:
        path = f"/errors/{group['flow_key']}/{group['fingerprint']}"
        days = site.rows(f"{path}?format=json&table=days")
        assert sum(day["failures"] for day in days) == group["occurrences"], group["sample"]
        lines = site.rows(f"{path}?format=json")
        assert all(line["error_fingerprint"] == group["fingerprint"] for line in lines)
    text = site.text(f"/errors?class={groups[0]['error_class']}")
    assert groups[0]["sample"][:60] in text


def test_the_archive_page_names_what_is_missing(site: Site) -> None:
    page = site.get("/archive?since=1y").text
    assert "1 of 3 is not well" in page
    assert page.count('class="cover"') == 3
    assert page.count('class="gap" x=') == 1
    assert 'data-label="Kind">Failing<' in page, "as `archiver gaps` calls it"
    assert page.count('class="covered" x=') == 3
    assert len(site.rows("/archive?format=json&table=passes&passes=failed")) == 1
    conditions = {row["flow_name"]: row["condition"] for row in site.rows("/archive?format=json")}
    assert conditions[HOSTILE] == "failing"


# --- wrong questions ---


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/flows/99", 404, "no flow with the number 99"),
        ("/flows/99999999999999999999999", 404, "no flow with the number"),
        ("/flows/1/runs/12", 404, "older than what is kept"),
        ("/flows/1/runs/99999999999999999999999", 404, "older than what is kept"),
        (f"/flows/3/runs/{EVIL}/line/5", 404, "its page lists what it has"),
        (f"/flows/3/runs/{EVIL}/line/99999999999999999999999", 404, "its page lists what it has"),
        (f"/flows/3/runs/{EVIL}/thing/5", 404, "its page lists what it has"),
        (f"/flows/3/runs/{EVIL}/line/{EVIL + 3}/download", 404, "no file"),
        (f"/flows/3/runs/{EVIL}/line/99999999999999999999999/download", 404, "no file"),
        ("/runs/nothing-like-it", 404, "Is it complete?"),
        ("/errors/1/0123456789abcdef", 404, "lists all kinds"),
        ("/errors/1/no-such-thing", 404, "lists all kinds"),
        ("/flows/1?since=soon", 400, "since: 'soon' is no time"),
        ("/flows/1?until=2020-01-01", 400, "until: '2020-01-01' does not lie after since, '7d'"),
        ("/search?q=x&since=2026-01-02&until=2026-01-01", 400, "'2026-01-01' does not lie after since, '2026-01-02'"),
        ("/history?q=x&since=1d&until=2d", 400, "'2d' does not lie after since, '1d'"),
        ("/errors?since=1d&until=2d", 400, "'2d' does not lie after since, '1d'"),
        ("/flows/1?status=bad", 400, "is none of in_progress, success"),
        ("/flows/1?shortest=quick", 400, "write 90s, 5m or 2h"),
        ("/flows/1?behind=1", 400, "begin at its top"),
        ("/flows/1?format=xml", 400, "is none of csv, json"),
        ("/search?q=created%3D1", 400, "since and until"),
        ("/search?q=%00", 400, "holds a character"),
        ("/search?flow=nobody&q=1", 404, "no flow 'nobody'"),
        (f"/search?q={'a%20' * 200}", 400, "At most 10 things"),
        (f"/search?q={'a' * 1001}", 400, "longer than 1,000 characters"),
    ],
)
def test_wrong_questions_get_an_answer_that_helps(site: Site, path: str, status: int, says: str) -> None:
    assert says in site.text(path, status)


@pytest.mark.parametrize(
    ("path", "field", "kept"),
    [
        ("/search?q=sku%3DX&flow=1&status=failed&since=27.11.2026&until=1d", "since", ("sku=X", "27.11.2026", "1d")),
        ("/search?q=created%3D1&since=2d", "q", ("created=1", "2d")),
        ("/history?q=sku%3DX&since=2d&until=27.11.2026", "until", ("sku=X", "2d", "27.11.2026")),
        ("/errors?flow=1&class=timeout&since=27.11.2026", "since", ("27.11.2026",)),
        ("/flows/1?status=failed&trigger=manual&by=ada&since=27.11.2026", "since", ("ada", "27.11.2026")),
        ("/flows/1?status=failed&by=ada&shortest=quick&longest=5m", "shortest", ("ada", "quick", "5m")),
        (f"/flows/3/runs/{EVIL}?status=all&q={'a%20' * 11}", "q", ("a " * 10 + "a",)),
    ],
)
def test_a_form_that_was_filled_in_wrongly_comes_back(site: Site, path: str, field: str, kept: tuple[str, ...]) -> None:
    page = site.get(path, 400)
    form = next(part for part in page.text.split("<form") if part.startswith(' class="filters"')).partition("</form>")[
        0
    ]
    tags = Tags(form).found
    values = [attributes.get("value") or "" for tag, attributes in tags if tag == "input"]
    assert [one for one in values if one in kept] == list(kept)
    chosen = {attributes["value"] for tag, attributes in tags if tag == "option" and "selected" in attributes}
    assert chosen >= {one for one in ("1", "failed", "timeout", "manual") if f"={one}&" in path}
    (label,) = [one for one in form.split("<label") if 'role="alert"' in one]
    assert f'name="{field}"' in label
    assert page.text.count("<tbody>") == 0 or field == "q", "no rows that were not asked for"
    program = site.get(f"{path}&format=json", 400).json()
    assert program["message"] in unescape(label)


@pytest.mark.parametrize(
    ("path", "says", "leads"),
    [
        ("/search?q=sku+%3D+X", "Did you mean sku=X?", "/search?q=sku%3DX"),
        ("/history?q=sku%3AX", "Did you mean sku=X?", "/history?q=sku%3DX"),
        ("/search?q=SKU%3DX", "No line has a field called SKU ; did you mean sku ?", "/search?q=sku%3DX"),
        ("/search?q=qqqqq%3DX", "No line has a field called qqqqq .", ""),
        ("/search?q=kilitlenmis", "Words of a message are found within a run", "/errors"),
        (
            "/search?q=sku%3DX&since=1d",
            "in what was chosen; look at all flows, results and times .",
            "/search?q=sku%3DX",
        ),
        ("/history?q=sku%3DX", "upper and lower case are different", ""),
    ],
)
def test_a_search_that_finds_nothing_says_what_may_help(site: Site, path: str, says: str, leads: str) -> None:
    text = re.sub(r"\s+", " ", site.text(path))
    assert "No line matches" in text
    assert says.replace(" ?", "?").replace(" ;", ";").replace(" .", ".") in re.sub(r" ([?;.])", r"\1", text)
    assert not leads or f'href="{leads}"' in site.get(path).text
    assert ("Words of a message" in text) == ("kilitlenmis" in path or "+" in path or "%3AX" in path)


def test_questions_without_end_are_cut_short(site: Site) -> None:
    for path in ("/", "/search", "/flows/1"):
        assert site.get(f"{path}?q={'x' * 20_000}", 414).text == "The address is too long."
    for size in (64 * 1024, 10 * 2**20):
        try:
            status = site.session.get(f"{site.url}/search?q={'x' * size}", timeout=30).status_code
        except requests.ConnectionError:
            continue  # it did not listen to the end
        assert status in (400, 414, 431), size
    assert site.get("/").status_code == 200


def test_a_line_shows_numbers_of_any_size_and_times_in_any_spelling(site: Site) -> None:
    odd = {"n": 10**40, "x": 1e22, "y": [10**30, -0.0], "z": load_exact("1.00000000000000000001"), "half": "\ud800"}
    line = parse_line({"id": EVIL + 9, "created": "2026-11-26T10:00:00.100Z", "price_list": "created", **odd})
    (key,) = site.ask(f"SELECT flow_key FROM archive.run WHERE log_id = {EVIL}")[0]
    with psycopg.connect(site.database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO archive.line (flow_key, log_id, created, original_filename_uuid, form, src_hash, fields, rest)"
            " SELECT flow_key, %s, created, filename_uuid, 0, 1, %s, %s FROM archive.run WHERE log_id = %s",
            (EVIL + 9, line.fields, line.rest, EVIL),
        )
        try:
            path = f"/flows/{key}/runs/{EVIL}/line/{EVIL + 9}"
            text = site.text(path)
            told = csv.DictReader(io.StringIO(site.get(f"{path}?format=csv").text))
            site.get(f"{path}?format=json")
        finally:
            connection.execute("DELETE FROM archive.line WHERE log_id = %s", (EVIL + 9,))
    assert "2026-11-26T10:00:00.100Z" in text
    fields = {row["field"]: row["value"] for row in told}
    assert fields["n"] == str(10**40)
    assert fields["y"] == f"[{10**30},-0.0]"
    assert fields["z"] == "1.00000000000000000001"
    assert float(fields["x"]) == 1e22
