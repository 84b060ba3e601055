"""docs/configuration.md, made from the models that validate the file and the texts below their settings.

    python -m tools.configuration       writes it

A test compares the file with what this makes.
"""

from __future__ import annotations

import ast
import inspect
import types
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from archiver.config import sections, values
from archiver.config.cron import crontab
from archiver.config.environment import SECRETS

FILE = Path(__file__).parent.parent / "docs" / "configuration.md"

HEAD = """\
# Configuration

Every setting of `config.yaml`, made from the models that validate it by `python -m tools.configuration`.
`archiver init` writes a file to start from ([config.example.yaml](../config.example.yaml)); `archiver check` tries it
out.

- The file is `--config FILE`, else `$ARCHIVER_CONFIG`, else `./config.yaml`. It is validated whole before anything
  starts: all mistakes are told at once, each with its key, value and remedy, and exit status 2. An unknown key is one.
- `${NAME}` and `${NAME:-default}` come from the environment; `$${` is a literal `${`. Any other `$` stands for itself.
- A secret can come from a file: `NAME_file: PATH` instead of `NAME`, for those that say *secret* below (of a list, one
  a line). That is how secrets of Docker and Kubernetes and systemd's credentials are taken:
  `password_file: /run/secrets/integrator_password`, `password_file: ${CREDENTIALS_DIRECTORY}/integrator_password`.
- A duration is a whole number and a unit: `90s`, `5m`, `2h`, `30d`, `2y` (365 days).
- Relative paths start at the file's own folder.
- In `{…}` and `[…]` YAML wants quotes around `"${NAME}"`.
- `archiver run` takes over changed flows, `integrators`, `defaults` and `alerts`, also from files of secrets, as soon
  as they are saved, or on SIGHUP. `database`, `data_dir`, `workers`, `web`, `reporting` and `logging` hold from the
  next start on; the log names them. `archiver check --diff` tells before what becomes of the flows.
"""
INTEGRATORS = """\
A mapping: each Integrator by a name of your own, with one of `environment` and `base_url`, and one way to log in. A
flow is known by that name, its project's id and its own id: where one of them changes, a new history begins. (A flow's
`name` may change.)"""
PLACES: tuple[tuple[str, str, type[sections.Section], str], ...] = (
    ("At the top", "", sections.Settings, ""),
    ("database", "database", sections.DatabaseSection, "Where the archive is."),
    (
        "integrators",
        "integrators.NAME",
        sections.IntegratorSection,
        INTEGRATORS,
    ),
    ("projects", "projects[]", sections.ProjectSection, "A list; nothing is archived without a flow."),
    ("projects: flows", "projects[].flows[]", sections.FlowSection, "A list; besides, every setting of `defaults`."),
    ("defaults", "defaults", sections.FlowDefaults, "What holds for every flow; each may be set for one flow as well."),
    (
        "web",
        "web",
        sections.WebSection,
        "With this section `archiver run` serves the page and the replayed Logs API as well: [web.md](web.md).",
    ),
    ("alerts", "alerts", sections.AlertsSection, "Who is told when something is not well."),
    ("reporting", "reporting", sections.ReportingSection, "What the views of schema `reporting` need to know."),
    ("logging", "logging", sections.LoggingSection, "The archiver's own log, on standard error."),
)
VARIABLES = """
## The environment

| Variable | Meaning |
|---|---|
| `ARCHIVER_CONFIG` | the configuration file, where `--config` names none |
| `ARCHIVER_DATABASE_URL` | the database, where the configuration names none |
| `CREDENTIALS_DIRECTORY` | set by systemd for `LoadCredential=`; for use as `${CREDENTIALS_DIRECTORY}` |
| `FORWARDED_ALLOW_IPS` | the addresses of reverse proxies whose `X-Forwarded-…` headers are believed |
| `HTTPS_PROXY`, `NO_PROXY`, … | heeded only with `proxy: environment` |
"""
_KINDS = {
    values.duration: "duration",
    values.some_time: "duration",
    values.keeping: "duration or `forever`",
    values.staleness: "duration or `auto`",
    values.moment: "date or time",
    values.web_url: "URL",
    values.libpq_form: "URL",
    values.proxy: "URL or `environment`",
    values.listen: "`HOST:PORT`",
    values.timezone: "time zone",
    values.share: "share such as `5%`, `auto` or `off`",
    values.learnt_or_off: "duration, `auto` or `off`",
    values.hours: "hours such as `22:00-07:00`",
    values.secret_web_url: "URL",
    crontab: "cron",
}
_NAMES: dict[object, str] = {str: "text", int: "number", float: "number", bool: "`true` or `false`", SecretStr: "text"}
_UNITS = {"y": 365 * 86_400, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_WORDS_FOR_NONE = {values.keeping: "`forever`", values.staleness: "`auto`"}


def markdown() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, path, model, text in PLACES:
        parts.append(f"\n## {title}\n\n" + (f"{text}\n\n" if text else ""))
        parts.append("| Setting | Value | Default | Meaning |\n|---|---|---|---|\n")
        inherited = set(sections.FlowDefaults.model_fields) if model is sections.FlowSection else set()
        for name, field in model.model_fields.items():
            if name not in inherited:
                where = f"{path}.{name}" if path else name
                parts.append(f"| `{where}` | {_kind(name, field)} | {_default(field)} | {_texts(model)[name]} |\n")
    return "".join([*parts, VARIABLES])


def _texts(model: type[sections.Section]) -> dict[str, str]:
    """The text below each setting of a section and of those it is made from."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, sections.Section) and one is not sections.Section:
            (tree,) = ast.parse(inspect.getsource(one)).body
            assert isinstance(tree, ast.ClassDef)  # noqa: S101 - for mypy
            for setting, text in zip(tree.body, tree.body[1:], strict=False):
                if isinstance(setting, ast.AnnAssign) and isinstance(setting.target, ast.Name):
                    if not isinstance(text, ast.Expr):
                        raise TypeError(f"{one.__name__}.{setting.target.id} has no text below it")
                    found[setting.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _validators(annotation: Any, metadata: tuple[Any, ...] = ()) -> list[Any]:
    """The functions that read a value, wherever they stand in its type."""
    found = [one.func for one in metadata if hasattr(one, "func")]
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return found + _validators(inner, tuple(more))
    for inner in get_args(annotation):
        found += _validators(inner) if not isinstance(inner, str) else []
    return found


def _kind(name: str, field: FieldInfo) -> str:
    listed = any(get_origin(one) in (tuple, frozenset) for one in (field.annotation, *get_args(field.annotation)))
    words = _plain(field.annotation, tuple(field.metadata))
    if listed and words not in (_KINDS[values.listen], _KINDS[values.hours]):
        words = f"list of {words}"
    bounds = [f"{word} {value}" for one in field.metadata for word, value in _bound(one)]
    words = ", ".join([words, *bounds])
    return f"{words}; *secret*" if name in SECRETS else words


def _plain(annotation: Any, metadata: tuple[Any, ...]) -> str:
    for one in _validators(annotation, metadata):
        if one in _KINDS:
            return _KINDS[one]
    if annotation is Any:
        return "list"
    origin, inside = get_origin(annotation), [one for one in get_args(annotation) if one not in (type(None), ...)]
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in inside)
    if origin in (Union, types.UnionType, tuple, frozenset, Annotated):
        return _plain(inside[0], ())
    return _NAMES[annotation]


def _bound(constraint: Any) -> list[tuple[str, Any]]:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    return [(word, getattr(constraint, name)) for name, word in words.items() if hasattr(constraint, name)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value: Any = field.default
    match value:
        case None:
            words = [
                _WORDS_FOR_NONE[one]
                for one in _validators(field.annotation, tuple(field.metadata))
                if one in _WORDS_FOR_NONE
            ]
            return words[0] if words else ""
        case timedelta():
            return f"`{_span(value)}`"
        case datetime():
            return f"`{value.date()}`"
        case frozenset():
            return f"`[{', '.join(one for one in ('main', 'sub', 'line') if one in value)}]`"
        case (str() as host, int() as port):
            return f"`{host}:{port}`"
        case tuple():
            return "none"
        case float():
            return f"`{value:g}`"
        case _:
            return f"`{value}`"


def _span(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    unit = next(unit for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


if __name__ == "__main__":
    FILE.write_text(markdown(), encoding="utf-8")
