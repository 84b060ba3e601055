"""Processes that end by SIGKILL at a named commit.

    with Mortals(config_file, dsn) as mortals:
        assert mortals.live("before", 3)     # killed right before its third commit
        mortals.live()                       # lives to the end of its turn

A server process imports the archiver once and forks a child for each life, so that hundreds of kills take seconds. The
sides of a commit: `before` it is sent, `during` it (sent, and not waited for), `after` the server has said that it is
done. What is counted are the commits of a turn that have written something, from its lease on.
"""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Self, cast

import psycopg
from sqlalchemy import Engine

from archiver import config
from archiver.archive import archive_flow
from archiver.client import Client
from archiver.client.login import LoginHold
from archiver.logs import LogType
from archiver.messages import recognise
from archiver.store import Store, connect, ledger

SIDES = ("before", "during", "after")
NEVER = "never"


class Mortals:
    """The server process, from outside."""

    def __init__(self, configuration: Path, dsn: str) -> None:
        self._command = [sys.executable, "-m", "tests.faults.mortal", str(configuration), dsn]
        self.kills = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def live(self, side: str = NEVER, nth: int = 0, naive: str = "-") -> bool:
        """One life; whether it was ended by SIGKILL. `naive` is a way of working that loses something."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(side, nth, naive, file=self._process.stdin, flush=True)
        status = int(self._process.stdout.readline())
        assert status in (0, -signal.SIGKILL), f"a life ended with status {status}"
        self.kills += status != 0
        return status != 0


def main() -> None:
    """The server process: a life for each line of standard input."""
    loaded = config.load(Path(sys.argv[1]), {})
    warm(loaded)
    for line in sys.stdin:
        side, nth, naive = line.split()
        child = os.fork()
        if not child:
            status = 1
            try:
                live(loaded, sys.argv[2], side, int(nth), naive)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def warm(loaded: config.Config) -> None:
    """Do once what every life would do for itself: patterns and the digest of the credentials are half of its time."""
    hashlib.pbkdf2_hmac = functools.cache(hashlib.pbkdf2_hmac)  # type: ignore[assignment]
    for integrator in loaded.integrators.values():
        with Client(integrator, cast(LoginHold, None)) as client:  # nobody logs in here
            client._login._credentials()
    recognise("warm")


def live(loaded: config.Config, dsn: str, side: str, nth: int, naive: str) -> None:
    """A turn of the first flow."""
    store = Store(connect(dsn, pool_size=2), f"mortal-{os.getpid()}")
    flow = loaded.flows[0]
    key = store.register([flow])[flow]
    lease = None
    while lease is None:  # whoever had the lease has been silent for longer than it lasts, or is overtaken
        with store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE archive.checkpoint SET lease_until = NULL WHERE flow_key = %s", (key,))
        lease = store.leases.claim(key)
    if naive != "-":
        NAIVE[naive]()
    arm(store.engine, side, nth)
    with Client(loaded.integrators[flow.integrator], store.hold) as client:
        report = archive_flow(flow, client, store, lease, eager=True)
    if report.crash is not None:
        raise report.crash
    store.close()


def arm(engine: Engine, side: str, nth: int) -> None:
    """Let the process die at its nth commit from now on."""
    commit, main_thread, count = engine.dialect.do_commit, threading.current_thread(), 0

    def do_commit(connection: Any) -> None:
        nonlocal count
        raw = connection.driver_connection
        here = False
        if threading.current_thread() is main_thread and has_written(raw):
            count += 1
            here = count == nth
        if here and side == "before":
            die()
        if here and side == "during":
            raw.pgconn.send_query(b"COMMIT")
            raw.pgconn.flush()
            die()
        commit(connection)
        if here and side == "after":
            die()

    engine.dialect.do_commit = do_commit  # type: ignore[method-assign, assignment]


def has_written(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()
    return row is not None and bool(row[0])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- ways of working that lose something ---


def state_first() -> None:
    """The state of the pass is committed, then the rows."""
    from archiver.archive.poll import _Pass
    from tests.test_poll import _state_first

    window = _state_first(_Pass.window)
    _Pass.window = window  # type: ignore[method-assign]


def no_obligation() -> None:
    """That a run owes its lines is known to this process alone."""
    runs = ledger._TARGETS[LogType.MAIN]
    ledger._TARGETS[LogType.MAIN] = runs._replace(values=", 'sealed', NULL, now()")


NAIVE = {"state-first": state_first, "no-obligation": no_obligation}


if __name__ == "__main__":
    main()
