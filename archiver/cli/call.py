"""What every command starts from: the global options, the configuration, the archive."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from archiver.errors import ConfigError, OperatorError

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Engine

    from archiver.config import Config, Flow
    from archiver.queries import FlowRow, Reader


class WrongCall(OperatorError):
    """A command was asked for something that is not there."""


@dataclass(frozen=True, slots=True)
class Call:
    """The global options of this call, and the one reading of the wall clock that its answers refer to."""

    file: Path | None
    debug: bool
    now: datetime

    @property
    def path(self) -> Path:
        """The configuration file that is meant, whether it is there or not."""
        return self.file or Path(os.environ.get("ARCHIVER_CONFIG") or "config.yaml")

    def config(self, *, logins: bool = True) -> Config:
        """The configuration, which has to be there; without `logins` the Integrators' credentials need not be."""
        from archiver import config

        return config.load(self.file, os.environ, logins=logins)

    def any_config(self) -> Config:
        """The configuration, or what holds without one, for those who log in nowhere: the Integrators' credentials need
        not be there. A file that somebody named has to be."""
        from archiver import config

        if self.file or os.environ.get("ARCHIVER_CONFIG") or self.path.exists():
            return config.load(self.file, os.environ, logins=False)
        return config.default(os.environ)


def one_form(*, as_json: bool, as_csv: bool) -> None:
    """Raises WrongCall where a command is asked for two forms at once."""
    if as_json and as_csv:
        raise WrongCall("--json and --csv exclude each other: leave one out")


def call_of(context: typer.Context) -> Call:
    """The call that a command belongs to."""
    found = context.find_root().obj
    return cast("Call", found) if found is not None else Call(None, False, datetime.now(UTC))


@contextmanager
def database(config: Config) -> Iterator[Engine]:
    """The archive's database, for those who read: it has to be there, with the schema of this version."""
    from archiver import store
    from archiver.database import database as opened

    _require_place(config)
    with opened(config, pool_size=2) as engine, store.translated():
        store.require(engine)
        yield engine


@contextmanager
def connection(config: Config) -> Iterator[psycopg.Connection[Any]]:
    """As `database`, for those who have one question after the other: quicker to be had."""
    from archiver import database, queries, schema

    _require_place(config)
    with database.connection(config) as driver:
        schema.require(queries.revision(driver))
        yield driver


def _require_place(config: Config) -> None:
    if config.database.url is None and not config.data_dir.exists():
        if config.path:
            raise ConfigError([f"there is no archive in {config.data_dir} yet: `archiver sync` starts it"])
        where = "and neither $ARCHIVER_DATABASE_URL nor ./config.yaml to name another"
        raise ConfigError([f"there is no archive in {config.data_dir} yet, {where}: `archiver init` starts one"])


@contextmanager
def archive(context: typer.Context) -> Iterator[Reader]:
    """A reader of the archive that this call is about."""
    from archiver.queries import reading

    with connection(call_of(context).any_config()) as driver, reading(driver) as reader:
        yield reader


def flow_keys(known: Sequence[FlowRow], words: Sequence[str]) -> list[int]:
    """The keys of the flows that people name: by name, flow id, or project/name. No words: all."""
    keys: list[int] = []
    for word in words:
        found = [row.flow_key for row in known if word in _names(row)]
        if not found:
            raise WrongCall(unknown_flow(word, [row.flow_name for row in known]))
        keys += found
    return keys if words else [row.flow_key for row in known]


def configured_flows(config: Config, words: Sequence[str]) -> list[Flow]:
    """The flows of the configuration that people name, each once, in the configuration's order. No words: all."""
    for word in words:
        if not any(word in _names(flow) for flow in config.flows):
            raise WrongCall(unknown_flow(word, [flow.name for flow in config.flows]))
    return [flow for flow in config.flows if not words or _names(flow) & set(words)]


def _names(flow: Flow | FlowRow) -> set[str]:
    """What people may call a flow: its name or id, by itself or behind its project's slug or id."""
    own = {flow.flow_name if isinstance(flow, tuple) else flow.name, flow.flow_id}
    return own | {f"{project}/{name}" for project in (flow.project_slug, flow.project_id) for name in own}


def unknown_flow(word: str, names: Sequence[str]) -> str:
    """What to say where no flow is called so."""
    distinct = list(dict.fromkeys(names))
    if not distinct:
        return f"no flow is called {word!r}: there are none yet"
    near = get_close_matches(word, distinct, 1)
    if near:
        return f"no flow is called {word!r}; did you mean {near[0]!r}?"
    some = ", ".join(distinct[:10]) + (", …" if len(distinct) > 10 else "")
    return f"no flow is called {word!r}; there are {some}"
