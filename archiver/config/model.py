"""What the rest of the archiver is given: resolved, frozen, and silent about its secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from archiver.config.values import libpq_form
from archiver.errors import ConfigError

# The vendor's two public installations.
ENVIRONMENTS = {
    "prod": "https://flow.entegrator.akinon.net:3000",
    "dev": "https://flow-dev.entegrator.akinon.net:3000",
}


@dataclass(frozen=True)
class Integrator:
    """One installation of the Integrator and how to be polite to it.

    Either `username` and `password` are there, or `token`. `proxy` is the word `environment` (take the proxies that
    the environment names), a URL, or None for none; it may hold credentials, so it is not printed either.
    """

    name: str
    base_url: str  # http or https, without a slash at its end
    username: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    requests_per_second: float = 10.0
    connections: int = 4
    timeout: timedelta = timedelta(seconds=60)
    proxy: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


@dataclass(frozen=True)
class Flow:
    """One flow of one project on one integrator, with the defaults applied.

    Exactly one of `every` and `cron` is set; `cron` is in UTC and spells week days by name, for APScheduler counts them
    from Monday. A `keep` of None means for ever; `keep_lines` and `keep_details` are never longer than `keep`.
    `redact` is what is masked before anything is stored, as `archiver/redact.py` says it.
    """

    integrator: str
    project_id: str
    project_slug: str
    flow_id: str
    name: str
    every: timedelta | None = timedelta(minutes=5)
    cron: str | None = None
    levels: frozenset[str] = frozenset({"main", "sub", "line"})
    details: str = "failed"
    since: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    lateness: timedelta = timedelta(minutes=10)
    settle: timedelta = timedelta(minutes=10)
    stuck_after: timedelta = timedelta(days=7)
    keep: timedelta | None = None
    keep_lines: timedelta | None = None
    keep_details: timedelta | None = None
    search_fields: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()


@dataclass(frozen=True)
class Database:
    """Where the archive is; without a `url` in an embedded Postgres under the data folder."""

    url: SecretStr | None = None

    def libpq_url(self) -> str | None:
        """The URL as libpq reads it, secret and all: `postgresql://…`; None for the embedded server."""
        return None if self.url is None else libpq_form(self.url.get_secret_value())


@dataclass(frozen=True)
class Web:
    """The web page. A host beyond loopback comes with at least one token, itself or as `sha256:` and its digest.

    `public_url` is where readers find it behind a reverse proxy, perhaps under a path, without a slash at its end.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    tokens: tuple[SecretStr, ...] = ()
    public_url: str | None = None


@dataclass(frozen=True)
class Alerts:
    """Whom to tell, and of what. `auto` finds out from each flow's own past, `off` switches it off; `stale_after` None
    is `auto`. `heartbeat` is asked for while all is well."""

    to: tuple[SecretStr, ...] = ()
    stale_after: timedelta | None = None
    failures: int = 1
    error_rate: float | Literal["auto", "off"] = "auto"
    duration: timedelta | Literal["auto", "off"] = "auto"
    lag: timedelta = timedelta(hours=1)
    disk: timedelta = timedelta(days=14)
    quiet: tuple[time, time] | None = None
    cooldown: timedelta = timedelta(minutes=30)
    heartbeat: SecretStr | None = None


@dataclass(frozen=True)
class Reporting:
    """`timezone`: where a business day begins."""

    timezone: str = "UTC"


@dataclass(frozen=True)
class Logging:
    """`format` auto: console on a terminal, JSON elsewhere."""

    level: str = "info"
    format: str = "auto"


@dataclass(frozen=True)
class Config:
    """The whole of it. `path` is None without a file; `data_dir` is absolute; `web` is None where not asked for.

    `files`: what it was read from, the files of its secrets among them.
    """

    path: Path | None
    data_dir: Path
    database: Database = Database()
    integrators: dict[str, Integrator] = field(default_factory=dict)
    flows: tuple[Flow, ...] = ()
    web: Web | None = None
    alerts: Alerts = Alerts()
    reporting: Reporting = Reporting()
    logging: Logging = Logging()
    workers: int = 4
    files: tuple[Path, ...] = ()

    def require_flows(self) -> None:
        """For commands that are nothing without a flow; raises ConfigError."""
        if not self.flows:
            raise ConfigError([f"{self.path or 'no configuration'}: projects: no flow is named; add one under `flows`"])
