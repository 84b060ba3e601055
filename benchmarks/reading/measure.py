"""What people ask, each several times in a warm database.

Medians: of the time that went by, which neighbours on the machine make longer, and of the time that the processors of
this process and its Postgres worked, which is what goes by where nobody else works. The latter is held against what is
allowed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine, text

from archiver import queries
from archiver.queries import Criterion, Reader, RunFilter, Search

Ask = Callable[[Reader], int]


class Question(NamedTuple):
    """`most`: milliseconds that the issue allows; None where it says nothing. `ask` answers with a number of rows."""

    what: str
    most: float | None
    ask: Ask


class Answered(NamedTuple):
    question: Question
    median: float
    work: float
    rows: int


def measure(engine: Engine, rounds: int) -> int:
    """Prints a table; answers how many figures are missed."""
    with engine.connect() as connection:
        for name, value in connection.execute(text(_SIZES)).one()._mapping.items():
            print(f"{name}: {value}")
    missed = 0
    print("\n| question | rows | ms | ms of work | at most |\n|---|---|---|---|---|")
    for question in questions(engine):
        one = answered(engine, question, rounds)
        limit = "" if question.most is None else f"{question.most:g}"
        slow = question.most is not None and one.work > question.most
        missed += slow
        print(
            f"| {question.what} | {one.rows} | {one.median:.1f} | {one.work:.1f} | {limit}{' !' if slow else ''} |",
            flush=True,
        )
    return missed


def answered(engine: Engine, question: Question, rounds: int) -> Answered:
    """The whole of it, as a command does: a transaction of its own, settings, planning, reading of the rows."""
    times, work, rows = [], [], 0
    with engine.connect() as connection:  # the pool's first, which every round gets
        server = connection.scalar(text("SELECT pg_backend_pid()"))
    for number in range(rounds + 2):
        began, before = time.perf_counter(), _worked(server)
        with queries.reading(engine) as reader:
            rows = question.ask(reader)
        if number > 1:  # two to warm up
            times.append((time.perf_counter() - began) * 1000)
            work.append(_worked(server) - before)
    return Answered(question, statistics.median(times), statistics.median(work), rows)


def _worked(server: int) -> float:
    """Milliseconds that this process and a backend have had a processor, as Linux counts them."""
    return time.process_time() * 1000 + int(Path(f"/proc/{server}/schedstat").read_text().split()[0]) / 1e6


# All lines, and what they take on disk with their indexes.
_SIZES = """
    SELECT runs, lines, round(heap / lines) AS "bytes of a line in its table", round(indexes / lines) AS "in indexes",
        round((heap + indexes) / lines) AS "bytes of a line in all (at most 650)"
    FROM (
        SELECT (SELECT count(*) FROM archive.run) AS runs, (SELECT sum(line_count) FROM archive.run) AS lines,
            sum(pg_table_size(inhrelid)) AS heap, sum(pg_indexes_size(inhrelid)) AS indexes
        FROM pg_inherits WHERE inhparent = 'archive.line'::regclass
    ) sizes
"""


def questions(engine: Engine) -> Iterator[Question]:
    """Everything that is measured, by example values that the archive holds."""
    with engine.connect() as connection:
        end: datetime = connection.execute(text("SELECT max(created) FROM archive.run")).scalar_one()
        rare = connection.scalar(
            text(
                "SELECT coalesce((SELECT fields ->> 'sku' FROM archive.line WHERE log_id % 100003 = 7 LIMIT 1),"
                " (SELECT max(fields ->> 'sku') FROM archive.line))"
            )
        )
        flow, usual = connection.execute(
            text(
                "SELECT flow_key, fields ->> 'sku' FROM archive.line WHERE created > :at AND fields ->> 'sku' > 'KZK-5'"
                " ORDER BY created LIMIT 1"
            ),
            {"at": end - timedelta(days=40)},
        ).one()
    yield from _searches(rare, usual, flow)
    yield from _histories(rare, usual)
    yield from _runs(end, flow)
    yield from _dashboards(end)


def _search(*pairs: tuple[str | None, str], **more: object) -> Ask:
    which = Search([Criterion(*pair) for pair in pairs], **more)  # type: ignore[arg-type]
    return lambda reader: len(list(queries.search(reader, which, 50)))


def _searches(rare: str, usual: str, flow: int) -> Iterator[Question]:
    yield Question("search of a rare SKU", 5, _search(("sku", rare)))
    yield Question("search of an absent value", 5, _search(("sku", "NOTHING-1")))
    yield Question("search of an absent number", 5, _search(("sku", "1234567")))
    yield Question("search of an absent value in a flow", 5, _search(("sku", "NOTHING-1"), flow_keys=[flow]))
    yield Question("search of an absent value of 300 characters", 5, _search(("sku", "x" * 300)))
    yield Question("search of a usual SKU, latest 50", 20, _search(("sku", usual)))
    yield Question("search of a common value (a third of all lines), latest 50", 20, _search(("currency", "TRY")))
    yield Question("search of a common value in a flow, latest 50", 20, _search(("warehouse", "IZM-03"), flow_keys=[2]))
    yield Question("search of a common number (1 of 230), latest 50", 20, _search(("stock", "7")))
    yield Question("search of a common SKU (1 of 350), latest 50", 20, _search(("sku", "TSH-1000-SYH-XS")))
    yield Question("search of a common SKU that failed", None, _search(("sku", "TSH-1000-SYH-XS"), statuses=["failed"]))
    yield Question("search of failed lines, latest 50", None, _search(statuses=["failed"]))
    yield Question("search of a rare value in any field", None, _search((None, rare)))
    yield Question("search of a common value in any field", None, _search((None, "TRY")))


def _histories(rare: str, usual: str) -> Iterator[Question]:
    def story(value: str, limit: int | None) -> Ask:
        which = Search([Criterion("sku", value)])
        return lambda reader: len(list(queries.history(reader, which, limit)))

    yield Question("history of a rare SKU", 20, story(rare, None))
    yield Question("history of a usual SKU, latest 50", 20, story(usual, 50))
    yield Question("history of a usual SKU, all", None, story(usual, None))


def _runs(end: datetime, flow: int) -> Iterator[Question]:
    def runs(**which: object) -> Ask:
        return lambda reader: len(list(queries.runs(reader, RunFilter(**which), 50)))  # type: ignore[arg-type]

    yield Question("runs --limit 50", 20, runs())
    yield Question("runs --limit 50 --flow", 20, runs(flow_keys=[flow]))
    for status in ("success", "failed", "empty", "in_progress", "unknown"):
        yield Question(f"runs --limit 50 --status {status}", 20, runs(statuses=[status]))
    for state in ("started", "in_progress", "finished", "unknown"):
        yield Question(f"runs --limit 50 --state {state}", 20, runs(states=[state]))
    yield Question("runs --limit 50 --since", 20, runs(since=end - timedelta(days=1)))
    yield Question("runs --limit 50 --until", 20, runs(until=end - timedelta(days=200)))
    yield Question("runs --limit 50 --status failed --until", 20, runs(statuses=["failed"], until=end - timedelta(200)))
    yield Question("runs --limit 50 --status failed --state started", 20, runs(statuses=["failed"], states=["started"]))

    yield Question(
        "runs that begin with a word", 20, lambda reader: len(queries.runs_named(reader, "4f1a", range(1, 11)))
    )
    yield Question(
        "runs that begin with no such word", 20, lambda reader: len(queries.runs_named(reader, "tişört", range(1, 11)))
    )


# What a dashboard asks of each view: the present, or a week.
_PANELS = {
    "flow": "SELECT * FROM reporting.flow",
    "run": "SELECT flow_name, status, count(*), avg(duration_seconds) FROM reporting.run"
    " WHERE started_at > %(end)s - interval '7 days' GROUP BY 1, 2",
    "step": "SELECT flow_name, step_name, avg(duration_seconds) FROM reporting.step"
    " WHERE started_at > %(end)s - interval '1 day' GROUP BY 1, 2",
    "line": "SELECT created_at, flow_name, message FROM reporting.line"
    " WHERE is_failed = 1 AND created_at > %(end)s - interval '1 day' ORDER BY 1 DESC LIMIT 100",
    "detail": "SELECT run_started_at, flow_name, outcome, byte_size FROM reporting.detail"
    " WHERE run_started_at > %(end)s - interval '1 day' ORDER BY 1 DESC LIMIT 100",
    "error_group": "SELECT * FROM reporting.error_group ORDER BY occurrences DESC LIMIT 20",
    "run_daily": "SELECT day, flow_name, failed, lines, duration_p95_seconds FROM reporting.run_daily"
    " WHERE day > %(end)s - interval '90 days'",
    "flow_health": "SELECT * FROM reporting.flow_health",
    "archive_health": "SELECT * FROM reporting.archive_health",
}


def _dashboards(end: datetime) -> Iterator[Question]:
    for view, statement in _PANELS.items():
        yield Question(f"dashboard: {view}", 300, lambda reader, sql=statement: len(reader.rows(sql, end=end)))  # type: ignore[misc]
