"""The yardsticks: what is left of archiving when nothing is kept of a run but its lines' columns and plain fields.

    python -m benchmarks.bare_loop DSN JSON-OF-THE-SERVER [--loop A|B] [--fetchers 4] [--batch 10000]

A: one thread, requests, COPY to staging, upsert, a commit per ten pages.
B: http.client in some threads that fetch and parse, one that writes, 10,000 rows a commit; page 1 of a run tells how
   many pages to ask for. As fast as Python does this, as far as we know.

Neither has a certificate, a hash, a checkpoint, steps, or an index besides the primary key; both begin from nothing.
The rows go to a table of their own, `bare.line`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from itertools import count
from queue import Queue
from threading import Condition, Thread
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import orjson
import psycopg
from psycopg import sql

FIELDS = (
    "id", "created", "finished", "process_group_id", "process_group_name", "parent_process_group_id",
    "original_filename_uuid", "filename_uuid", "state", "status", "fragment_count", "process_count", "success_count",
    "fail_count", "in_bound", "schedule", "is_triggered", "triggered_by", "log_type", "flow_order", "is_send_S3",
    "row_num",
)  # fmt: skip
TYPES = "bigint timestamptz timestamptz text text text text text smallint smallint int int int int boolean text boolean"
TYPES += " text smallint int smallint int jsonb"
COLUMNS = ("log_id", *(name.lower() for name in FIELDS[1:]), "fields")
NAMES = ", ".join(COLUMNS)
UPDATES = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in ("log_id", "created"))
TABLE = f"""
    DROP SCHEMA IF EXISTS bare CASCADE;
    CREATE SCHEMA bare;
    CREATE TABLE bare.line (
        flow_key int NOT NULL,
        {", ".join(f"{name} {kind}" for name, kind in zip(COLUMNS, TYPES.split(), strict=True))},
        PRIMARY KEY (log_id, flow_key, created)
    )
"""
STAGED = f"CREATE TEMP TABLE staged ON COMMIT DROP AS SELECT flow_key, {NAMES} FROM bare.line WITH NO DATA"
COPY = f"COPY staged (flow_key, {NAMES}) FROM STDIN"
UPSERT = f"""
    INSERT INTO bare.line (flow_key, {NAMES}) SELECT flow_key, {NAMES} FROM staged
    ON CONFLICT (log_id, flow_key, created) DO UPDATE SET {UPDATES}
"""
_KNOWN = frozenset(FIELDS)

Row = dict[str, Any]
Page = dict[str, Any]


def columns(row: Row) -> Iterator[object]:
    yield from map(row.get, FIELDS)
    yield orjson.dumps({name: value for name, value in row.items() if name not in _KNOWN}).decode()


def store(connection: psycopg.Connection[Any], rows: Sequence[tuple[int, Row]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(cast("sql.SQL", STAGED))
        with cursor.copy(cast("sql.SQL", COPY)) as copy:
            for key, row in rows:
                copy.write_row((key, *columns(row)))
        cursor.execute(cast("sql.SQL", UPSERT))
    connection.commit()


# --- A ---


class Session:
    """One connection by requests."""

    def __init__(self, world: dict[str, Any]) -> None:
        import requests

        self._url = f"{world['base_url']}/logs"
        self._session = requests.Session()
        account = {"username": world["username"], "password": world["password"]}
        token = self._session.post(f"{world['base_url']}/api/nifi/login", data=account, timeout=60).text
        self._session.headers["Authorization"] = f"Bearer {token}"

    def page(self, asked: Row) -> Page:
        answer = self._session.get(self._url, params=asked, timeout=60)
        return _page(answer.status_code, answer.content)


def loop_a(connection: psycopg.Connection[Any], world: dict[str, Any]) -> None:
    session = Session(world)
    for key, flow in enumerate(world["flows"], 1):
        for run in _runs(session, flow):
            batch: list[tuple[int, Row]] = []
            for page in count(1):
                rows = session.page(_asked(flow, page, run))["results"]
                batch += [(key, row) for row in rows]
                if batch and (not rows or len(batch) >= 1000):
                    store(connection, batch)
                    batch = []
                if not rows:
                    break


# --- B ---


class Wire:
    """One connection by http.client."""

    def __init__(self, world: dict[str, Any], token: str = "") -> None:
        self._connection = HTTPConnection(urlsplit(world["base_url"]).netloc, timeout=60)
        self.token = token or self._log_in(world)

    def _log_in(self, world: dict[str, Any]) -> str:
        account = urlencode({"username": world["username"], "password": world["password"]})
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", "/api/nifi/login", account, form)
        return self._connection.getresponse().read().decode()

    def page(self, asked: Row) -> Page:
        self._connection.request("GET", f"/logs?{urlencode(asked)}", headers={"Authorization": f"Bearer {self.token}"})
        answer = self._connection.getresponse()
        return _page(answer.status, answer.read())


Task = tuple[int, Row, Row, int]  # flow's number, flow, run, page


class Tasks:
    """Pages to fetch; those of a run that has begun come before those of the next one."""

    def __init__(self, runs: Sequence[tuple[int, Row, Row]]) -> None:
        self._first = iter(runs)
        self._rest: list[Task] = []
        self._begun = 0  # runs whose first page is under way
        self._change = Condition()

    def take(self) -> Task | None:
        with self._change:
            while True:
                if self._rest:
                    return self._rest.pop()
                first = next(self._first, None)
                if first is not None:
                    self._begun += 1
                    return (*first, 1)
                if not self._begun:
                    return None
                self._change.wait()

    def add(self, key: int, flow: Row, run: Row, total: int) -> None:
        with self._change:
            self._rest += [(key, flow, run, page) for page in range(-(-total // 100), 1, -1)]
            self._begun -= 1
            self._change.notify_all()


def loop_b(connection: psycopg.Connection[Any], world: dict[str, Any], fetchers: int, batch: int) -> None:
    wire = Wire(world)
    tasks = Tasks([(key, flow, run) for key, flow in enumerate(world["flows"], 1) for run in _runs(wire, flow)])
    found: Queue[list[tuple[int, Row]] | None] = Queue(maxsize=2 * fetchers + batch // 100)

    def fetch() -> None:
        wire_ = Wire(world, wire.token)
        while (task := tasks.take()) is not None:
            key, flow, run, number = task
            page = wire_.page(_asked(flow, number, run))
            if number == 1:
                tasks.add(key, flow, run, page["count"])
            found.put([(key, row) for row in page["results"]])
        found.put(None)

    threads = [Thread(target=fetch) for _ in range(fetchers)]
    for thread in threads:
        thread.start()
    going, rows = fetchers, list[tuple[int, Row]]()
    while going:
        page = found.get()
        if page is None:
            going -= 1
        else:
            rows += page
        if len(rows) >= batch or (rows and not going):
            store(connection, rows)
            rows = []


def _runs(wire: Session | Wire, flow: Row) -> list[Row]:
    runs: list[Row] = []
    for page in count(1):
        rows = wire.page(_asked(flow, page))["results"]
        if not rows:
            return runs
        runs += rows
    raise AssertionError


def _asked(flow: Row, page: int, run: Row | None = None) -> Row:
    asked = {"projectid": flow["project_id"], "flowId": flow["id"], "limit": 100, "page": page}
    if run is None:
        return asked | {"log_type": 1}
    return asked | {"log_type": 3, "original_filename_uuid": run["filename_uuid"]}


def _page(status: int, body: bytes) -> Page:
    if status == 404:
        return {"results": [], "count": 0}
    if status != 200:
        raise SystemExit(f"the Integrator answered {status}")
    return cast(Page, orjson.loads(body))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare_loop", description=__doc__)
    parser.add_argument("dsn")
    parser.add_argument("server")
    parser.add_argument("--loop", choices=["A", "B"], default="A")
    parser.add_argument("--fetchers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=10_000)
    asked = parser.parse_args()
    world = json.loads(asked.server)
    with psycopg.connect(asked.dsn) as connection:
        connection.execute(cast("sql.SQL", TABLE))
        connection.commit()
        if asked.loop == "A":
            loop_a(connection, world)
        else:
            loop_b(connection, world, asked.fetchers, asked.batch)


if __name__ == "__main__":
    main()
