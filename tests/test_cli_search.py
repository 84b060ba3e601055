"""`archiver search` and `archiver history`: what they print, for programs and people, and what they make of slips."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from archiver import cli
from archiver.config import Flow
from archiver.logs import Row, dump_exact, parse_line, parse_page, parse_run
from archiver.store import Store, connect, migrate

HOSTILE = (
    "'; DROP TABLE archive.line; --",
    "%",
    "_",
    "100%_\\",
    'a"b',
    "\\",
    "x\x00y",
    "\udcff",
    "{}",
    "%(v0)s",
    "é" * 500,
)
LINES: dict[str, list[Row]] = {
    "price": [
        {"sku": "A-1", "message": "sent", "price": 349.9, "status": 2},
        {"sku": "A-1", "message": "too \x1b[31mdear", "price": "349.9", "status": 3, "note": "a=b"},
        {"sku": "A-2", "message": "sent", "price": 7, "status": 2, "barcode": "A-1"},
    ],
    "stock": [
        {"sku": "A-1", "message": "stocked", "stock": 0, "status": 2},
        *({"sku": f"H-{n}", "note": value, "status": 2} for n, value in enumerate(HOSTILE)),
    ],
}


class Said(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def one(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


@pytest.fixture(scope="module")
def filled(postgres: str) -> Iterator[str]:
    """An archive of two flows with a run each, written as a pass does; no test changes it."""
    name = f"find_{uuid.uuid4().hex}"
    dsn = urlsplit(postgres)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        engine = connect(dsn)
        migrate(engine)
        store = Store(engine, "test")
        for number, (flow, lines) in enumerate(LINES.items()):
            _fill(store, Flow("prod", "p", "brand", flow, flow), 100 * number, lines)
        store.close()
        yield dsn
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _fill(store: Store, flow: Flow, first: int, lines: list[Row]) -> None:
    rows = [
        {
            "id": first + number,
            "created": f"2025-03-0{1 + number % 9}T10:00:00+00:00",
            "original_filename_uuid": f"run-{flow.name}",
            "process_group_id": "send",
            "row_num": number + 1,
            "state": 3,
            **line,
        }
        for number, line in enumerate(lines)
    ]
    main = {
        "id": 9000 + first,
        "created": "1740787200000",
        "filename_uuid": f"run-{flow.name}",
        "state": 3,
        "status": 2,
    }
    lease = store.leases.claim(store.register([flow])[flow])
    assert lease is not None
    page = parse_page(dump_exact({"results": rows}).encode())
    with store.writing(lease) as writer:
        writer.put_runs([parse_run(main)])
        writer.put_lines(map(parse_line, page.rows), (9000 + first, f"run-{flow.name}", "2025-03-01T00:00:00+00:00"))


@pytest.fixture
def archiver(
    filled: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    for name in ("ARCHIVER_CONFIG", "COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", filled)

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        status = cli.main(arguments)
        return Said(status, *capsys.readouterr())

    return run


def view_columns(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [one.name for one in connection.execute("SELECT * FROM reporting.line LIMIT 0").description or ()]


def test_search_as_json_and_csv_are_the_views_rows_newest_first(archiver: Callable[..., Said], filled: str) -> None:
    said = archiver("search", "sku=A-1", "--json")
    assert (said.status, said.err) == (0, "")
    assert [(row["flow_name"], row["log_id"]) for row in said.rows] == [("price", 1), ("stock", 100), ("price", 0)]
    assert list(said.rows[0]) == view_columns(filled)
    assert "\x1b" not in said.out
    assert len(archiver("search", "sku=A-1", "--json", "--limit", "2").rows) == 2
    table = list(csv.DictReader(io.StringIO(archiver("search", "sku=A-1", "--csv").out)))
    assert [row["log_id"] for row in table] == ["1", "100", "0"]
    assert list(table[0]) == view_columns(filled)
    assert archiver("search", "sku=none", "--csv").out == ",".join(view_columns(filled)) + "\n"
    assert archiver("search", "sku=none", "--json") == Said(0, "[]\n", "")


@pytest.mark.parametrize("command", ["runs", "errors", "status", "search sku=A-1", "history sku=A-1"])
def test_what_is_read_can_be_had_as_csv_with_the_same_columns_and_rows(
    archiver: Callable[..., Said], command: str
) -> None:
    rows = archiver(*command.split(), "--json").rows
    table = csv.DictReader(io.StringIO(archiver(*command.split(), "--csv").out))
    found = list(table)
    assert len(found) == len(rows)
    assert [name for name in table.fieldnames or () if not rows or name in rows[0]] == list(table.fieldnames or ())
    assert [row["flow_name"] for row in found] == [row["flow_name"] for row in rows]
    assert "leave one out" in archiver(*command.split(), "--csv", "--json").err


def test_csv_of_a_run_is_its_lines_and_nothing_in_it_is_a_formula(archiver: Callable[..., Said]) -> None:
    (run,) = archiver("runs", "--flow", "stock", "--json").rows
    lines = list(csv.DictReader(io.StringIO(archiver("show", run["run_id"], "--csv").out)))
    assert len(lines) == len(archiver("show", run["run_id"], "--json").one["lines"]) > 0
    said = archiver("sql", "--csv", "SELECT '=1+1' a, '-5' b, -5.50 c, ' @x' d, '%18' e, '-x' f, NULL g, '+90 5' h")
    assert said.out.splitlines()[1] == "'=1+1,-5,-5.50,' @x,%18,'-x,,'+90 5"


def test_tables_for_people_give_up_width_where_they_have_most_of_it(
    archiver: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    head, row, *_ = archiver(
        "sql", "SELECT repeat('x', 900000) AS long, 7 AS n, repeat('y', 12) AS short"
    ).out.splitlines()
    assert head.split() == ["long", "n", "short"]
    assert row == f"{'x' * 42}…  7  {'y' * 12}"


def test_search_is_narrowed_by_what_stands_beside(archiver: Callable[..., Said]) -> None:
    def found(*arguments: str) -> list[int]:
        said = archiver("search", "--json", *arguments)
        assert said.status == 0, said.err
        return [row["log_id"] for row in said.rows]

    assert found("price=349.90") == [0]
    assert found("price=349.9") == [1, 0]
    assert found("sku=A-1", "price=349.9", "status=failed") == found("sku=A-1", "--status", "failed") == [1]
    assert found("A-1") == [2, 1, 100, 0]
    assert found("=a=b") == found("note=a=b") == [1]
    assert found("sku=A-1", "--flow", "stock") == [100]
    assert found("sku=A-1", "--since", "2025-03-02") == [1]
    assert found("sku=A-1", "--until", "2025-03-01") == [100, 0]
    assert found("--run", "run-price", "--status", "success") == found("--run", "9000", "--status", "success") == [2, 0]
    assert found("row_num=2", "--flow", "price") == found("log_id=1") == [1]
    assert found("step_id=send", "run_id=run-price") == [2, 1, 0]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_no_value_is_more_than_a_value(archiver: Callable[..., Said], number: int) -> None:
    for word in (f"note={HOSTILE[number]}", HOSTILE[number]):
        said = archiver("search", word, "--json")
        assert said.status == 0, said.err
        assert [row["log_id"] for row in said.rows] == [101 + number]
    said = archiver("search", f"{HOSTILE[number]}=1")
    assert (said.status, said.out) == (0, "")
    assert said.err.startswith("no lines")
    assert archiver("history", f"note={HOSTILE[number]}").status == 0


def test_search_for_people(archiver: Callable[..., Said]) -> None:
    said = archiver("search", "A-1")
    assert said.status == 0
    assert [line.split()[2] for line in said.out.splitlines()] == ["STATUS", "price", "price", "stock", "price"]
    assert "barcode" in said.out
    assert "too \\x1b[31mdear" in said.out
    assert "there are more" in archiver("search", "A-1", "-n", "3").err
    assert "there are more" not in archiver("search", "A-1", "-n", "4").err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("skuu=A-1",), 0, "did you mean sku?"),
        (("zzzz=1",), 0, "no line has a field called zzzz"),
        (("SKU=A-1",), 0, "did you mean sku?"),
        (("status:", "failed"), 0, "did you mean status=failed?"),
        (("row_num=99",), 0, "no lines"),
        ((), 2, "say what to look for"),
        (("created_at=2025-03-01",), 2, "--since and --until"),
        (("flow_name=price",), 2, "--flow"),
        (("sku=A-1", "--flow", "prices"), 2, "did you mean 'price'?"),
        (("sku=A-1", "--run", "nothing"), 2, "no run has the id 'nothing'"),
        (
            ("sku=A-1", "--run", "run-price", "--flow", "stock"),
            2,
            "no run of stock has the id 'run-price'; it is one of price",
        ),
        (("sku=A-1", "--status", "failing"), 2, "--status"),
        (("sku=A-1", "--since", "some day"), 2, "is no time"),
        (("sku=A-1", "--json", "--csv"), 2, "exclude each other"),
    ],
)
def test_slips_are_explained(
    archiver: Callable[..., Said], arguments: tuple[str, ...], status: int, words: str
) -> None:
    said = archiver("search", *arguments)
    assert (said.status, said.out) == (status, "")
    assert words in said.err


@pytest.mark.parametrize("command", ["search", "history"])
@pytest.mark.parametrize(
    "words", [("sku = A-1",), ("sku= A-1",), ("sku", "=", "A-1"), ("sku=", "A-1"), ("sku", "=A-1"), ("sku:A-1",)]
)
def test_a_pair_that_is_written_otherwise_is_told_how(
    archiver: Callable[..., Said], command: str, words: tuple[str, ...]
) -> None:
    said = archiver(command, *words)
    assert (said.status, said.out) == (0, "")
    assert said.err.startswith("no lines\ndid you mean sku=A-1? ")
    assert archiver(command, *words, "--json") == Said(0, "[]\n", "")


@pytest.mark.parametrize("words", [("sku=a-1",), ("message=too",), ("nowhere",), ("sku=A-1", "status=empty")])
def test_an_empty_answer_says_how_values_are_compared(archiver: Callable[..., Said], words: tuple[str, ...]) -> None:
    for command in ("search", "history"):
        said = archiver(command, *words)
        assert (said.status, said.out) == (0, "")
        assert "compared whole and exactly" in said.err
        assert "did you mean" not in said.err
    assert archiver("search", "--status", "unknown").err == "no lines\n"


@pytest.mark.parametrize("command", ["search", "history"])
def test_a_narrow_terminal_cuts_no_answer_off(
    archiver: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table = archiver(command, "sku=A-1").out.partition("\n\n")[0].splitlines()
    assert "    too \\x1b[31mdear" in table
    assert max(map(len, table)) <= 60


def test_history_tells_a_story_in_the_order_of_time(archiver: Callable[..., Said], filled: str) -> None:
    rows = archiver("history", "sku=A-1", "--json").rows
    assert list(rows[0]) == [*view_columns(filled), "answer", "turn"]
    assert [(row["flow_name"], row["status"], row["turn"]) for row in rows] == [
        ("price", "success", None),
        ("stock", "success", None),
        ("price", "failed", "broke"),
    ]
    assert [row["log_id"] for row in archiver("history", "sku=A-1", "--json", "-n", "1").rows] == [1]
    assert archiver("history", "sku=A-1", "--json", "-n", "1").rows[0]["turn"] == "broke"
    assert archiver("history", "sku=A-1", "--csv").out.splitlines()[3].endswith(",broke")
    said = archiver("history", "sku=A-1")
    assert said.status == 0
    lines = said.out.splitlines()
    assert "first failure" in lines[3]
    assert "3 lines: 2 success, 1 failed" in said.out
    assert "price: fails since 2025-03-0" in said.out
    assert "last answer: too \\x1b[31mdear" in said.out
    assert archiver("history", "sku=none", "--json") == Said(0, "[]\n", "")
    assert archiver("history", "sku=none").err.startswith("no lines")
