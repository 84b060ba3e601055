"""The yardstick: a bare single-threaded loop. requests, orjson, COPY to staging, upsert, a commit per ten pages, and
nothing else: no certificate, no hash, no checkpoint, no steps, nothing of a row kept that has no column or plain field.

    python -m benchmarks.bare_loop DSN JSON-OF-THE-SERVER
"""

from __future__ import annotations

import json
import sys

import orjson
import psycopg
import requests
from psycopg import sql

FIELDS = (
    "id", "created", "finished", "process_group_id", "process_group_name", "parent_process_group_id",
    "original_filename_uuid", "filename_uuid", "state", "status", "fragment_count", "process_count", "success_count",
    "fail_count", "in_bound", "schedule", "is_triggered", "triggered_by", "log_type", "flow_order", "is_send_S3",
    "row_num",
)  # fmt: skip
COLUMNS = ("log_id", *(name.lower() for name in FIELDS[1:]), "fields")
NAMES = ", ".join(COLUMNS)
UPDATES = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in ("log_id", "created"))
UPSERT = sql.SQL(
    f"INSERT INTO archive.line (flow_key, {NAMES}, form, src_hash) SELECT %s, {NAMES}, 0, 0 FROM staged"
    f" ON CONFLICT (log_id, flow_key, created) DO UPDATE SET {UPDATES}"
)


def get(session: requests.Session, url: str, **params: object) -> list[dict[str, object]]:
    answer = session.get(f"{url}/logs", params=params, timeout=60)  # type: ignore[arg-type]
    if answer.status_code == 404:
        return []
    answer.raise_for_status()
    rows: list[dict[str, object]] = orjson.loads(answer.content)["results"]
    return rows


def store(connection: psycopg.Connection[object], flow_key: int, rows: list[dict[str, object]]) -> None:
    known = frozenset(FIELDS)
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(f"CREATE TEMP TABLE staged ON COMMIT DROP AS SELECT {NAMES} FROM archive.line WITH NO DATA")
        )
        with cursor.copy(sql.SQL(f"COPY staged ({NAMES}) FROM STDIN")) as copy:
            for row in rows:
                fields = orjson.dumps({name: value for name, value in row.items() if name not in known}).decode()
                copy.write_row((*(row.get(name) for name in FIELDS), fields))
        cursor.execute(UPSERT, (flow_key,))
    connection.commit()


def main(dsn: str, server: str) -> None:
    world = json.loads(server)
    url = world["base_url"]
    session = requests.Session()
    login = session.post(
        f"{url}/api/nifi/login", data={"username": world["username"], "password": world["password"]}, timeout=60
    )
    session.headers["Authorization"] = f"Bearer {login.text}"
    with psycopg.connect(dsn) as connection:
        for key, flow in enumerate(world["flows"], 1):
            base = {"projectid": flow["project_id"], "flowId": flow["id"], "limit": 100}
            page, runs = 1, []
            while found := get(session, url, **base, log_type=1, page=page):
                runs += found
                page += 1
            for run in runs:
                batch: list[dict[str, object]] = []
                page = 1
                while found := get(
                    session, url, **base, log_type=3, page=page, original_filename_uuid=run["filename_uuid"]
                ):
                    batch += found
                    page += 1
                    if len(batch) >= 1000:
                        store(connection, key, batch)
                        batch = []
                if batch:
                    store(connection, key, batch)


if __name__ == "__main__":
    main(*sys.argv[1:])
