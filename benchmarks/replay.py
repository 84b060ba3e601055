"""How fast the web server answers, over HTTP, on an archive of millions of lines: first and deep pages of the replayed
Logs API, and the pages for people.

    python -m benchmarks.replay --lines 2000000

One flow with runs of 20 lines every five minutes, and one run with a tenth of all lines. The archive stays in the
folder, outside the checkout; where it is there already, or one that `benchmarks.reading` made, it is only read. What
`work` is, benchmarks/reading/measure.py says; here it is that of the client, too.
"""

from __future__ import annotations

import argparse
import http.client
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlencode

import psycopg
from pydantic import SecretStr

from archiver import embedded, web
from archiver.config import Config, Web
from archiver.store import connect, migrate
from archiver.store.partitions import Partitions

TOKEN = "a-token-for-measuring"
PER_RUN = 20
MOST = 15  # milliseconds that a page of logs may take
MOST_OF_PAGES = 100  # and a page for people
END = datetime(2026, 1, 1, tzinfo=UTC)

_RUNS = """
    INSERT INTO archive.run (flow_key, log_id, created, finished, process_group_id, process_group_name, filename_uuid,
        original_filename_uuid, state, status, process_count, success_count, fail_count, in_bound, is_triggered,
        triggered_by, log_type, flow_order, is_send_s3, form, src_hash, archive_state, seen_at, line_count)
    SELECT 1, i, at, at + interval '40 s', 'f', 'price', md5('run' || i)::uuid::text, md5('run' || i)::uuid::text, 3, 2,
        %(per)s, %(per)s, 0, false, false, 'System', 1, 1, 0, 0, i, 'sealed', at,
        CASE WHEN i = %(runs)s / 2 THEN %(long)s ELSE %(per)s END
    FROM (SELECT i, timestamptz '2026-01-01 00:00Z' - (%(runs)s - i) * interval '5 min' AS at
        FROM generate_series(1, %(runs)s) i) planned
"""
_LINES = """
    INSERT INTO archive.line (flow_key, log_id, created, finished, process_group_id, process_group_name,
        parent_process_group_id, original_filename_uuid, filename_uuid, state, status, process_count, success_count,
        fail_count, in_bound, is_triggered, triggered_by, log_type, flow_order, is_send_s3, row_num, form, src_hash,
        fields)
    SELECT 1, r.log_id * 10000000 + n, r.created + n * interval '1 ms', r.finished, 'send', 'Send', 'f',
        r.filename_uuid, md5(r.log_id || '-' || n)::uuid::text, 3, CASE WHEN n %% 50 = 0 THEN 3 ELSE 2 END, 1, 1, 0,
        false, false, 'System', 3, 4, 0, n, 0, r.log_id * 10000000 + n,
        jsonb_build_object('sku', 'SKU-' || (r.log_id * 7 + n) %% 60000, 'message', 'Price was sent to the shop',
        'price', (n %% 900) / 10.0, 'currency', 'TRY')
    FROM archive.run r CROSS JOIN LATERAL generate_series(1, r.line_count) n
    WHERE r.log_id > %(after)s AND r.log_id <= %(upto)s
"""
_DAYS = """
    INSERT INTO archive.flow_day (flow_key, day, runs, succeeded, failed, empty, lines, failed_lines)
    SELECT 1, (created AT TIME ZONE 'UTC')::date, count(*), count(*), 0, 0, sum(line_count), 0
    FROM archive.run GROUP BY 2
"""


def make(dsn: str, lines: int) -> None:
    """The archive, in an empty database."""
    engine = connect(dsn)
    migrate(engine)
    long = lines // 10
    runs = (lines - long) // PER_RUN
    first = END.timestamp() - runs * 300
    months = {f"{datetime.fromtimestamp(first + day * 86_400, UTC):%Y-%m}" for day in range(runs // 288 + 2)}
    Partitions(engine).ensure(months)
    engine.dispose()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(
            "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)"
            " VALUES ('prod', 'p', 'brand', 'f', 'price')"
        )
        connection.execute("INSERT INTO archive.checkpoint (flow_key) VALUES (1)")
        connection.execute(_RUNS, {"runs": runs, "per": PER_RUN, "long": long})
        for after in range(0, runs, 5000):
            connection.execute(_LINES, {"after": after, "upto": after + 5000})
        connection.execute(_DAYS)
        connection.execute("VACUUM (ANALYZE)")


@contextmanager
def served(dsn: str) -> Iterator[str]:
    engine = connect(dsn)
    config = Config(path=None, data_dir=Path.cwd(), web=Web("127.0.0.1", 0, (SecretStr(TOKEN),)))
    with web.serving(engine, config, clock=lambda: datetime.now(UTC)) as server:
        yield server.url
    engine.dispose()


class Example(NamedTuple):
    """What is asked for: one flow, its longest run, a product, and what a great part of its lines has."""

    project_id: str
    flow_id: str
    run_id: str
    sku: str
    flow_key: int
    run_log_id: int
    line_log_id: int


_EXAMPLE = """
    SELECT f.project_id, f.flow_id, r.filename_uuid, l.fields ->> 'sku', f.flow_key, r.log_id, (
            SELECT log_id FROM archive.line o
            WHERE o.flow_key = f.flow_key AND o.original_filename_uuid = r.filename_uuid LIMIT 1
        )
    FROM archive.flow f JOIN (
        SELECT flow_key, fields FROM archive.line WHERE fields @> '{"currency": "TRY"}' OFFSET 1000 LIMIT 1
    ) l USING (flow_key)
    CROSS JOIN LATERAL (
        SELECT filename_uuid, log_id FROM archive.run r WHERE r.flow_key = f.flow_key ORDER BY line_count DESC LIMIT 1
    ) r
"""


class Client:
    """Asks a server of this process. `work` counts what the processors did for it: here, and in the database."""

    def __init__(self, url: str, dsn: str, example: Example, began: datetime) -> None:
        self._http = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._dsn, self._began = dsn, began
        self._always = {"projectid": example.project_id, "flowId": example.flow_id, "limit": 100}
        self._servers: list[int] = []

    def ask(self, **params: object) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self._body(self.logs(**params))))

    def logs(self, **params: object) -> str:
        """The path of a page of logs."""
        return f"/logs?{urlencode({**self._always, **params})}"

    def _body(self, path: str) -> bytes:
        self._http.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = self._http.getresponse()
        body = answer.read()
        assert answer.status == 200, f"{path}: {answer.status} {body!r}"
        return body

    def timed(self, path: str) -> tuple[float, float]:
        """Milliseconds that went by, and of work."""
        began, before = time.perf_counter(), self._worked()
        body = self._body(path)
        took = (time.perf_counter() - began) * 1000
        work = self._worked() - before
        assert not path.startswith("/logs?") or json.loads(body)["results"]
        return took, work

    def settle(self) -> None:
        """Find the database's processes that answer us: the pool keeps them."""
        with psycopg.connect(self._dsn) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_start > %s AND application_name = 'archiver web'"
                " AND backend_type = 'client backend'",
                [self._began],
            )
            self._servers = [pid for (pid,) in rows]

    def _worked(self) -> float:
        files = (Path(f"/proc/{server}/schedstat") for server in self._servers)
        backends = sum(int(file.read_text().split()[0]) for file in files)
        return time.process_time() * 1000 + backends / 1e6


def measure(client: Client, example: Example, rounds: int) -> None:
    """Prints milliseconds of each question: the first time, the median of the next ones, and of their work."""
    runs, lines = client.ask(log_type=1)["count"], client.ask(log_type=3)["count"]
    in_run = client.ask(log_type=3, original_filename_uuid=example.run_id)["count"]
    print(f"{runs:,} runs and {lines:,} lines in the flow, {in_run:,} of them in one run; pages of 100")
    sku = {"search_field.1": "sku", "search_value.1": example.sku}
    common = {"search_field.1": "currency", "search_value.1": "TRY"}
    questions: dict[str, tuple[dict[str, object], int]] = {
        "runs, first page": ({"log_type": 1}, 1),
        "runs, anywhere": ({"log_type": 1}, runs // 100),
        "lines, first page": ({"log_type": 3}, 1),
        "lines, anywhere": ({"log_type": 3}, lines // 100),
        "lines of the longest run, anywhere": (
            {"log_type": 3, "original_filename_uuid": example.run_id},
            max(1, in_run // 100),
        ),
        "search of a SKU": ({"log_type": 3, **sku}, 1),
        "search of what every line has, page by page": ({"log_type": 3, **common}, -1),
    }
    print("\n| question | first ms | ms | ms of work | at most |\n|---|---|---|---|---|")
    for name, (question, pages) in questions.items():
        client.settle()
        numbers = [turn + 1 if pages < 0 else 1 + turn * 7919 % pages for turn in range(rounds)]
        _tell(name, [client.timed(client.logs(page=number, **question)) for number in numbers], MOST)
    flow = f"/flows/{example.flow_key}"
    pages_of_people = {
        "the board": "/",
        "a flow, 30 days": f"{flow}?since=30d",
        "a flow, all of it": f"{flow}?since=all",
        "its runs that failed": f"{flow}?since=all&status=failed",
        "its longest run": f"{flow}/runs/{example.run_log_id}",
        "a line": f"{flow}/runs/{example.run_log_id}/line/{example.line_log_id}",
        "search of a SKU": f"/search?q=sku={example.sku}",
        "search of what a third of all lines has": "/search?q=currency=TRY",
        "history of a SKU": f"/history?q=sku={example.sku}",
        "kinds of errors": "/errors",
        "the archive": "/archive",
    }
    for name, path in pages_of_people.items():
        client.settle()
        _tell(f"page: {name}", [client.timed(path) for _ in range(rounds)], MOST_OF_PAGES)
    print(f"\nmemory of this process at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def _tell(name: str, timed: list[tuple[float, float]], most: float) -> None:
    (first, _), *rest = timed
    took, work = (statistics.median(one) for one in zip(*rest, strict=True))
    print(f"| {name} | {first:.1f} | {took:.1f} | {work:.1f} | {most}{' !' if work > most else ''} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()) / "archiver-replay")
    parser.add_argument("--rounds", type=int, default=40)
    asked = parser.parse_args()
    asked.dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    with embedded.running(asked.dir / "data") as dsn:
        with psycopg.connect(dsn) as connection:
            (made,) = connection.execute("SELECT to_regclass('archive.flow_day') IS NOT NULL").fetchone() or (False,)
        if made:
            engine = connect(dsn)
            migrate(engine)  # it may be older than the code, which would answer 503 then
            engine.dispose()
        else:
            make(dsn, asked.lines)
        with psycopg.connect(dsn) as connection:
            example = Example(*(connection.execute(_EXAMPLE.encode()).fetchone() or ()))
            (began,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
        with served(dsn) as url:
            measure(Client(url, dsn, example, began), example, asked.rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
