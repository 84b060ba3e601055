"""Mistakes in the configuration: each is told, all at once, with place and remedy, without a secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.config import Config, default, example, load
from archiver.errors import ConfigError
from tests.test_config import HEAD, SMALL, Write, write

__all__ = ["write"]

TWO = "integrators: {prod: {environment: prod, token: t}, dev: {environment: dev, token: t}}\n"


@pytest.fixture
def mistakes(write: Write) -> Callable[..., list[str]]:
    """The problems of a text, without the file's name; fails where there are none."""

    def told(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            load(path, environ or {})
        assert all(problem.startswith(f"{path}: ") for problem in caught.value.problems)
        assert "canary" not in str(caught.value)
        return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]

    return told


Mistakes = Callable[..., list[str]]


# What is refused


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("databse: {}", "databse: unknown key; did you mean 'database'?"),
        (
            "data_dir: '${A:-${B}}'",
            "data_dir: A's default holds a variable, which is not expanded there; write a plain one",
        ),
        (
            "integrators: {p: {environment: prod, token: t, pasword: canary}}",
            "integrators.p.pasword: unknown key; did you mean 'password'?",
        ),
        ("defaults: {evry: 5m}", "defaults.evry: unknown key; did you mean 'every'?"),
        ("web: {zzz: 1}", "web.zzz: unknown key; the known ones are listen, tokens, public_url"),
        ("databse:", "databse: unknown key; did you mean 'database'?"),
        ("integrators: {p: {token: t}}", "integrators.p.environment: is missing; write prod or dev, or give base_url"),
        (
            "integrators: {p: {environment: prod, base_url: 'http://h', token: t}}",
            "integrators.p.base_url: stands beside environment",
        ),
        (
            "integrators: {p: {environment: prd, token: t}}",
            "integrators.p.environment: value 'prd': must be 'prod' or 'dev'",
        ),
        (
            "integrators: {p: {environment: prod}}",
            "integrators.p.username: is missing; give username and password, or token",
        ),
        (
            "integrators: {p: {environment: prod, username: u}}",
            "integrators.p.password: is missing; it belongs to username",
        ),
        (
            "integrators: {p: {environment: prod, password: canary}}",
            "integrators.p.username: is missing; it belongs to password",
        ),
        (
            "integrators: {p: {environment: prod, username: u, token: canary}}",
            "integrators.p.token: stands beside username",
        ),
        (
            "integrators: {p: {environment: prod, token: 'Bearer canary'}}",
            "integrators.p.token: value ***: must be the token alone",
        ),
        (
            'integrators: {p: {environment: prod, token: "canary\\r\\nX: y"}}',
            "integrators.p.token: value ***: must be printable",
        ),
        (
            "integrators: {p: {base_url: 'ftp://h', token: t}}",
            "integrators.p.base_url: value 'ftp://h': is no usable URL",
        ),
        (
            "integrators: {p: {base_url: 'https://h:port', token: t}}",
            "integrators.p.base_url: value 'https://h:port': is no usable URL",
        ),
        (
            "integrators: {p: {base_url: 'https://', token: t}}",
            "integrators.p.base_url: value 'https://': is no usable URL",
        ),
        (
            'integrators: {p: {base_url: "https://h\\n.evil", token: t}}',
            "integrators.p.base_url: value 'https://h\\n.evil': is no usable",
        ),
        (
            "integrators: {p: {base_url: 'https://u:canary/x@h', token: t}}",
            "integrators.p.base_url: value 'https://***@h': ",
        ),
        (
            "integrators: {p: {base_url: 'https://h?a=b', token: t}}",
            "integrators.p.base_url: value 'https://h?a=b': must end with its path",
        ),
        (
            "integrators: {p: {environment: prod, token: t, proxy: 'socks5://u:canary@h'}}",
            "integrators.p.proxy: value 'socks5://***@h': ",
        ),
        (
            "integrators: {p: {environment: prod, token: t, ca_file: nowhere.pem}}",
            "integrators.p.ca_file: value 'nowhere.pem': there is no",
        ),
        (
            "integrators: {p: {environment: prod, token: t, requests_per_second: 0}}",
            "integrators.p.requests_per_second: value '0': must be",
        ),
        (
            "integrators: {p: {environment: prod, token: t, requests_per_second: nan}}",
            "integrators.p.requests_per_second: value 'nan': ",
        ),
        (
            "integrators: {p: {environment: prod, token: t, connections: 65}}",
            "integrators.p.connections: value '65': must be",
        ),
        (
            "integrators: {p: {environment: prod, token: t, timeout: 60}}",
            "integrators.p.timeout: value '60': a duration needs a unit",
        ),
        (
            "integrators: {p: {environment: prod, token: t, timeout: 0s}}",
            "integrators.p.timeout: value '0s': must be longer than zero",
        ),
        ("integrators: [a]", "integrators: must be a mapping of names to settings"),
        ("integrators: {p: 5}", "integrators.p: value '5': must be a mapping"),
        ("workers: 0", "workers: value '0': must be greater than or equal to 1"),
        ("workers: 65", "workers: value '65': must be"),
        ("workers: true", "workers: value 'true': must be a valid integer"),
        ("defaults: {keep: 0s}", "defaults.keep: value '0s': must be longer than zero"),
        ("defaults: {every: forever}", "defaults.every: value 'forever': is no duration"),
        ("defaults: {every: 5m, cron: '* * * * *'}", "defaults.cron: stands beside every"),
        ("defaults: {levels: [sub, line]}", "defaults.levels: must include main"),
        ("defaults: {levels: main}", "defaults.levels: value 'main': must be a list"),
        ("defaults: {levels: [main, lines]}", "defaults.levels[1]: value 'lines': must be 'main', 'sub' or 'line'"),
        ("defaults: {details: no}", "defaults.details: value 'no': must be 'failed', 'all' or 'none'"),
        ("defaults: {since: 2020-02-30}", "defaults.since: value '2020-02-30': is no date"),
        ("defaults: {since: 1969-12-31}", "defaults.since: value '1969-12-31': lies before 1970"),
        ("defaults: {since: 0001-01-01T00:00+14:00}", "defaults.since: value '0001-01-01T00:00+14:00': is no date"),
        ("defaults: {search_fields: sku}", "defaults.search_fields: value 'sku': must be a list"),
        ("web: {listen: 8080}", "web.listen: value '8080': is no address"),
        ("web: {listen: '127.0.0.1:99999'}", "web.listen: value '127.0.0.1:99999': is no address"),
        ("web: {listen: '0.0.0.0:80'}", "web.listen: value '0.0.0.0:80': is reachable from other machines"),
        ("web: {listen: '[::]:80', tokens: []}", "web.listen: value ':::80': is reachable from other machines"),
        ("web: {tokens: [a b canary]}", "web.tokens[0]: value ***: must be printable ASCII"),
        ("web: {tokens: canary}", "web.tokens: value ***: must be a list"),
        ("alerts: {to: canary}", "alerts.to: value ***: must be a list"),
        ("alerts: {stale_after: 5}", "alerts.stale_after: value '5': a duration needs a unit"),
        ("alerts: {failures: 0}", "alerts.failures: value '0': must be"),
        ("reporting: {timezone: Mars/Base}", "reporting.timezone: value 'Mars/Base': is no time zone"),
        ("reporting: {timezone: /etc/passwd}", "reporting.timezone: value '/etc/passwd': is no time zone"),
        ("logging: {format: xml}", "logging.format: value 'xml': must be 'auto', 'console' or 'json'"),
        ("projects: {a: b}", "projects: must be a list; start each entry with '- '"),
        ("projects: [5]", "projects[0]: value '5': must be a mapping"),
        ("projects: [{slug: s}]", "projects[0].id: is missing"),
        ("projects: [{id: p, slug: s, flows: [x]}]", "integrators: is missing; projects[0] needs one"),
        ("database: postgres://u:canary@h/d", "database: value 'postgres://***@h/d': must be a mapping"),
        ("a: &x [*x]", "line 1: an alias stands for what it is a part of; write it out"),
        ("workers: 1\nworkers: 2", "line 2: the key 'workers' is there twice; leave one out"),
        ("defaults:\n  {every: 5m,\n   every: 6m}", "line 3: the key 'every' is there twice"),
        ("? [a]\n: b", "line 1: a key must be a word"),
        ("~: b", "line 1: a key must be a word"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(mistakes: Mistakes, text: str, problem: str) -> None:
    told = mistakes(text)
    assert any(line.startswith(problem) for line in told), told


def flows(*entries: str, head: str = HEAD) -> str:
    return head + "projects:\n- id: p\n  slug: s\n  flows:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (flows("id: 1"), "projects[0].flows[0].name: is missing; give it a value"),
        (flows("id: 1, name: ' '"), "projects[0].flows[0].name: value ' ': must be 1 to 200 printable characters"),
        (flows("id: 1, name: a", "id: 2, name: a"), "projects[0].flows[1].name: value 'a': is the name of projects[0]"),
        (flows("id: 1, name: a", "id: 1, name: b"), "projects[0].flows[1].id: value '1': the flow is there already"),
        (flows("id: 1, name: a, every: 5m, cron: '* * * * *'"), "projects[0].flows[0].cron: stands beside every"),
        (flows("id: 1, name: a, every: 300"), "projects[0].flows[0].every: value '300': a duration needs a unit"),
        (flows("id: 1, name: a, cron: '0 0 30 2 *'"), "projects[0].flows[0].cron: value '0 0 30 2 *': never fires"),
        (flows("id: 1, name: a, keep: 1d, keep_lines: 2d"), "projects[0].flows[0].keep_lines: is longer than keep"),
        (flows("id: 1, name: a, keep: 1d, keep_details: forever"), "projects[0].flows[0].keep_details: is longer"),
        (flows("id: 1, name: a", head=TWO),
         "projects[0].integrator: is missing; name one of prod, dev"),
        (HEAD + "projects: [{id: p, slug: s, integrator: prdo}]", "projects[0].integrator: value 'prdo': there is no"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_flow_is_told(mistakes: Mistakes, text: str, problem: str) -> None:
    told = mistakes(text)
    assert len(told) == 1
    assert told[0].startswith(problem)


def test_the_same_ids_on_two_installations_are_two_flows(write: Write) -> None:
    text = TWO + "projects:\n"
    for name in ("prod", "dev"):
        text += f"- {{id: p, slug: s, integrator: {name}, flows: [{{id: 1, name: price-{name}}}]}}\n"
    assert [flow.integrator for flow in load(write(text), {}).flows] == ["prod", "dev"]


def test_all_mistakes_are_told_at_once(mistakes: Mistakes) -> None:
    told = mistakes(
        "integrators: {prod: {environment: prd, connections: 0, username: u}}\n"
        "projects:\n- {slug: s, flows: [{id: 1, every: 5}]}\n"
        "- {id: q, slug: s, integrator: x, flows: [{id: 2, name: ''}]}\n"
        "defaults: {levels: [sub]}\nweb: {listen: x}\nlogging: {level: x}\nworkers: x\nworkers: 5\nodd: 1\n"
    )
    places = [problem.split(":")[0] for problem in told]
    assert sorted(places) == sorted([
        "line 9", "odd", "workers", "integrators.prod.environment", "integrators.prod.connections",
        "integrators.prod.password",
        "defaults.levels", "projects[0].id", "projects[0].flows[0].name", "projects[0].flows[0].every",
        "projects[1].integrator", "projects[1].flows[0].name", "web.listen", "logging.level",
    ])  # fmt: skip


# What comes from outside and cannot be had


def test_the_example_says_which_variables_it_needs(mistakes: Mistakes) -> None:
    assert mistakes(example()) == [
        f"integrators.prod.{key}: the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
        for key, name in (("username", "INTEGRATOR_USERNAME"), ("password", "INTEGRATOR_PASSWORD"))
    ]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:canary@h/d",
        "postgresql+psycopg2://u:canary@h/d",
        "host=h password=canary",
        "postgresql://u:canary%@h/d",
        "postgresql://u:canary 1@h/d",
    ],
)
def test_another_database_url_is_refused_unseen(mistakes: Mistakes, url: str) -> None:
    (problem,) = mistakes(f"database: {{url: '{url}'}}\n{SMALL}")
    assert problem.startswith("database.url: value ***: ")
    with pytest.raises(ConfigError, match=r"^\$ARCHIVER_DATABASE_URL: value \*\*\*: ") as caught:
        default({"ARCHIVER_DATABASE_URL": url})
    assert "canary" not in str(caught.value)


def test_an_unset_variable_is_told_once_and_hides_nothing_else(mistakes: Mistakes) -> None:
    told = mistakes("workers: ${WORKERS}\nlogging: {level: loud}\n" + SMALL)
    assert told == [
        "workers: the environment variable WORKERS is not set; set it, or write ${WORKERS:-default}",
        "logging.level: value 'loud': must be 'debug', 'info', 'warning' or 'error'",
    ]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("token: canary, token_file: secret", "token_file: stands beside token; leave one of the two out"),
        ("token_file: nowhere", "token_file: value ***: cannot be read: No such file or directory"),
        ("token_file: .", "token_file: value ***: cannot be read: Is a directory"),
        ("token_file: empty", "token_file: value ***: the file is empty or too large"),
        ("token_file: latin", "token_file: value ***: cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_secret_file_that_gives_none_is_told(mistakes: Mistakes, tmp_path: Path, setting: str, problem: str) -> None:
    for name, content in (("secret", b"canary"), ("empty", b"\n"), ("latin", b"\xff")):
        (tmp_path / name).write_bytes(content)
    told = mistakes(f"integrators: {{prod: {{environment: prod, {setting}}}}}\n")
    assert told[0].startswith(f"integrators.prod.{problem}".replace("***", "'" + setting.rsplit(maxsplit=1)[-1] + "'"))


# Files that are no configuration


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty; `archiver init` writes one"),
        (b"# nothing\n", "the file is empty; `archiver init` writes one"),
        (b"- a\n", "the file is no mapping of keys to values"),
        (b"\xff\xfea\x00", "line 1: the file is not UTF-8"),
        (b"a: 1\nb: \xe9\n", "line 2: the file is not UTF-8"),
        (b"workers: 4\nprojects: [\n", "line 3, column 1: this is not YAML"),
        (b"password: *canary\n", "line 1, column 11: this is not YAML"),
        (b"password: !canary x\n", "line 1: a tag (a word that starts with !) means nothing here"),
        (b"password: @canary\n", "line 1, column 11: this is not YAML"),
        (b"password: !canary!x y\n", "line 1, column 11: this is not YAML"),
        (b"a: canary: b\n", "line 1, column 10: this is not YAML"),
        (b"a: \x01\n", "this is not YAML (a control character)"),
        (b"a: b\n---\nc: d\n", "line 2, column 1: this is not YAML"),
        (b"a: " + b"[" * 200_000, "line 1, column 53: this is not YAML (the nesting is too deep)"),
        (b"#" * (1 << 20) + b"\n", "is larger than 1 MiB"),
    ],
)
def test_what_is_no_configuration_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.problems[0].startswith(f"{path}: {problem}")
    assert "canary" not in str(caught.value)


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert len(load(path, {}).flows) == 1


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file; `archiver init` writes one"):
        load(tmp_path / "config.yaml", {})
    with pytest.raises(ConfigError, match=r"is a folder; name the file in it, as in .*/config\.yaml"):
        load(tmp_path, {})
    circle = tmp_path / "circle.yaml"
    circle.symlink_to(circle)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(circle, {})


def test_aliases_cannot_multiply(mistakes: Mistakes) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    told = mistakes(bomb + "defaults: {search_fields: *a39}\n")
    assert len(told) < 100


def test_merge_keys_work(write: Write) -> None:
    text = flows("id: 1, name: a, <<: &x {every: 1h, details: all}, details: none", "id: 2, name: b, <<: [*x]")
    first, second = load(write(text), {}).flows
    assert (first.every, first.details, second.details) == (timedelta(hours=1), "none", "all")


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from([*SMALL, "\n", " ", "{", "}", "[", ":", "&a", "*a", "<<", "${"]), max_size=60).map(
        "".join
    )
)
def test_any_text_is_a_configuration_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(ConfigError):
        assert isinstance(load(path, {}), Config)
