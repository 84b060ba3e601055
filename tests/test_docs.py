"""What the documents say, held against the code: commands, options, settings, variables, make's targets, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver.config import ENVIRONMENTS, sections
from archiver.config.environment import SECRETS
from tests import commands
from tools import configuration

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob(".github/**/*.md")]
)
SCRIPTS = sorted(path for path in ROOT.glob("deploy/**/*") if path.is_file() and "secrets" not in path.parts)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def settings() -> set[str]:
    """Every setting's full name, lists and names of integrators as docs/configuration.md writes them."""
    found = {"integrators", "projects", "integrators.NAME", "projects[]", "projects[].flows[]"}
    for _, path, model, _ in configuration.PLACES:
        names = {f"{path}.{name}".lstrip(".") for name in model.model_fields}
        found |= {path} | names | {f"{one}_file" for one in names if one.rsplit(".", 1)[-1] in SECRETS}
    return found


KNOWN = settings()
VIEWS = set(re.findall(r"^## (reporting\.\w+)", (ROOT / "docs/data-dictionary.md").read_text(), re.MULTILINE))


def calls(text: str) -> Iterator[list[str]]:
    for _, block in FENCE.findall(text):
        yield from commands.in_shell(block)
    for span in SPAN.findall(FENCE.sub("", text)):
        for one in _alternatives(span):
            yield from commands.in_shell(one)


def _alternatives(span: str) -> list[str]:
    """`archiver db start|stop` stands for two calls."""
    match = re.search(r"\w+(?:\|\w+)+", span)
    return [span[: match.start()] + one + span[match.end() :] for one in match[0].split("|")] if match else [span]


# --- the checks themselves can fail ---


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("archiver sttus", "no command sttus"),
        ("archiver bi grent x", "no command grent"),
        ("archiver export --too X", "no option --too"),
        ("docker compose --file x.yaml exec archiver archiver stats", "no command stats"),
        ("docker run --rm archiver demoo", "no command demoo"),
        ("$ ARCHIVER_CONFIG=x archiver check --jsn", "no option --jsn"),
        ('psql "$(archiver bi grnt X)"', "no command grnt"),
        ("archiver db start | stop", None),
        ("archiver sql 'SELECT 1' --csv > out.csv", None),
        ("kubectl -n archiver get pods", None),
        ("sudo -u archiver /opt/archiver/bin/archiver status", None),
    ],
)
def test_wrong_calls_are_seen(text: str, wrong: str | None) -> None:
    problems = [commands.problem(call) for call in commands.in_shell(text)]
    assert (wrong is None and not any(problems)) or any(wrong and one and wrong in one for one in problems)


def test_wrong_settings_are_seen() -> None:
    assert list(unknown(yaml.safe_load("web: {listn: x}\nprojects: [{flows: [{every: 5m, evry: 1s}]}]"))) == [
        "web.listn",
        "projects[].flows[].evry",
    ]
    assert not list(unknown(yaml.safe_load("integrators: {mine: {password_file: /x, connections: 3}}")))


# --- the documents ---


def test_the_configuration_page_is_what_the_models_make() -> None:
    assert configuration.FILE.read_text(encoding="utf-8") == configuration.markdown(), "python -m tools.configuration"


def test_the_configuration_page_names_the_hosts_for_firewalls() -> None:
    assert all(f"`{url.removeprefix('https://')}`" in configuration.markdown() for url in ENVIRONMENTS.values())


@pytest.mark.parametrize("page", [*PAGES, *SCRIPTS], ids=named)
def test_every_command_and_option_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".md":
        text = "```\n" + re.sub(r"^#\s*", "", text, flags=re.MULTILINE) + "\n```"
    problems = {f"archiver {' '.join(call)}": commands.problem(call) for call in calls(text)}
    assert {call: problem for call, problem in problems.items() if problem} == {}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_setting_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = [
        one for language, block in FENCE.findall(text) if language == "yaml" for one in unknown(yaml.safe_load(block))
    ]
    for span in SPAN.findall(FENCE.sub("", text)):
        name, _, rest = span.partition(":")
        if re.fullmatch(r"(?:database|integrators|projects|defaults|web|alerts|reporting|logging)(?:\.\w+)+", name):
            is_view = ".".join(name.split(".")[:2]) in VIEWS
            wrong += [] if is_view or name in KNOWN | {one.replace(".NAME", "") for one in KNOWN} else [name]
        elif rest.startswith(" {"):
            wrong += unknown(yaml.safe_load(span.replace("…", "x")))
    assert wrong == []


def unknown(fragment: Any, path: str = "") -> Iterator[str]:
    """The settings in a piece of a configuration that there are not."""
    if isinstance(fragment, list):
        for one in fragment:
            yield from unknown(one, f"{path}[]")
    elif isinstance(fragment, dict):
        for key, value in fragment.items():
            name = "NAME" if path == "integrators" else key
            here = "projects[].flows" if not path and key == "flows" else f"{path}.{name}".lstrip(".")
            within_flow = not path or path == "projects[].flows[]"  # pages show pieces of a flow by themselves
            if within_flow and key in sections.FlowDefaults.model_fields:
                continue
            if here in KNOWN:
                yield from unknown(value, here)
            else:
                yield here


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_target_variable_and_link_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = [
        *SPAN.findall(FENCE.sub("", text)),
        *(line for _, block in FENCE.findall(text) for line in block.splitlines()),
    ]
    assert {match[1] for one in shown if (match := re.match(r"make ([a-z-]+)\b", one))} <= targets
    code = "".join(path.read_text() for path in [*ROOT.glob("archiver/**/*.py"), *ROOT.glob("tests/**/*.py")])
    assert {one for one in re.findall(r"\bARCHIVER_[A-Z_]+", text) if one not in code} == set()
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
