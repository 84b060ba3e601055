"""Everything that can go wrong, sorted by what the caller does next.

    ArchiverError
    ├── OperatorError          stop; somebody has to change something (exit status 2)
    │   ├── ConfigError            the configuration, all its mistakes at once
    │   ├── DatabaseUnavailable    no server, no such database, wrong password
    │   ├── SchemaMismatch         the database was made by another version
    │   │   ├── NoArchive              or holds no archive yet
    │   │   └── SchemaNewer            or was made by one that this version does not know
    │   ├── LoginRefused           the Integrator refused the credentials; held back until they change
    │   │   └── LoginHeld              they were refused before, and rest
    │   ├── RequestRefused         the Integrator answered 4xx: a wrong flow, project or parameter
    │   └── MissingExtra           a command whose optional packages are not installed
    ├── TryLater               a passing fault; the same call may succeed later
    │   ├── SourceUnavailable      no connection, 429, 5xx, a deadline passed
    │   ├── PageUnreadable         an answer that is no page of logs; never taken for an empty one
    │   └── DatabaseInterrupted    the database went away, or rolled back (`archiver.postgres`)
    ├── Stalled                the daemon lives and gets nowhere: it ends, its supervisor starts a new one (status 1)
    └── LeaseLost              another process works on the flow now; write nothing more

Rooms have kinds of their own below these, which only they tell apart.

The text of an error is one or two lines for a person: what, which setting, what to do. It never holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence


class ArchiverError(Exception):
    """The root: catching it catches everything that the archiver raises on purpose."""


class OperatorError(ArchiverError):
    """Somebody has to change something before this can work."""


class ConfigError(OperatorError):
    """The configuration cannot be used; `problems` names each mistake with its file, key, value and remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class DatabaseUnavailable(OperatorError):
    """There is no database to talk to."""


class SchemaMismatch(OperatorError):
    """The database's schema is not the one this version works with."""


class NoArchive(SchemaMismatch):
    """The database holds no archive yet."""


class SchemaNewer(SchemaMismatch):
    """The schema was made by a version of the archiver that this one does not know."""


class LoginRefused(OperatorError):
    """The Integrator refused the credentials; no login is tried again for `seconds`, or until they change."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class LoginHeld(LoginRefused):
    """The credentials were refused before, and rest: nothing was sent."""


class RequestRefused(OperatorError):
    """The Integrator refused a request for good: 400 to both spellings of the project parameter, or another 4xx."""


class MissingExtra(OperatorError):
    """A command needs an optional package that is not installed."""


def extra(name: str) -> str:
    """An extra, and how to install it: by its bare name pip would fetch a stranger, PyPI's own `archiver`."""
    return f"the extra archiver[{name}] (in the archiver's folder: pip install '.[{name}]')"


class TryLater(ArchiverError):
    """A passing fault: nothing was lost, the next turn asks again."""


class SourceUnavailable(TryLater):
    """The Integrator cannot be reached, is overloaded, or was too slow; `status` is its HTTP status, if any."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class PageUnreadable(TryLater):
    """An answer with status 200 that is not a page of logs."""


class Stalled(ArchiverError):
    """The daemon lives but makes no progress: it ends, so that its supervisor can start a new one."""


class LeaseLost(ArchiverError):
    """Another process holds the flow's lease; whatever this one still holds in its hands must not be written."""
