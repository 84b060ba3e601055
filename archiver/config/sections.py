"""The sections of the file as an operator writes them; `reading.py` makes them into what the archiver works with.

The text below a setting is its description in docs/configuration.md.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from archiver.config import values
from archiver.config.cron import crontab

Word = Annotated[str, BeforeValidator(values.word)]
Duration = Annotated[timedelta, BeforeValidator(values.duration)]
SomeTime = Annotated[timedelta, BeforeValidator(values.some_time)]
Keeping = Annotated[timedelta | None, BeforeValidator(values.keeping)]
Moment = Annotated[datetime, BeforeValidator(values.moment)]
Redaction = Annotated[str, BeforeValidator(values.redaction)]
_LEVELS: frozenset[Literal["main", "sub", "line"]] = frozenset({"main", "sub", "line"})


def _with_main(levels: frozenset[str]) -> frozenset[str]:
    if "main" not in levels:
        raise ValueError("must include main, for steps and lines belong to a run; write [main, sub, line]")
    return levels


Token = Annotated[SecretStr, BeforeValidator(values.token)]
Channel = Annotated[SecretStr, BeforeValidator(values.channel)]
WebToken = Annotated[SecretStr, BeforeValidator(values.web_token)]


class Section(BaseModel):
    """Frozen; unknown keys are told by `Problems`, which knows the nearest one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DatabaseSection(Section):
    url: Annotated[SecretStr, BeforeValidator(values.libpq_form)] | None = None
    """`postgresql://user:password@host/database`, with libpq's parameters. Without it `$ARCHIVER_DATABASE_URL`, else an
    embedded Postgres under `data_dir`."""


class IntegratorSection(Section):
    environment: Literal["prod", "dev"] | None = None
    """One of the vendor's two installations, at `flow.entegrator.akinon.net:3000` and
    `flow-dev.entegrator.akinon.net:3000`; or `base_url` instead."""
    base_url: Annotated[str, BeforeValidator(values.web_url)] | None = None
    """Where the Integrator is, as `https://host:port`; or `environment` instead."""
    username: Word | None = None
    """The e-mail address that logs in; goes with `password`."""
    password: SecretStr | None = None
    """Goes with `username`."""
    token: Token | None = None
    """A fixed token, instead of `username` and `password`."""
    requests_per_second: float = Field(10.0, gt=0, le=10_000, allow_inf_nan=False)
    """Never more than this, over all flows of this integrator."""
    connections: int = Field(4, ge=1, le=64)
    """Never more than this at the same time."""
    timeout: SomeTime = timedelta(seconds=60)
    """How long a request may take in all."""
    proxy: Annotated[str, BeforeValidator(values.proxy)] | None = None
    """The URL of a proxy, or `environment` for what the environment names. Without it no proxy is used.
    A password in the URL can come from the environment as `${NAME}`, not from a file."""
    ca_file: str | None = None
    """A file of CA certificates in PEM form, where the system's are not enough."""


class FlowDefaults(Section):
    """What every flow has; `None` means that the setting was not given here."""

    every: SomeTime | None = None
    """How long after a turn the next is due, and up to a tenth more, at most 30 s; `5m` where neither this nor `cron`
    is given."""
    cron: Annotated[str, BeforeValidator(crontab)] | None = None
    """When turns are due instead, up to 30 s later: five fields, in UTC; days of the week by name are the clearest."""
    levels: Annotated[frozenset[Literal["main", "sub", "line"]], AfterValidator(_with_main)] = _LEVELS
    """What is archived: runs (always), steps, lines. Steps that a run shows itself come with it in any case."""
    details: Literal["failed", "all", "none"] = "failed"
    """Of which runs the files are downloaded."""
    since: Moment = datetime(2020, 1, 1, tzinfo=UTC)
    """How far back the history is archived; without an offset in UTC."""
    lateness: Duration = timedelta(minutes=10)
    """A log is visible at most this long after its `created`; it is raised for a flow whose logs were seen later."""
    settle: Duration = timedelta(minutes=10)
    """How long after the lines of a run were read they are counted again."""
    stuck_after: SomeTime = timedelta(days=7)
    """A run that has not finished so long after it was first seen is stuck: its lines are read daily, as they are."""
    keep: Keeping = None
    """How long runs stay in the archive; `archiver prune` lets go of what is older."""
    keep_lines: Keeping = None
    """The same for lines; must not exceed `keep`, which is the default."""
    keep_details: Keeping = None
    """The same for downloaded files, with the same limit and default."""
    search_fields: tuple[Word, ...] = ()
    """Fields of lines that are searched often: each gets an index of its own."""
    redact: tuple[Redaction, ...] = ()
    """What is masked before it is stored: names of fields, or paths that begin with `$` (with brackets: in quotes)."""


class FlowSection(FlowDefaults):
    id: Word
    """The flow's id, as the Integrator's URLs have it."""
    name: Word
    """What people call it; its own among all flows."""


class ProjectSection(Section):
    id: Word
    """The project's id, as the Integrator's URLs have it."""
    slug: Word
    """The project's slug, which downloads ask for."""
    integrator: Word | None = None
    """Which of `integrators`; may be left out where there is one."""
    flows: Any = None
    """The list of its flows."""


class WebSection(Section):
    listen: Annotated[tuple[str, int], BeforeValidator(values.listen)] = ("127.0.0.1", 8080)
    """The address to listen on; beyond this machine only with a token."""
    tokens: tuple[WebToken, ...] = ()
    """Who shows one of them may read: each itself, or as `sha256:` and its digest."""
    public_url: Annotated[str, BeforeValidator(values.web_url)] | None = None
    """Where readers find it behind a reverse proxy, perhaps under a path."""


class AlertsSection(Section):
    to: tuple[Channel, ...] = ()
    """Whom to tell: addresses of channels as Apprise writes them, such as `mailtos://…`, `slack://…`, `json://…`."""
    stale_after: Annotated[timedelta | None, BeforeValidator(values.staleness)] = None
    """After which silence a flow is stale; `auto` learns it from the flow's own rhythm."""
    failures: int = Field(1, ge=1, le=1000)
    """So many failed runs in a row make an alert."""
    error_rate: Annotated[float | Literal["auto", "off"], BeforeValidator(values.share)] = "auto"
    """The share of a flow's newest lines that may fail; `auto` learns it from the last four weeks."""
    duration: Annotated[timedelta | Literal["auto", "off"], BeforeValidator(values.learnt_or_off)] = "auto"
    """How long a flow's newest runs, or the one under way, may take; `auto` learns it from the last four weeks."""
    lag: SomeTime = timedelta(hours=1)
    """How far the archive of a flow may fall behind, beyond `lateness` and two polls."""
    disk: SomeTime = timedelta(days=14)
    """For how long the disk of an embedded database has to last at least."""
    quiet: Annotated[tuple[time, time] | None, BeforeValidator(values.hours)] = None
    """Hours in which nobody is told, as `22:00-07:00` in `reporting.timezone`; what still holds then is told after."""
    cooldown: Duration = timedelta(minutes=30)
    """The same thing is told again after this time at the earliest, however often it comes and goes."""
    heartbeat: Annotated[SecretStr, BeforeValidator(values.secret_web_url)] | None = None
    """A URL that is requested every minute while the archiver is well: a monitoring service can tell you when the
    requests stop."""


class ReportingSection(Section):
    timezone: Annotated[str, BeforeValidator(values.timezone)] = "UTC"
    """Where a business day begins: a name of the IANA database."""


class LoggingSection(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged at least."""
    format: Literal["auto", "console", "json"] = "auto"
    """`auto`: readable on a terminal, JSON elsewhere."""


class Settings(Section):
    """What stands at the top of the file by itself."""

    data_dir: str = "./archiver-data"
    """The folder of the embedded Postgres, and of the notes of `archiver verify`; a relative one starts at the file's
    own folder."""
    workers: int = Field(4, ge=1, le=64)
    """How many flows are worked on at the same time."""


class File(Settings):
    """All that may stand at the top; each part is validated by itself, so that no mistake hides another."""

    database: Any = None
    integrators: Any = None
    projects: Any = None
    defaults: Any = None
    web: Any = None
    alerts: Any = None
    reporting: Any = None
    logging: Any = None
