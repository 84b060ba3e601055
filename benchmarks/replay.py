"""How fast the replayed Logs API answers: first and deep pages, over HTTP, on an archive of millions of lines.

    python -m benchmarks.replay --lines 2000000

One flow with runs of 20 lines every five minutes, and one run with a tenth of all lines. The archive stays in the
folder, outside the checkout; where it is there already, it is only read.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import requests
from pydantic import SecretStr

from archiver import embedded, web
from archiver.config import Config, Web
from archiver.store import connect, migrate
from archiver.store.partitions import Partitions

TOKEN = "a-token-for-measuring"
PER_RUN = 20
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


def measure(url: str, rounds: int) -> None:
    """Prints milliseconds of each question: the first time, and the median and worst of the next ones."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"

    def ask(**params: object) -> requests.Response:
        asked = {"projectid": "p", "flowId": "f", "limit": 100, **params}
        answer = session.get(f"{url}/logs", params={name: str(value) for name, value in asked.items()}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    runs, lines = ask(log_type=1).json()["count"], ask(log_type=3).json()["count"]
    long = ask(log_type=1, limit=1, page=runs - runs // 2 + 1).json()["results"][0]["filename_uuid"]
    in_long = ask(log_type=3, original_filename_uuid=long).json()["count"]
    print(f"{runs:,} runs, {lines:,} lines, {in_long:,} of them in one run; pages of 100")
    sku = {"search_field.1": "sku", "search_value.1": "SKU-77"}
    common = {"search_field.1": "currency", "search_value.1": "TRY"}
    questions: dict[str, tuple[dict[str, object], int]] = {
        "runs, first page": ({"log_type": 1}, 1),
        "runs, anywhere": ({"log_type": 1}, runs // 100),
        "lines, first page": ({"log_type": 3}, 1),
        "lines, anywhere": ({"log_type": 3}, lines // 100),
        "lines of the long run, anywhere": ({"log_type": 3, "original_filename_uuid": long}, max(1, in_long // 100)),
        "search of a SKU": ({"log_type": 3, **sku}, 1),
        "search of what every line has, page by page": ({"log_type": 3, **common}, -1),
    }
    for name, (question, pages) in questions.items():
        times = []
        for turn in range(rounds):
            page = turn + 1 if pages < 0 else 1 + turn * 7919 % pages
            began = time.perf_counter()
            answer = ask(page=page, **question)
            times.append((time.perf_counter() - began) * 1000)
            assert answer.json()["results"]
        first, rest = times[0], times[1:]
        print(f"{name:45} first {first:8.1f} ms   median {statistics.median(rest):6.1f}   worst {max(rest):7.1f}")
    print(f"memory of this process at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


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
        if not made:
            make(dsn, asked.lines)
        with served(dsn) as url:
            measure(url, asked.rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
