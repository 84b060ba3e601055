"""The sections of the file as an operator writes them; `reading.py` makes them into what the archiver works with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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
WebToken = Annotated[SecretStr, BeforeValidator(values.web_token)]


class Section(BaseModel):
    """Frozen; unknown keys are told by `Problems`, which knows the nearest one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DatabaseSection(Section):
    url: Annotated[SecretStr, BeforeValidator(values.libpq_form)] | None = None


class IntegratorSection(Section):
    environment: Literal["prod", "dev"] | None = None
    base_url: Annotated[str, BeforeValidator(values.web_url)] | None = None
    username: Word | None = None
    password: SecretStr | None = None
    token: Token | None = None
    requests_per_second: float = Field(10.0, gt=0, le=10_000, allow_inf_nan=False)
    connections: int = Field(4, ge=1, le=64)
    timeout: SomeTime = timedelta(seconds=60)
    proxy: Annotated[str, BeforeValidator(values.proxy)] | None = None
    ca_file: str | None = None


class FlowDefaults(Section):
    """What every flow has; `None` means that the setting was not given here."""

    every: SomeTime | None = None
    cron: Annotated[str, BeforeValidator(crontab)] | None = None
    levels: Annotated[frozenset[Literal["main", "sub", "line"]], AfterValidator(_with_main)] = _LEVELS
    details: Literal["failed", "all", "none"] = "failed"
    since: Moment = datetime(2020, 1, 1, tzinfo=UTC)
    lateness: Duration = timedelta(minutes=10)
    settle: Duration = timedelta(minutes=10)
    keep: Keeping = None
    keep_lines: Keeping = None
    keep_details: Keeping = None
    search_fields: tuple[Word, ...] = ()
    redact: tuple[Redaction, ...] = ()


class FlowSection(FlowDefaults):
    id: Word
    name: Word


class ProjectSection(Section):
    id: Word
    slug: Word
    integrator: Word | None = None
    flows: Any = None


class WebSection(Section):
    listen: Annotated[tuple[str, int], BeforeValidator(values.listen)] = ("127.0.0.1", 8080)
    tokens: tuple[WebToken, ...] = ()
    public_url: Annotated[str, BeforeValidator(values.web_url)] | None = None


class AlertsSection(Section):
    to: tuple[SecretStr, ...] = ()
    stale_after: Annotated[timedelta | None, BeforeValidator(values.staleness)] = None
    failures: int = Field(1, ge=1, le=1000)


class ReportingSection(Section):
    timezone: Annotated[str, BeforeValidator(values.timezone)] = "UTC"


class LoggingSection(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(Section):
    """What stands at the top of the file by itself."""

    data_dir: str = "./archiver-data"
    workers: int = Field(4, ge=1, le=64)


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
