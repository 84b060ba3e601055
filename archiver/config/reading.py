"""From a file to a `Config`: read, bring in what comes from outside, validate each section, resolve, cross-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from archiver.config import sections, values
from archiver.config.document import read
from archiver.config.environment import SECRETS, Outside
from archiver.config.flows import flows_of
from archiver.config.model import ENVIRONMENTS, Alerts, Config, Database, Integrator, Logging, Reporting, Web
from archiver.config.problems import BROKEN, Problems
from archiver.errors import ConfigError

DATABASE_URL = "ARCHIVER_DATABASE_URL"


def load(path: Path | None, environ: Mapping[str, str], *, logins: bool = True) -> Config:
    """Read `path`, else the file that $ARCHIVER_CONFIG names, else ./config.yaml.

    Relative paths in the file start at its folder. Without `logins`, the credentials of Integrators need not be there,
    and cannot be used. Raises ConfigError with all mistakes at once.
    """
    path = path or Path(environ.get("ARCHIVER_CONFIG") or "config.yaml")
    document, unreadable = read(path)
    problems = Problems(path, SECRETS)
    problems.lines += unreadable
    folder = path.absolute().parent
    outside = Outside(problems, environ, folder, logins=logins)
    raw = outside.bring(document)
    config = _Resolving(problems, environ, path, folder).config(raw)
    if config is None or problems.lines:
        raise ConfigError(problems.lines)
    return replace(config, files=(path, *outside.files))


def default(environ: Mapping[str, str]) -> Config:
    """What holds without a file, for commands that need only a database: no integrators, no flows."""
    problems = Problems(None, SECRETS)
    config = _Resolving(problems, environ, None, Path.cwd()).config({})
    if config is None or problems.lines:
        raise ConfigError(problems.lines)
    return config


def example() -> str:
    """The text of a configuration to start from; it works once the Integrator's user name and password are set."""
    return resources.files("archiver.config").joinpath("template.yaml").read_text(encoding="utf-8")


class _Resolving:
    """Makes a `Config` of the file's mapping; every section is looked at, whatever is wrong with the others."""

    def __init__(self, problems: Problems, environ: Mapping[str, str], path: Path | None, folder: Path) -> None:
        self._problems = problems
        self._environ = environ
        self._path = path
        self._folder = folder

    def config(self, raw: Mapping[str, Any]) -> Config | None:
        self._problems.unknown(sections.File, raw, "")
        section = self._problems.section
        settings = section(sections.Settings, _only(raw, sections.Settings), "")
        database = self._database(raw.get("database"))
        integrators = self._integrators(raw.get("integrators"))
        flows = flows_of(self._problems, raw.get("projects"), raw.get("defaults"), integrators)
        web = self._web(raw["web"]) if raw.get("web") is not None else None
        alerts = section(sections.AlertsSection, raw.get("alerts"), "alerts")
        reporting = section(sections.ReportingSection, raw.get("reporting"), "reporting")
        logging = section(sections.LoggingSection, raw.get("logging"), "logging")
        data_dir = self._located("data_dir", settings.data_dir) if settings else None
        if not (settings and database and alerts and reporting and logging and data_dir):
            return None
        return Config(
            path=self._path,
            data_dir=data_dir,
            database=database,
            integrators={name: integrator for name, integrator in integrators.items() if integrator},
            flows=flows,
            web=web,
            alerts=Alerts(**dict(alerts)),
            reporting=Reporting(**dict(reporting)),
            logging=Logging(**dict(logging)),
            workers=settings.workers,
        )

    def _database(self, raw: object) -> Database | None:
        section = self._problems.section(sections.DatabaseSection, raw, "database")
        if section is None:
            return None
        if section.url is not None:
            return Database(section.url)
        url = self._environ.get(DATABASE_URL)
        if not url:
            return Database()
        try:
            return Database(SecretStr(values.libpq_form(url)))
        except ValueError as exc:
            self._problems.add(f"${DATABASE_URL}", f"value ***: {exc}")
            return None

    def _integrators(self, raw: object) -> dict[str, Integrator | None]:
        if raw is None or raw is BROKEN:
            return {}
        if not isinstance(raw, Mapping):
            self._problems.add("integrators", "must be a mapping of names to settings", raw)
            return {}
        return {name: self._integrator(name, settings) for name, settings in raw.items()}

    def _integrator(self, name: str, raw: object) -> Integrator | None:
        path = f"integrators.{name}"
        try:
            values.word(name)
        except ValueError as exc:
            self._problems.add(path, f"the name {exc}")
        section = self._problems.section(sections.IntegratorSection, raw, path)
        if isinstance(raw, Mapping):
            self._choices(path, {key for key, value in raw.items() if value not in (None, "")})
        if section is None:
            return None
        return Integrator(
            name=name,
            base_url=section.base_url or ENVIRONMENTS.get(section.environment or "", ""),
            ca_file=self._ca_file(f"{path}.ca_file", section.ca_file),
            **section.model_dump(exclude={"environment", "base_url", "ca_file"}),
        )

    def _choices(self, path: str, given: set[str]) -> None:
        """One place, and one way to log in."""
        if {"environment", "base_url"} <= given:
            self._problems.add(f"{path}.base_url", "stands beside environment; leave one of the two out")
        if not {"environment", "base_url"} & given:
            self._problems.add(f"{path}.environment", "is missing; write prod or dev, or give base_url")
        login = {"username", "password"} & given
        if "token" in given and login:
            self._problems.add(f"{path}.token", "stands beside username and password; leave one of the two ways out")
        elif "token" not in given and not login:
            self._problems.add(f"{path}.username", "is missing; give username and password, or token")
        elif len(login) == 1:
            missing = ({"username", "password"} - login).pop()
            self._problems.add(f"{path}.{missing}", f"is missing; it belongs to {login.pop()}")

    def _ca_file(self, path: str, file: str | None) -> Path | None:
        if file is None:
            return None
        located = self._located(path, file)
        if located is not None and not located.exists():
            self._problems.add(path, "there is no such file; name a file of CA certificates in PEM form", file)
        return located

    def _located(self, path: str, text: str) -> Path | None:
        try:
            return values.located(text, self._folder)
        except ValueError as exc:
            self._problems.add(path, str(exc), text)
            return None

    def _web(self, raw: object) -> Web | None:
        section = self._problems.section(sections.WebSection, raw, "web")
        if section is None:
            return None
        host, port = section.listen
        if not values.is_loopback(host) and not section.tokens:
            problem = "is reachable from other machines, and there is no token; give web.tokens, or listen on 127.0.0.1"
            self._problems.add("web.listen", problem, f"{host}:{port}")
        return Web(host, port, section.tokens, section.public_url)


def _only(raw: Mapping[str, Any], model: type[sections.Section]) -> dict[str, Any]:
    return {key: raw[key] for key in model.model_fields if key in raw}
