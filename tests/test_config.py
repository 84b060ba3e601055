"""The configuration: what is accepted and how it resolves."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from archiver.config import ENVIRONMENTS, default, example, load
from archiver.config.cron import crontab, twice
from archiver.config.environment import SECRETS, Outside
from archiver.config.problems import BROKEN, Problems
from archiver.config.values import duration, libpq_form
from archiver.errors import ConfigError

LOGIN = {"INTEGRATOR_USERNAME": "me@example.com", "INTEGRATOR_PASSWORD": "canary-password"}
SMALL = """
integrators: {prod: {environment: prod, token: canary-token}}
projects:
  - {id: p-1, slug: brand, flows: [{id: f-1, name: price}]}
"""
HEAD = "integrators: {prod: {environment: prod, token: canary-token}}\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return writer


# What is accepted, and what comes of it


def test_the_example_in_the_package_is_the_one_at_the_top() -> None:
    assert (Path(__file__).parent.parent / "config.example.yaml").read_text(encoding="utf-8") == example()


def test_the_example_works_on_a_fresh_machine(write: Write) -> None:
    path = write(example())
    config = load(path, LOGIN)
    assert config.path == path
    assert config.data_dir == path.parent / "archiver-data"
    assert config.database.libpq_url() is None
    price, stock = config.flows
    assert (price.name, price.every, price.cron, price.details) == ("price", timedelta(minutes=5), None, "failed")
    assert (stock.name, stock.every, stock.cron, stock.details) == ("stock", None, "*/10 * * * *", "all")
    assert stock.search_fields == ("sku",)
    assert price.since == datetime(2020, 1, 1, tzinfo=UTC)
    assert price.keep is price.keep_lines is price.keep_details is None
    prod = config.integrators["prod"]
    assert (prod.base_url, prod.username, prod.proxy) == (ENVIRONMENTS["prod"], "me@example.com", None)
    assert prod.password is not None
    assert prod.password.get_secret_value() == "canary-password"
    config.require_flows()


def test_what_the_example_says_of_masking_can_be_written(write: Write) -> None:
    text, shown = re.subn(r"redact: \[\] .*: (\[.*\])$", r"redact: \1", example(), flags=re.MULTILINE)
    assert shown == 1
    assert load(write(text), LOGIN).flows[0].redact == ("email", "$.customer.address", "$.orders[*].phone")


def test_the_smallest_file_gets_every_default(write: Write) -> None:
    config = load(write(SMALL), {})
    (flow,) = config.flows
    assert (flow.integrator, flow.project_id, flow.project_slug, flow.flow_id) == ("prod", "p-1", "brand", "f-1")
    assert (flow.every, flow.settle, flow.lateness) == (
        timedelta(minutes=5),
        timedelta(minutes=10),
        timedelta(minutes=10),
    )
    assert flow.levels == {"main", "sub", "line"}
    assert (config.web, config.workers, config.reporting.timezone) == (None, 4, "UTC")


def test_a_flow_is_hashable_and_frozen(write: Write) -> None:
    config = load(write(SMALL), {})
    assert len({config.flows[0], load(write(SMALL), {}).flows[0]}) == 1
    with pytest.raises(FrozenInstanceError):
        config.flows[0].name = "other"  # type: ignore[misc]


def test_defaults_hold_for_every_flow_and_can_be_overridden(write: Write) -> None:
    config = load(
        write(
            HEAD
            + "defaults: {cron: '0 3 * * *', details: none, keep: 2y, keep_lines: 30d, since: 2024-02-01T03:00+03:00}\n"
            "projects:\n- id: p\n  slug: s\n  flows:\n"
            "  - {id: 1, name: a}\n  - {id: 2, name: b, every: 90s, details: all, levels: [main], settle: 0s}\n"
        ),
        {},
    )
    first, second = config.flows
    assert (first.every, first.cron, first.details) == (None, "0 3 * * *", "none")
    assert (second.every, second.cron, second.details) == (timedelta(seconds=90), None, "all")
    assert (second.levels, second.settle) == (frozenset({"main"}), timedelta(0))
    assert first.since == datetime(2024, 2, 1, tzinfo=UTC)
    assert (first.keep, first.keep_lines) == (timedelta(days=730), timedelta(days=30))
    assert first.keep_details == first.keep  # nothing is kept longer than the run it belongs to


@pytest.mark.parametrize(
    "spelling", ["123456", "0123", "1e5", "12_3", "1:30", "2020-01-01", "0x1F", "no", "1.10", ".5", "=", "true"]
)
def test_ids_names_and_passwords_keep_their_spelling(write: Write, spelling: str) -> None:
    config = load(
        write(
            f"integrators: {{x: {{environment: dev, username: {spelling}, password: {spelling}}}}}\n"
            f"projects: [{{id: {spelling}, slug: {spelling}, flows: [{{id: {spelling}, name: {spelling}}}]}}]\n"
        ),
        {},
    )
    (flow,) = config.flows
    assert {flow.flow_id, flow.name, flow.project_id, flow.project_slug} == {spelling}
    password = config.integrators["x"].password
    assert password is not None
    assert password.get_secret_value() == spelling


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("30d", 2_592_000),
        ("2y", 63_072_000),
        ("0s", 0),
        ("1s", 1),
        (" 5 m ", 300),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["300", "5", "5x", "1.5h", "-5m", "m", "", "5 minutes", "1h30m", "500ms", "5M", "٣m", "101y", "9" * 12 + "y"],
)
def test_what_is_no_duration_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        duration(text)


@given(st.text(max_size=20) | st.from_regex(r"[0-9]{0,20} ?[a-z]?"))
def test_a_duration_is_one_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert duration(text) >= timedelta(0)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("*/10 * * * *", "*/10 * * * *"),
        ("0 9 * * 1-5", "0 9 * * mon,tue,wed,thu,fri"),
        ("0 9 * * 0", "0 9 * * sun"),
        ("0 9 * * 7", "0 9 * * sun"),
        ("0 9 * * 5-7", "0 9 * * sun,fri,sat"),
        ("0 9 * * */2", "0 9 * * sun,tue,thu,sat"),
        ("0 9 * * MON-FRI", "0 9 * * mon,tue,wed,thu,fri"),
        ("0 9 * * sun-wed", "0 9 * * sun,mon,tue,wed"),
    ],
)
def test_cron_means_what_crontab_means(text: str, meant: str) -> None:
    assert crontab(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "* * * *",
        "* * * * * *",
        "99 * * * *",
        "x * * * *",
        "0 0 30 2 *",
        "0 0 * * 8",
        "0 0 * * fri-mon",
        "0 0 1 * mon",
        "*/0 * * * *",
        "",
    ],
)
def test_a_cron_that_cannot_work_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|use one|choose"):
        crontab(text)


def test_cron_days_are_the_days_that_the_scheduler_fires_on() -> None:
    from apscheduler.triggers.cron import CronTrigger

    fires = CronTrigger.from_crontab(crontab("0 9 * * 1"), timezone=UTC).get_next_fire_time(
        None, datetime(2024, 1, 2, tzinfo=UTC)
    )
    assert fires.date() == date(2024, 1, 8)  # a Monday; without translation it would be Tuesday the 2nd


# Where the database is


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h:5432/d",
        "postgres://u:p@h:5432/d",
        "postgresql+psycopg://u:p@h:5432/d",
        " postgres://u:p@h:5432/d ",
    ],
)
def test_every_spelling_of_a_database_url_becomes_libpqs(write: Write, url: str) -> None:
    config = load(write(f"database: {{url: '{url}'}}\n{SMALL}"), {})
    assert config.database.libpq_url() == "postgresql://u:p@h:5432/d"


@pytest.mark.parametrize(
    "url", ["postgresql:///d?host=/run/postgresql", "postgresql://a:1,b:2/d?target_session_attrs=any", "postgresql://"]
)
def test_libpqs_own_liberties_stay(url: str) -> None:
    assert libpq_form(url) == url


@pytest.mark.parametrize(
    ("url", "user", "password", "host"),
    [
        ("postgres://u:pa/ss@h:5432/d", "u", "pa/ss", "h"),
        ("postgres://u:p%40s%3as@h/d", "u", "p@s:s", "h"),
        ("postgres://u:a:b@c@h/d", "u", "a:b@c", "h"),
        ("postgres://ü:#%FF@h/d?application_name=a+b", "ü", None, "h"),
    ],
)
def test_a_database_url_means_the_same_to_all_who_read_it(url: str, user: str, password: str | None, host: str) -> None:
    """Libpq for those who read, SQLAlchemy for those who write."""
    form = libpq_form(url)
    made, read = make_url(form), conninfo_to_dict(form) if password else {}
    assert (made.username, made.host) == (user, host)
    if password:
        assert (made.password, read["password"], read["user"], read["host"]) == (password, password, user, host)


def test_the_parameters_of_a_database_url_mean_the_same_to_all() -> None:
    form = libpq_form("postgres://h/d?ssl=true&options=-c+a%3D1&host=one&host=two")
    assert make_url(form).query == {"sslmode": "require", "options": "-c a=1", "host": "one,two"}
    assert conninfo_to_dict(form) == {
        "dbname": "d", "host": "one,two", "options": "-c a=1", "sslmode": "require",
    }  # fmt: skip


def test_a_password_with_a_question_mark_is_told_how_to_be_written() -> None:
    with pytest.raises(ValueError, match="write a \\? in the password as %3F"):
        libpq_form("postgres://u:what?@h/d")


def test_the_environment_replaces_the_embedded_database_only(write: Write) -> None:
    environ = {"ARCHIVER_DATABASE_URL": "postgres://env/d"}
    assert load(write(SMALL), environ).database.libpq_url() == "postgresql://env/d"
    assert load(write("database:\n" + SMALL), environ).database.libpq_url() == "postgresql://env/d"
    assert load(write(example()), LOGIN | environ).database.libpq_url() == "postgresql://env/d"
    assert (
        load(write("database: {url: postgres://file/d}\n" + SMALL), environ).database.libpq_url()
        == "postgresql://file/d"
    )
    assert load(write(SMALL), {"ARCHIVER_DATABASE_URL": ""}).database.url is None


def test_without_a_file_there_is_a_database_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = default({})
    assert (config.path, config.flows, config.integrators, config.database.url) == (None, (), {}, None)
    assert config.data_dir == tmp_path / "archiver-data"
    assert default({"ARCHIVER_DATABASE_URL": "postgres://h/d"}).database.libpq_url() == "postgresql://h/d"


def test_the_file_is_the_named_one_else_the_environments_else_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, workers in (("config.yaml", 1), ("env.yaml", 2), ("named.yaml", 3)):
        Path(name).write_text(f"workers: {workers}\n{SMALL}", encoding="utf-8")
    assert load(None, {}).workers == 1
    assert load(None, {"ARCHIVER_CONFIG": "env.yaml"}).workers == 2
    assert load(Path("named.yaml"), {"ARCHIVER_CONFIG": "env.yaml"}).workers == 3
    assert load(None, {}).data_dir == tmp_path / "archiver-data"


def test_commands_that_need_a_flow_say_so(write: Write) -> None:
    config = load(write(HEAD + "projects: []\n"), {})
    with pytest.raises(ConfigError, match="no flow is named; add one"):
        config.require_flows()
    with pytest.raises(ConfigError, match="no flow is named"):
        default({}).require_flows()


# What comes from outside


def expand(text: str, environ: Mapping[str, str]) -> tuple[object, list[str]]:
    problems = Problems(None, SECRETS)
    return Outside(problems, environ, Path("/")).bring({"a": [text]})["a"][0], problems.lines


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${A}", "1"),
        ("x${A}y${A}", "x1y1"),
        ("${A:-2}", "1"),
        ("${B:-2}", "2"),
        ("${EMPTY:-2}", "2"),
        ("${EMPTY}", ""),
        ("${B:-}", ""),
        ("$${A}", "${A}"),
        ("$A $$ $", "$A $$ $"),
        ("${B:-$A}", "$A"),
        ("${HOLDS}", "${A}"),
    ],
)
def test_variables_expand(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "EMPTY": "", "HOLDS": "${A}"}) == (expanded, [])


@pytest.mark.parametrize("text", ["${}", "${A", "${A B}", "${A-x}", "${1}", "${A:+x}"])
def test_a_stray_brace_is_a_mistake(text: str) -> None:
    value, problems = expand(text, {"A": "1"})
    assert value is BROKEN
    assert len(problems) == 1
    assert problems[0].startswith("a[0]: holds '${' without a variable's name")


def test_numbers_may_come_from_the_environment(write: Write) -> None:
    config = load(write("workers: ${WORKERS:-7}\n" + SMALL), {})
    assert config.workers == 7


def test_secrets_come_from_files(write: Write, tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(b"pa$${word ${X} \r\n\n")
    (tmp_path / "url").write_bytes(b"postgres://h/d\n")
    (tmp_path / "tokens").write_bytes(b"one\n\ntwo\n")
    config = load(
        write(
            'database: {url_file: url}\nweb: {tokens_file: "${DIR}/tokens"}\n'
            "integrators: {prod: {environment: prod, username: me, password_file: pw}}\n"
        ),
        {"DIR": str(tmp_path)},
    )
    assert config.database.libpq_url() == "postgresql://h/d"
    password = config.integrators["prod"].password
    assert password is not None
    assert password.get_secret_value() == "pa$${word ${X} "
    assert config.web is not None
    assert [token.get_secret_value() for token in config.web.tokens] == ["one", "two"]


# Secrets


def test_nothing_prints_a_secret(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    config = load(
        write(
            "database: {url: 'postgres://u:canary@h/d'}\n"
            "integrators:\n  a: {environment: prod, username: u, password: canary, proxy: 'http://u:canary@proxy:3128'}\n"
            "  b: {environment: dev, token: canary}\n"
            "web: {listen: '0.0.0.0:80', tokens: [canary]}\nalerts: {to: ['mailto://u:canary@h']}\n"
        ),
        {},
    )
    logging.getLogger("archiver").warning("%s %r %s", config, config, vars(config))
    assert "canary" not in caplog.text
    assert config.integrators["a"].proxy == "http://u:canary@proxy:3128"


def test_who_does_not_log_in_needs_no_credentials(tmp_path: Path) -> None:
    """Whatever an Integrator is called."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "integrators: {shop.example: {environment: prod, username: '${NOT_SET}', password: '${NOT_SET}'}}\n"
        "projects: [{id: p, slug: s, flows: [{id: f, name: price}]}]\n"
    )
    assert load(path, {}, logins=False).integrators["shop.example"].username == "${NOT_SET}"
    with pytest.raises(ConfigError, match="NOT_SET"):
        load(path, {})


@pytest.mark.parametrize(
    ("expression", "since", "hours"),
    [
        ("0 3 * * *", "2024-03-05T03:00:05", 48),
        ("0 3 * * mon,tue", "2024-03-05T03:00:05", 7 * 24),
        ("*/30 * * * *", "2024-03-05T03:00:05", 1),
    ],
)
def test_two_fires_of_a_cron_are_as_far_as_its_days_say(expression: str, since: str, hours: int) -> None:
    moment = datetime.fromisoformat(since).replace(tzinfo=UTC)
    assert twice(expression, moment) == timedelta(hours=hours, seconds=-5)
