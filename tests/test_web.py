"""The web server as a whole: the commands that start it, what supervisors ask, and what it says to strangers."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from archiver.demo.flows import BRAND
from archiver.store import connect, migrate
from tests.conftest import new_database
from tests.replay import TOKEN, config_of, replaying
from tests.system.story import Story, small_flows, told

LISTING = {"projectid": "p", "flowId": "f", "log_type": "1"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def shared(postgres: str) -> Iterator[str]:
    """An archive that no test changes."""
    with new_database(postgres) as database:
        yield archive_in(database)


@pytest.fixture
def archive(database: str) -> str:
    """An archive of the test's own."""
    return archive_in(database)


def archive_in(database: str) -> str:
    """A flow that has a single run."""
    engine = connect(database)
    migrate(engine)
    engine.dispose()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)"
            " VALUES ('prod', 'p', 'brand', 'f', 'price')"
        )
        connection.execute("INSERT INTO archive.checkpoint (flow_key, next_due_at) VALUES (1, now())")
        connection.execute(
            "INSERT INTO archive.run (flow_key, log_id, created, finished, filename_uuid, original_filename_uuid,"
            " state, status, form, src_hash, archive_state, seen_at) VALUES (1, 5, now() - interval '2 h',"
            " now() - interval '1 h', 'run-5', 'run-5', 3, 2, 0, 1, 'sealed', now())"
        )
        connection.execute(
            "INSERT INTO archive.flow_day (flow_key, day, runs, succeeded, failed, empty, lines, failed_lines)"
            " VALUES (1, (now() - interval '2 h') AT TIME ZONE 'UTC', 1, 1, 0, 0, 0, 0)"
        )
    return database


@pytest.fixture
def url(shared: str) -> Iterator[str]:
    with replaying(shared) as url:
        yield url


# --- who may come in ------------------------------------------------------------------------------------------------


def test_a_token_opens_whether_the_file_holds_it_or_its_digest(shared: str) -> None:
    digest = f"sha256:{sha256(TOKEN.encode()).hexdigest()}"
    for written in (TOKEN, digest):
        with replaying(shared, "another-token", written) as url:
            assert requests.get(f"{url}/logs", params=LISTING, headers=BEARER, timeout=5).status_code == 200
            form = {"username": "anybody", "password": TOKEN}
            token = requests.post(f"{url}/api/nifi/login", data=form, timeout=5).text
            assert token not in (TOKEN, digest)
            headers = {"Authorization": f"bearer {token}"}
            assert requests.get(f"{url}/logs", params=LISTING, headers=headers, timeout=5).status_code == 200
            for wrong in (digest, token[:-2], token + "x", "", "a.b.c", "é"):
                headers = {"Authorization": f"Bearer {wrong}".encode()}  # type: ignore[dict-item]
                answer = requests.get(f"{url}/logs", params=LISTING, headers=headers, timeout=5)
                assert answer.status_code == 401, wrong
                assert answer.json()["status"] == 401


def test_a_token_that_was_given_out_ends(shared: str) -> None:
    moment = [datetime(2026, 3, 1, tzinfo=UTC)]
    with replaying(shared, clock=lambda: moment[0]) as url:
        form = {"username": "anybody", "password": TOKEN}
        headers = {"Authorization": "Bearer " + requests.post(f"{url}/api/nifi/login", data=form, timeout=5).text}
        statuses = []
        for later in (timedelta(minutes=29), timedelta(minutes=31)):
            moment[0] = datetime(2026, 3, 1, tzinfo=UTC) + later
            statuses.append(requests.get(f"{url}/logs", params=LISTING, headers=headers, timeout=5).status_code)
        assert statuses == [200, 401]


def test_tokens_of_one_process_and_use_are_strange_to_others(shared: str) -> None:
    form = {"username": "anybody", "password": TOKEN}
    with replaying(shared) as one, replaying(shared) as other:
        token = requests.post(f"{one}/api/nifi/login", data=form, timeout=5).text
        headers = {"Authorization": f"Bearer {token}"}
        assert requests.get(f"{other}/logs", params=LISTING, headers=headers, timeout=5).status_code == 401
        page = requests.get(f"{one}/", cookies={"archiver_session": token}, allow_redirects=False, timeout=5)
        assert page.status_code == 303


def test_guessing_passwords_has_an_end(url: str) -> None:
    wrong = {"username": "anybody", "password": "wrong"}
    answers = [requests.post(f"{url}/api/nifi/login", data=wrong, timeout=5) for _ in range(15)]
    statuses = [answer.status_code for answer in answers]
    assert statuses == sorted(statuses)
    assert set(statuses) == {400, 429}
    assert int(answers[-1].headers["Retry-After"]) >= 1
    right = requests.post(f"{url}/api/nifi/login", data={**wrong, "password": TOKEN}, timeout=5)
    assert right.status_code == 429, "who guesses has to wait, or the last guess would tell"
    assert requests.get(f"{url}/logs", params=LISTING, headers=BEARER, timeout=5).status_code == 200


def test_without_tokens_only_loopback_names_are_answered(shared: str) -> None:
    from archiver import web

    engine = connect(shared)
    with web.serving(engine, config_of(), clock=lambda: datetime.now(UTC)) as server:
        assert requests.get(f"{server.url}/logs", params=LISTING, timeout=5).status_code == 200
        for host in ("evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "[::2]"):
            answer = requests.get(f"{server.url}/logs", params=LISTING, headers={"Host": host}, timeout=5)
            assert answer.status_code == 400, host
        for host in ("localhost", "localhost:1", "127.0.0.1", "[::1]:99"):
            assert requests.get(f"{server.url}/", headers={"Host": host}, timeout=5).status_code == 200, host
    engine.dispose()


def test_a_wider_address_needs_a_token(tmp_path: Path, database: str) -> None:
    with told(tmp_path, database) as story:
        done = story.run("serve", "--listen", "0.0.0.0:0")
        assert done.returncode == 2
        assert "reachable from other machines" in done.stderr


# --- headers, errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/login", "/logs", "/healthz", "/nowhere", "/static/app.css"])
def test_every_answer_is_kept_from_frames_scripts_and_sniffing(url: str, path: str) -> None:
    headers = requests.get(url + path, timeout=5).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "Server" not in headers


def test_a_database_that_went_away_is_no_traceback(shared: str) -> None:
    engine = connect(shared)
    with replaying(engine) as url:
        assert requests.get(f"{url}/readyz", timeout=5).status_code == 200
        gone = connect(re.sub(r"/[^/]+$", "/not_there", shared))
        with replaying(gone) as lost:
            for path in ("/healthz", "/readyz", "/", "/logs", "/metrics"):
                answer = requests.get(lost + path, params=LISTING, headers=BEARER, timeout=10)
                assert answer.status_code == 503, path
                assert "Traceback" not in answer.text
                assert "password" not in answer.text
                assert "127.0.0.1:" not in answer.text, "where the database is"
        gone.dispose()
    engine.dispose()


def test_a_crash_is_an_answer_without_a_word_of_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from archiver.queries import replay

    def crash(*_: Any) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(replay, "listing", crash)
    answer = requests.get(f"{url}/logs", params=LISTING, headers=BEARER, timeout=5)
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_answers_do_not_wait_for_the_network_to_ask_again(url: str) -> None:
    """Without TCP_NODELAY every answer on a connection that is kept takes 40 ms more."""
    times = []
    with requests.Session() as session:
        for _ in range(21):
            began = time.perf_counter()
            session.get(f"{url}/static/app.css", timeout=5)
            times.append(time.perf_counter() - began)
    assert sorted(times)[10] < 0.03


# --- hostile clients ------------------------------------------------------------------------------------------------


def raw(url: str, request: bytes, *, until: float = 5.0) -> bytes:
    """What a server answers to bytes; nothing where it ends the connection."""
    host, port = url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=until) as connection:
        try:
            connection.sendall(request)
            while part := connection.recv(65536):
                answer += part
        except (ConnectionError, TimeoutError):
            pass
    return answer


def test_ten_megabytes_of_query_and_other_nonsense(url: str) -> None:
    for path in ("/logs", "/", "/login"):
        answer = raw(url, b"GET " + path.encode() + b"?q=" + b"x" * 10_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    # One that fits into the server's buffers is answered, not cut off.
    answer = raw(url, b"GET /logs?q=" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 414 ")
    assert raw(url, b"\x16\x03\x01\x00\xff" * 20 + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    form = b"password=" + b"x" * 1_000_000
    head = b"POST /api/nifi/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(form)
    answer = raw(url, head + form)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    assert requests.get(f"{url}/healthz", timeout=5).status_code == 200


@pytest.mark.parametrize("host", ["[", "a b", "x" * 300, "é", "a/../b"])
def test_strange_hosts_are_no_crash(url: str, host: str) -> None:
    for path in ("/logs?projectid=p&flowId=f&log_type=1&limit=1", "/", "/login", "/openapi.json"):
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        answer = raw(url, head.encode())
        assert answer.split(b" ")[1] in (b"200", b"303", b"400"), answer[:100]


def test_a_thousand_slow_clients_keep_nobody_out(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    slow: list[socket.socket] = []
    try:
        for number in range(1000):
            connection = socket.create_connection((host, int(port)), timeout=5)
            connection.sendall(b"GET /logs HTTP/1.1\r\nHost: a\r\nX-Slow: " + str(number).encode())
            slow.append(connection)
            if len(slow) > 400:  # what this process may hold open
                slow.pop(0).close()
        began = time.monotonic()
        for _ in range(5):
            assert requests.get(f"{url}/logs", params=LISTING, headers=BEARER, timeout=5).status_code == 200
        assert time.monotonic() - began < 3
        assert requests.get(f"{url}/metrics", headers=BEARER, timeout=5).status_code == 200
    finally:
        for connection in slow:
            connection.close()


def test_a_request_that_never_ends_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from archiver.web import server

    monkeypatch.setattr(server, "ASKING", 0.3)
    began = time.monotonic()
    for part in (b"", b"GET / HTTP/1.1\r\n", b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\ntoken="):
        assert raw(url, part, until=20.0) == b""
    assert time.monotonic() - began < 10


def test_more_than_can_be_answered_is_told_to_come_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from archiver.queries import replay
    from archiver.web import workers

    monkeypatch.setattr(workers, "QUEUE", 2)
    release = threading.Event()
    listing = replay.listing

    def slow(*args: Any) -> Any:
        release.wait(20)
        return listing(*args)

    monkeypatch.setattr(replay, "listing", slow)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(requests.get(f"{url}/logs", params=LISTING, headers=BEARER, timeout=30).status_code)

    threads = [threading.Thread(target=ask) for _ in range(workers.THREADS + 2 + 6)]
    for thread in threads:
        thread.start()
    while len(statuses) < 6 and any(thread.is_alive() for thread in threads):
        time.sleep(0.01)
    release.set()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * (workers.THREADS + 2) + [503] * 6


# --- behind a proxy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [True, False], ids=["the proxy cuts the prefix off", "it leaves it"])
def test_behind_a_reverse_proxy_under_a_path(shared: str, cut: bool) -> None:
    with replaying(shared, public_url="https://logs.example.com/archive") as url:
        own = url if cut else f"{url}/archive"
        page = requests.get(f"{own}/", allow_redirects=False, timeout=5)
        assert (page.status_code, page.headers["Location"]) == (303, "/archive/login?next=%2F")
        form = requests.post(f"{own}/login?next=/", data={"token": TOKEN}, allow_redirects=False, timeout=5)
        assert (form.status_code, form.headers["Location"]) == (303, "/archive/")
        cookie = form.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=strict", "Secure", "Path=/archive"} <= set(cookie.split("; "))
        session = {"Cookie": cookie.split(";")[0]}
        board = requests.get(f"{own}/", headers=session, timeout=5).text
        links = set(re.findall(r'(?:href|src|action|hx-get)="([^"#]*)"', board))
        assert len(links) > 4
        assert all(link.startswith("/archive/") for link in links)
        listed = requests.get(f"{own}/logs", params={**LISTING, "limit": "1", "page": "1"}, headers=BEARER, timeout=5)
        assert listed.json()["count"] == 1
        assert requests.get(f"{own}/openapi.json", timeout=5).json()["servers"] == [
            {"url": "https://logs.example.com/archive"}
        ]


# --- what supervisors ask -------------------------------------------------------------------------------------------


def execute(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_health_beside_a_daemon_is_about_progress(archive: str) -> None:
    with replaying(archive, flow_keys=(1,)) as url, replaying(archive) as alone:
        assert requests.get(f"{url}/healthz", timeout=5).json()["status"] == "ok"
        execute(archive, "UPDATE archive.checkpoint SET next_due_at = now() - interval '20 min'")
        stalled = requests.get(f"{url}/healthz", timeout=5)
        assert (stalled.status_code, stalled.json()["stalled"]) == (503, 1)
        assert requests.get(f"{alone}/healthz", timeout=5).status_code == 200, "no daemon here, nothing to be stalled"
        execute(archive, "UPDATE archive.checkpoint SET lease_until = now() + interval '10 s'")
        assert requests.get(f"{url}/healthz", timeout=5).status_code == 200, "somebody works on it"
        execute(
            archive,
            "UPDATE archive.checkpoint SET next_due_at = now(), checked_at = now(), frontier = now() - interval '9 h'",
        )
        behind = requests.get(f"{url}/healthz", timeout=5)
        assert behind.status_code == 503
        assert behind.json()["frontier_lag_seconds"] == pytest.approx(9 * 3600, abs=60)
        execute(archive, """UPDATE archive.checkpoint SET source = source || '{"lateness": 14400000000}'""")
        assert requests.get(f"{url}/healthz", timeout=5).status_code == 200, "its logs come up to four hours late"
        execute(archive, """UPDATE archive.checkpoint SET source = source - 'lateness'""")
        execute(archive, "UPDATE archive.checkpoint SET failures_in_a_row = 3")
        failing = requests.get(f"{url}/healthz", timeout=5)
        assert (failing.status_code, failing.json()["failing"]) == (200, 1), "the Integrator's fault: no restart helps"


def test_ready_only_with_the_schema_of_this_version(archive: str) -> None:
    with replaying(archive) as url:
        assert requests.get(f"{url}/readyz", timeout=5).status_code == 200
        execute(archive, "UPDATE archive.alembic_version SET version_num = '0001'")
        answer = requests.get(f"{url}/readyz", timeout=5)
        assert (answer.status_code, "archiver migrate" in answer.text) == (503, True)


def metrics(url: str) -> dict[str, float]:
    text = requests.get(f"{url}/metrics", headers=BEARER, timeout=5).text
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_metrics_tell_of_the_database_and_of_requests(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from archiver.web import meters

    monkeypatch.setattr(meters, "FRESH", 0.0)
    with replaying(archive) as url:
        assert requests.get(f"{url}/metrics", timeout=5).status_code == 401
        first = metrics(url)
        execute(
            archive,
            "INSERT INTO archive.pass (flow_key, started_at, ended_at, outcome, requests, rows_new, rows_changed)"
            " VALUES (1, now() - interval '3 s', now(), 'done', 7, 40, 2)",
        )
        execute(archive, "UPDATE archive.checkpoint SET frontier = now() - interval '5 min', failures_in_a_row = 2")
        execute(archive, "UPDATE archive.run SET archive_state = 'pending', visit_at = now()")
        requests.get(f"{url}/logs", headers=BEARER, timeout=5)
        requests.post(f"{url}/api/nifi/login", data={"username": "u", "password": "wrong"}, timeout=5)
        second = metrics(url)
    assert 'archiver_pass_seconds_count{flow="brand/price",outcome="done"}' not in first
    assert second['archiver_pass_seconds_count{flow="brand/price",outcome="done"}'] == 1
    assert second['archiver_pass_seconds_sum{flow="brand/price",outcome="done"}'] == pytest.approx(3, abs=0.1)
    assert second['archiver_pass_rows_total{flow="brand/price",kind="new"}'] == 40
    assert second['archiver_frontier_lag_seconds{flow="brand/price"}'] == pytest.approx(300, abs=10)
    assert second['archiver_failures_in_a_row{flow="brand/price"}'] == 2
    assert second['archiver_runs{flow="brand/price",state="pending"}'] == 1
    assert second['archiver_web_requests_total{route="list_logs",status="400"}'] == 1
    assert second['archiver_web_logins_total{outcome="refused"}'] == 1
    assert second['archiver_database_connections{state="in_use"}'] == 0


# --- the commands ---------------------------------------------------------------------------------------------------


def served(story: Story, *arguments: str) -> tuple[Any, str]:
    """A process that serves, and the URL that it said it serves on."""
    process = story.start(*arguments)
    for line in process.stderr or ():
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        if match and "serving" in line:
            return process, match[0]
    raise AssertionError("it does not serve")


def ended(process: Any) -> int:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    return int(process.returncode)


def test_serve_alone(tmp_path: Path, database: str) -> None:
    with told(tmp_path, database, now=datetime.now(UTC), flows=small_flows("price", runs=3)) as story:
        assert story.run("serve", "--listen", "127.0.0.1:0").returncode == 2, "there is no archive yet"
        assert story.run("sync").returncode == 0
        process, url = served(story, "serve", "--listen", "127.0.0.1:0")
        asked = {"projectid": BRAND.project_id, "flowId": story.flows[0].flow_id, "log_type": "1"}
        assert requests.get(f"{url}/logs", params=asked, timeout=5).json()["count"] == 3
        assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
        taken = story.run("serve", "--listen", url.removeprefix("http://"))
        assert (taken.returncode, "cannot be listened on" in taken.stderr) == (2, True)
        assert ended(process) == 0


def test_run_serves_beside_the_daemon(tmp_path: Path, database: str) -> None:
    with told(tmp_path, database, flows=small_flows("price", runs=3)) as story:
        path = story.configure()
        path.write_text(path.read_text()[:-1] + ', "web": {"listen": "127.0.0.1:0"}}')
        process, url = served(story, "run")
        asked = {"projectid": BRAND.project_id, "flowId": story.flows[0].flow_id, "log_type": "1"}
        until = time.monotonic() + 30
        while requests.get(f"{url}/logs", params=asked, timeout=5).status_code != 200 and time.monotonic() < until:
            time.sleep(0.1)
        assert requests.get(f"{url}/logs", params=asked, timeout=5).json()["count"] >= 3
        assert requests.get(f"{url}/healthz", timeout=5).json()["stalled"] == 0
        assert metrics(url)['archiver_integrator_requests_total{path="/logs",status="200"}'] >= 1
        began = time.monotonic()
        assert ended(process) == 0
        assert time.monotonic() - began < 6
