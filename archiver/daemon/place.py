"""What a command works with: the database, the store, and a client for each Integrator."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine

from archiver.client import Client, RequestNote
from archiver.config import Config, Flow, Integrator
from archiver.daemon.passes import noting
from archiver.database import database
from archiver.process import few_arenas
from archiver.queries import flows, key_of, reading
from archiver.store import Store, migrate
from archiver.store.days import rezone
from archiver.worker_processes import Helpers


@dataclass(slots=True)
class Workplace:
    """Everything that is open while a command works on the archive. `keys`: the flows' keys in the database.

    A daemon that reloads its configuration puts other `config`, `clients` and `keys` in the place of these.
    """

    config: Config
    engine: Engine
    store: Store
    clients: dict[str, Client]
    keys: dict[Flow, int]
    on_request: Callable[[RequestNote], None]
    helpers: Helpers = field(default_factory=Helpers)

    def client(self, integrator: Integrator) -> Client:
        """A new client, which somebody has to close. Raises ConfigError for a token that is none."""
        share = self.store.shares.of(integrator.base_url)
        return Client(integrator, self.store.hold, on_request=self.on_request, share=share)

    def close(self) -> None:
        """End all calls."""
        for client in self.clients.values():
            client.close()


@contextmanager
def opened(config: Config, on_request: Callable[[RequestNote], None] | None = None) -> Iterator[Workplace]:
    """The archive with its schema brought up to date, and clients that have not said anything yet.

    `on_request` hears of each request that they will send.
    """
    few_arenas()
    with ExitStack() as stack:
        engine = stack.enter_context(database(config, pool_size=config.workers + 4))
        migrate(engine)
        store = Store(engine, owner=_name())
        stack.callback(store.release)
        place = Workplace(config, engine, store, {}, {}, noting(on_request))
        stack.callback(place.close)
        for name, integrator in config.integrators.items():
            place.clients[name] = place.client(integrator)
        place.keys = store.register(config.flows)
        rezone(engine, config.reporting.timezone)
        yield place


@contextmanager
def visited(config: Config, engine: Engine) -> Iterator[Workplace]:
    """A workplace on an archive that is not to be changed: no migration, no flow registered; flows that it does not
    know are left out."""
    with reading(engine) as reader:
        known = flows(reader)
    keys = {flow: key_of(known, flow.integrator, flow.project_id, flow.flow_id) for flow in config.flows}
    with ExitStack() as stack:
        store = Store(engine, owner=_name())
        stack.callback(store.release)
        met = {flow: key for flow, key in keys.items() if key is not None}
        place = Workplace(config, engine, store, {}, met, noting(None))
        stack.callback(place.close)
        for name, integrator in config.integrators.items():
            place.clients[name] = place.client(integrator)
        yield place


def _name() -> str:
    """Who holds a lease: for people who read `status`, and unique."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
