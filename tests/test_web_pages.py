"""The pages: logging in, the board, and what hostile content becomes in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files

import psycopg
import pytest
import requests

from archiver.queries.board import Bar
from archiver.store import connect, migrate
from archiver.web.pages.flows import drawn
from archiver.web.pages.words import ago, clean, number, span, until
from tests.conftest import new_database
from tests.replay import TOKEN, replaying

HOSTILE = "<script>alert(1)</script>\u202eevil\x1b[31m\"'><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def url(postgres: str) -> Iterator[str]:
    with new_database(postgres) as database:
        engine = connect(database)
        migrate(engine)
        engine.dispose()
        with psycopg.connect(database, autocommit=True) as connection:
            for key, name in enumerate(("fine", "broken", HOSTILE, "silent", "new"), 1):
                connection.execute(
                    "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)"
                    " VALUES ('prod', 'p', 'brand', %s, %s)",
                    (f"f{key}", name),
                )
                connection.execute("INSERT INTO archive.checkpoint (flow_key) VALUES (%s)", (key,))
            for key, status, newest in ((1, 2, "1 min"), (2, 3, "1 min"), (3, 2, "1 min"), (4, 2, "3 days")):
                connection.execute(
                    "INSERT INTO archive.run (flow_key, log_id, created, finished, state, status, form, src_hash,"
                    " archive_state, seen_at) SELECT %(key)s, i, at, at + interval '30 s', 3,"
                    " CASE WHEN i = 1 THEN %(status)s ELSE 2 END, 0, i, 'sealed', now()"
                    " FROM generate_series(1, 30) i, LATERAL (SELECT now() - %(newest)s::interval"
                    " - i * interval '10 min' AS at) x",
                    {"key": key, "status": status, "newest": newest},
                )
            connection.execute(
                "UPDATE archive.checkpoint SET failures_in_a_row = 2, last_error = %s WHERE flow_key = 3", (HOSTILE,)
            )
        with replaying(database) as server:
            yield server


@pytest.fixture
def session(url: str) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.post(f"{url}/login", data={"token": TOKEN}, timeout=5)
        yield session


def test_the_way_in_and_out(url: str) -> None:
    with requests.Session() as session:
        asked = session.get(f"{url}/?q=1", timeout=5)
        assert asked.url == f"{url}/login?next=%2F%3Fq%3D1"
        wrong = session.post(asked.url, data={"token": "wrong"}, timeout=5)
        assert (wrong.status_code, "not valid" in wrong.text) == (403, True)
        right = session.post(asked.url, data={"token": TOKEN}, timeout=5)
        assert (right.status_code, right.url) == (200, f"{url}/?q=1")
        assert "Log out" in right.text
        assert session.get(f"{url}/logs", timeout=5).status_code == 400, "the session opens the API too"
        assert session.post(f"{url}/logout", timeout=5).url == f"{url}/login"
        assert session.get(f"{url}/", timeout=5).url.startswith(f"{url}/login")


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nSet-Cookie: x=1"]
)
def test_the_login_leads_nowhere_else(url: str, wanted: str) -> None:
    answer = requests.post(
        f"{url}/login", params={"next": wanted}, data={"token": TOKEN}, allow_redirects=False, timeout=5
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_a_form_of_another_site_is_refused(url: str) -> None:
    for origin, status in (("https://evil.example", 403), ("null", 403), (url, 303)):
        answer = requests.post(
            f"{url}/login", data={"token": TOKEN}, headers={"Origin": origin}, allow_redirects=False, timeout=5
        )
        assert answer.status_code == status, origin


def test_the_board_has_problems_first_in_words(url: str, session: requests.Session) -> None:
    text = session.get(f"{url}/", timeout=5).text
    names = re.findall(r'<th scope="row"><a[^>]*>([^<]*)', text)
    assert [names[0], names[1], *names[3:]] == ["broken", "silent", "fine", "new"]
    assert re.findall(r'<span class="state \w+">([^<]*)', text) == [
        "Failed",
        "Silent too long",
        "Not archived now",
        "Fine",
        "No runs yet",
    ]
    assert "3 of 5 need attention" in text
    assert text.count("<svg") == 5
    assert text.count('class="bad" x=') == 1


def test_what_failed_at_once_is_seen() -> None:
    bars = drawn([Bar(2, 100.0, 1), Bar(3, 0.1, 2), Bar(2, 0.1, 3), Bar(3, 50.0, 4)])
    assert [bar.height for bar in bars] == [28.0, 8.0, 2.0, 14.0]
    assert all(bar.y + bar.height == 28.0 for bar in bars)


class Tags(HTMLParser):
    """All tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("path", ["/", "/login", "/login?next=%22%3E%3Cscript%3E", "/<script>alert(1)</script>"])
def test_nothing_hostile_gets_through(url: str, session: requests.Session, path: str) -> None:
    text = session.get(url + path, timeout=5).text
    assert not re.search(r"[\u202a-\u202e\x1b]", text)
    for tag, attributes in Tags(text).found:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        assert tag != "style"
        assert tag != "img" or str(attributes["src"]).startswith("/static/")
        if tag == "script":
            assert str(attributes["src"]).startswith("/static/"), "no script but our own files"
        for name in ("href", "src", "action"):
            assert not re.match(r"(https?:)?//|javascript:|data:", attributes.get(name) or ""), "no other host"


def test_static_files_may_be_kept_for_ever(url: str, session: requests.Session) -> None:
    links = set(re.findall(r'"(/static/[^"]+)"', session.get(f"{url}/", timeout=5).text))
    assert len(links) == 5
    for link in links:
        answer = requests.get(url + link, timeout=5)
        assert (answer.status_code, "immutable" in answer.headers["Cache-Control"]) == (200, True)
    assert "immutable" not in requests.get(f"{url}/static/app.css?v=old", timeout=5).headers["Cache-Control"]
    for path in ("/static/none.js", "/static/..%2fapp.py", "/static/VENDORED.md", "/static/"):
        assert requests.get(url + path, timeout=5).status_code == 404


def test_unknown_pages_help(url: str, session: requests.Session) -> None:
    answer = session.get(f"{url}/nowhere", timeout=5)
    assert answer.status_code == 404
    assert "To the flows" in answer.text
    assert requests.post(f"{url}/", timeout=5).status_code == 405


def test_files_of_others_are_the_ones_that_are_named() -> None:
    folder = files("archiver.web").joinpath("static")
    rows = re.findall(
        r"^\| `([\w.]+)` .*`([0-9a-f]{64})` \|$", folder.joinpath("VENDORED.md").read_text(), re.MULTILINE
    )
    assert dict(rows) == {name: sha256(folder.joinpath(name).read_bytes()).hexdigest() for name, _ in rows}
    own = {"app.css", "app.js", "icon.svg", "pictures.js", "theme.js", "VENDORED.md"}
    assert {entry.name for entry in folder.iterdir()} == {name for name, _ in rows} | own


def test_values_in_words() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert [span(one) for one in (None, 0.42, 42, 90, 7500, 400_000)] == [
        "",
        "0.4 s",
        "42 s",
        "1 min",
        "2 h 5 min",
        "4 d 15 h",
    ]
    assert [ago(now - timedelta(seconds=one), now) for one in (3, 61, 90_000)] == ["just now", "1 min ago", "1 d ago"]
    assert [until(now + timedelta(seconds=one), now) for one in (-5, 30, 7200)] == ["now", "in 30 s", "in 2 h"]
    assert (ago(None, now), until(None, now), number(None), number(12345)) == ("never", "not planned", "—", "12,345")
    assert clean("a\u202eb\x00\n") == "a\ufffdb\ufffd\n"
