"""The configuration: one YAML file, validated whole before anything starts.

`load` reads a file and raises ConfigError with all its mistakes at once; `default` is what holds without any file;
`example` is the text of a first one. What comes out is frozen, has every default applied, and prints no secret.
"""

from archiver.config.model import (
    ENVIRONMENTS,
    Alerts,
    Config,
    Database,
    Flow,
    Integrator,
    Logging,
    Reporting,
    Web,
)
from archiver.config.pasted import Pasted, filled, pasted
from archiver.config.reading import default, example, load
from archiver.config.values import is_loopback
from archiver.config.values import listen as listen_address

__all__ = [
    "ENVIRONMENTS",
    "Alerts",
    "Config",
    "Database",
    "Flow",
    "Integrator",
    "Logging",
    "Pasted",
    "Reporting",
    "Web",
    "default",
    "example",
    "filled",
    "is_loopback",
    "listen_address",
    "load",
    "pasted",
]
