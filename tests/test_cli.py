"""The command line: exit statuses, JSON for programs, words for people, and nothing hostile on a terminal."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import typer
from psycopg import sql

from archiver import cli
from archiver.store import connect, migrate

HOSTILE = "a\x1b]0;owned\x07\x9b31m\u202e\u2066[bold]x[/bold]\r\nnext \N{LATIN SMALL LETTER U WITH DIAERESIS}"
UUIDS = [str(uuid.UUID(int=number << 96)) for number in range(8)]
FAILED = UUIDS[3]

_FLOWS = """
    INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)
    VALUES ('prod', 'p', 'brand', 'f1', 'price'), ('prod', 'p', 'brand', 'f2', 'stock');
    INSERT INTO archive.checkpoint (flow_key, frontier, intervals, checked_at)
    VALUES (1, now(), '[["2020-01-01T00:00:00+00:00", "2025-01-01T00:00:00+00:00"]]', now()), (2, NULL, '[]', NULL)
"""
_RUN = """
    INSERT INTO archive.run (flow_key, log_id, created, finished, filename_uuid, state, status, process_count,
        fail_count, triggered_by, form, src_hash, archive_state, seen_at, line_count)
    VALUES (1, %s, %s, %s, %s, 3, %s, 3, 2, %s, 0, 1, 'sealed', now(), 3)
"""
_STEP = """
    INSERT INTO archive.step (flow_key, log_id, created, finished, state, status, run_log_id, process_group_name,
        flow_order, form, src_hash, seen_at)
    VALUES (1, %s, now(), now(), 3, 2, 103, %s, %s, 0, 1, now())
"""
_LINE = """
    INSERT INTO archive.line (flow_key, log_id, created, state, status, original_filename_uuid, form, src_hash,
        row_num, fields)
    VALUES (1, %s, now(), 3, %s, %s, 0, 1, %s, %s)
"""
_DETAIL = """
    INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, body, body_form,
        byte_size, document, document_changes, error)
    VALUES (1, %s, %s, 103, now(), %s, %s, %s, %s, %s, %s, %s)
"""


@pytest.fixture(scope="module")
def filled(postgres: str) -> Iterator[str]:
    """An archive of two flows, one without runs, that no test changes."""
    name = f"cli_{uuid.uuid4().hex}"
    dsn = urlsplit(postgres)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        engine = connect(dsn)
        migrate(engine)
        engine.dispose()
        with psycopg.connect(dsn) as connection:
            _fill(connection)
        yield dsn
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _fill(connection: psycopg.Connection[Any]) -> None:
    now = datetime.now(UTC)
    connection.execute(_FLOWS)
    for number in range(1, 6):
        began = now - timedelta(days=number)
        status = 3 if number == 3 else 2
        row = (100 + number, began, began + timedelta(seconds=200), UUIDS[number], status, HOSTILE)
        connection.execute(_RUN, row)
    for number in (2, 1):
        connection.execute(_STEP, (200 + number, f"step {number} {HOSTILE}", number))
    fields = json.dumps({"sku": "S1", "message": HOSTILE})
    for number, status in ((1, 2), (2, 3), (3, 3)):
        connection.execute(_LINE, (300 + number, status, FAILED, number, fields))
    document = '{"price": 1.10000000000000000000001, "text": "\\u001b[31m\\u202e"}'
    files: list[tuple[Any, ...]] = [
        (1, 103, "stored", b"PK\x03\x04\x00\xff", "zip", 6, document, "NUL characters left out", None),
        (3, 302, "missing", None, None, None, None, None, "none after 6 attempts"),
        (2, 103, "unreadable", b"<html>", "response", 6, None, None, "it is no JSON"),
    ]
    for file in files:
        connection.execute(_DETAIL, file)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a configuration, and an environment without one."""
    monkeypatch.chdir(tmp_path)
    for name in ("ARCHIVER_CONFIG", "ARCHIVER_DATABASE_URL", "COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


class Said:
    """What a command line gave."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Archiver:
    """Runs command lines in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str) -> Said:
        self._capture.readouterr()
        status = cli.main(arguments)
        out, err = self._capture.readouterr()
        return Said(status, out, err)


@pytest.fixture
def bare(capsys: pytest.CaptureFixture[str]) -> Archiver:
    return Archiver(capsys)


@pytest.fixture
def archiver(bare: Archiver, filled: str, monkeypatch: pytest.MonkeyPatch) -> Archiver:
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", filled)
    return bare


def columns(dsn: str, view: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        answer = connection.execute(sql.SQL("SELECT * FROM reporting.{} LIMIT 0").format(sql.Identifier(view)))
        return [column.name for column in answer.description or ()]


def shell(*arguments: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "archiver", *arguments]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environ}, timeout=60)


# --- for programs ---


def test_runs_as_json_are_the_views_rows_newest_first(archiver: Archiver, filled: str) -> None:
    said = archiver("runs", "--json")
    assert said.status == 0
    assert [row["log_id"] for row in said.json] == [101, 102, 103, 104, 105]
    assert list(said.json[0]) == columns(filled, "run")
    assert said.json[0]["started_at"].endswith("+00:00")
    assert [row["log_id"] for row in archiver("runs", "--json", "--limit", "2").json] == [101, 102]
    assert said.json[0]["triggered_by"] == HOSTILE
    assert "\x1b" not in said.out
    assert "\u202e" not in said.out


def test_runs_are_chosen_by_flow_result_and_time(archiver: Archiver) -> None:
    def chosen(*arguments: str) -> list[int]:
        said = archiver("runs", "--json", *arguments)
        assert said.status == 0, said.err
        return [row["log_id"] for row in said.json]

    assert chosen("--status", "failed") == [103]
    assert chosen("--status", "failed,success", "--since", "49h") == [101, 102]
    assert chosen("--until", "3d") == [103, 104, 105]
    assert chosen("--flow", "price", "--state", "finished") == chosen("-f", "brand/f1") == [101, 102, 103, 104, 105]
    assert chosen("--flow", "stock") == []
    day = (datetime.now().astimezone() - timedelta(days=2)).date().isoformat()
    assert chosen("--since", day, "--until", day) == [102]


@pytest.mark.parametrize("command", [("runs",), ("search", "sku=S1"), ("history", "sku=S1"), ("export", "--to", "x")])
@pytest.mark.parametrize(
    ("since", "until"), [("1d", "7d"), ("today", "yesterday"), ("2025-03-02", "2025-03-01T12:00"), ("2030-01-01", "1d")]
)
def test_a_period_that_ends_before_it_begins_is_a_slip_and_no_empty_answer(
    archiver: Archiver, command: tuple[str, ...], since: str, until: str
) -> None:
    said = archiver(*command, "--since", since, "--until", until)
    assert (said.status, said.out) == (2, "")
    assert f"--since {since} lies after --until {until}" in said.err
    assert archiver("runs", "--since", until, "--until", since).status == 0


def test_an_empty_period_is_no_slip(archiver: Archiver) -> None:
    moment = "2025-03-01T12:00"
    said = archiver("runs", "--since", moment, "--until", moment, "--json")
    assert (said.status, said.json) == (0, [])


def test_show_as_json_is_the_run_with_all_that_belongs_to_it(archiver: Archiver, filled: str) -> None:
    said = archiver("show", FAILED, "--json")
    assert said.status == 0
    assert list(said.json) == [*columns(filled, "run"), "steps", "lines", "details"]
    for name, view in (("steps", "step"), ("lines", "line"), ("details", "detail")):
        assert list(said.json[name][0]) == columns(filled, view)
    assert [step["log_id"] for step in said.json["steps"]] == [201, 202]
    assert [line["log_id"] for line in said.json["lines"]] == [302, 303, 301]
    assert [file["log_type"] for file in said.json["details"]] == ["main", "sub", "line"]
    assert '"price": 1.10000000000000000000001' in said.out


def test_show_as_json_of_a_run_without_anything_is_an_object_too(archiver: Archiver) -> None:
    run = archiver("show", "104", "--json").json
    assert (run["log_id"], run["steps"], run["lines"], run["details"]) == (104, [], [], [])


def test_detail_as_json_is_the_views_row(archiver: Archiver, filled: str) -> None:
    said = archiver("detail", "103", "--type", "main", "--json")
    assert said.status == 0
    assert list(said.json) == columns(filled, "detail")
    assert said.json["document"]["text"] == "\x1b[31m\u202e"


def test_status_as_json_has_the_views_columns_and_more(archiver: Archiver, filled: str) -> None:
    said = archiver("status", "--json")
    assert said.status == 1
    price, stock = said.json
    assert list(price)[: len(columns(filled, "archive_health"))] == columns(filled, "archive_health")
    assert (price["condition"], price["is_well"], price["missing_details"]) == ("incomplete", False, 1)
    assert (stock["condition"], stock["is_well"], stock["gaps"]) == ("not polled yet", True, [])
    assert archiver("status", "--flow", "stock", "--json").status == 0


def test_sql_gives_json_and_csv(archiver: Archiver, monkeypatch: pytest.MonkeyPatch) -> None:
    statement = (
        "SELECT log_id, started_at, 'x,\"y' || chr(10) AS t, NULL AS n, 1.50 AS d, log_id = 101 AS b FROM run LIMIT 1"
    )
    said = archiver("sql", "--json", statement)
    (row,) = said.json
    assert (said.status, row["t"], row["n"], row["d"], row["b"]) == (0, 'x,"y\n', None, 1.5, row["log_id"] == 101)
    assert datetime.fromisoformat(row["started_at"]).utcoffset() == timedelta(0)
    monkeypatch.setattr(sys, "stdin", io.StringIO(statement))
    names, values = csv.reader(io.StringIO(archiver("sql", "--csv", "-").out))
    assert names == ["log_id", "started_at", "t", "n", "d", "b"]
    assert values == [str(row["log_id"]), row["started_at"], 'x,"y\n', "", "1.50", str(row["b"]).lower()]


@pytest.mark.parametrize(
    "command", [("runs", "--status", "empty"), ("runs", "--flow", "stock"), ("sql", "SELECT 1 WHERE false")]
)
def test_no_hit_is_an_empty_list_or_a_friendly_word(archiver: Archiver, command: tuple[str, ...]) -> None:
    said = archiver(*command, "--json")
    assert (said.status, said.json) == (0, [])
    said = archiver(*command)
    assert (said.status, said.out) == (0, "")
    assert said.err.startswith("no r")


# --- for people ---


def test_tables_show_what_people_look_for(archiver: Archiver) -> None:
    runs = archiver("runs").out.splitlines()
    assert runs[0].split()[:4] == ["STARTED", "FLOW", "STATUS", "TOOK"]
    assert "failed" in runs[3]
    assert "3 min 20 s" in runs[3]
    assert FAILED in runs[3]
    show = archiver("show", FAILED[:8]).out
    assert "2 steps" in show
    assert "3 lines" in show
    assert show.index("302") < show.index("303") < show.index("301")
    shortened = archiver("show", "103", "--lines", "1").out
    assert "3 lines, 1 shown" in shortened
    status = archiver("status")
    assert status.status == 1
    assert "not polled yet" in status.out
    assert "2 flows, 1 not well" in status.out
    assert "MISSING" not in status.out


@pytest.mark.parametrize(
    "command", [("runs",), ("show", "103"), ("status",), ("detail", "103", "--type", "main"), ("sql", "TABLE line")]
)
def test_nothing_archived_acts_on_whoever_reads_it(archiver: Archiver, command: tuple[str, ...]) -> None:
    said = archiver(*command)
    for character in "\x1b\x07\x9b\u202e\u2066\r":
        assert character not in said.out + said.err
    if command[0] in ("show", "sql"):
        assert "[bold]x[/bold]" in said.out


def test_on_a_narrow_terminal_lines_fit_and_colours_show(filled: str) -> None:
    coloured = on_terminal(filled, "runs")
    assert "\x1b[1;31mfailed" in coloured
    plain = on_terminal(filled, "show", "103", NO_COLOR="1")
    assert "\x1b[1;31m" not in plain
    assert "\x1b]0;" not in plain
    assert "\u202e" not in plain
    lines = re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 72


def on_terminal(dsn: str, *arguments: str, **environ: str) -> str:
    """What a command writes to a terminal of 72 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 72, 0, 0))
    env = {**os.environ, "ARCHIVER_DATABASE_URL": dsn, "TERM": "xterm", **environ}
    command = [sys.executable, "-m", "archiver", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=env) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            said += piece
        process.wait(30)
    os.close(ours)
    return said.decode()


def test_a_file_comes_indented_or_byte_for_byte(filled: str) -> None:
    shown = shell("detail", "103", "--type", "main", ARCHIVER_DATABASE_URL=filled)
    assert shown.returncode == 0
    assert b'    "price": 1.10000000000000000000001' in shown.stdout
    assert b"NUL characters left out" in shown.stderr
    raw = shell("detail", "103", "--type", "main", "--raw", ARCHIVER_DATABASE_URL=filled)
    assert (raw.returncode, raw.stdout) == (0, b"PK\x03\x04\x00\xff")


def test_a_file_that_cannot_be_shown_says_why(archiver: Archiver) -> None:
    for form in ("--json", "--csv"):
        statuses = [archiver("detail", *log, form).status for log in (("103", "--type", "main"), ("302",))]
        assert statuses == [0, 1]
    missing = archiver("detail", "302")
    assert (missing.status, missing.out) == (1, "")
    assert "none after 6 attempts" in missing.err
    unreadable = archiver("detail", "103", "--type", "sub")
    assert unreadable.status == 1
    assert "--raw" in unreadable.err
    assert archiver("detail", "103", "--type", "sub", "--raw").out == "<html>"


def command_lines(command: Any, *before: str) -> Iterator[tuple[str, ...]]:
    yield before
    for name, one in getattr(command, "commands", {}).items():
        yield from command_lines(one, *before, name)


@pytest.mark.parametrize("command", list(command_lines(typer.main.get_command(cli.app))), ids=" ".join)
def test_help_names_arguments_as_people_do(bare: Archiver, command: tuple[str, ...]) -> None:
    said = bare(*command, "--help")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(" ".join(["Usage: archiver", *command]))
    for odd in ("[[", "{", "<str>", "<int", "<list", "<path>", "...]..."):
        assert odd not in said.out.partition("Examples:")[0]


def test_help_tells_arguments_and_options_apart(bare: Archiver) -> None:
    assert bare("sync", "--help").out.startswith("Usage: archiver sync [OPTIONS] [FLOW]...\n")
    said = bare("show", "--help").out
    assert said.startswith("Usage: archiver show [OPTIONS] RUN\n")
    assert "Arguments:\n  RUN  Its run id" in said
    assert "Options:\n" in said
    assert "-n, --lines N " in said


# --- what is wrong ---


@pytest.mark.parametrize(
    ("command", "words_of_it"),
    [
        (("rums",), "'runs'"),
        (("runs", "--jsno"), "--json"),
        (("runs", "--limit", "0"), "--limit"),
        (("runs", "--limit", "9" * 20), "--limit"),
        (("show", "\udcff"), "is not UTF-8"),
        (("sql", "SELECT '\udcff'"), "is not UTF-8"),
        (("runs", "--config", "x"), "before the command"),
        (("show",), "RUN"),
        (("runs", "--flow", "prize"), "did you mean 'price'?"),
        (("runs", "--status", "broken"), "success, failed"),
        (("runs", "--since", "soon"), "7d"),
        (("show", "nothing"), "no run has the id"),
        (("show", "0000000"), "may mean any of these"),
        (("show", FAILED, "--flow", "stock"), f"no run of stock has the id {FAILED!r}; it is one of price"),
        (("show", "nothing", "--flow", "stock"), "no run has the id 'nothing'"),
        (("evidence", FAILED[:8], "--flow", "brand/stock"), "no run of brand/stock has the id"),
        (("detail", "103"), "--flow price --type main"),
        (("detail", "999"), "no file is known"),
        (("alerts", "ack", "9" * 20), "is no alert's id"),
        (("alerts", "ack", "foo"), "'foo' is no alert's id: `archiver alerts list` shows them"),
        (("detail", FAILED), f"{FAILED!r} is no log id: `archiver show RUN` lists those of a run"),
        (
            ("runs", "-n", "abc"),
            "--limit: 'abc' is no whole number from 1 to 1,000,000,000\nSee `archiver runs --help`",
        ),
        (("show", "103", "-n", "-1"), "--lines: '-1' is no whole number from 0 on"),
        (("demo", "--days", "100"), "--days: '100' is no whole number from 1 to 60"),
        (("detail", "103", "--type", "mian"), "--type: 'mian' is none of main, sub, line"),
        (("serve", "--listen", "foo"), "--listen: 'foo' is no address"),
        (("runs", "--flow"), "See `archiver runs --help`"),
        (("gaps", "ack", "1", "--reason"), "See `archiver gaps ack --help`"),
        (("--config",), "See `archiver --help`"),
        (("sql", "SELECT 1; SELECT 2"), "one statement at a time"),
        (("sql", "SHOW ALL; SELECT 2;"), "one statement at a time"),
        (("sql", "SELECT 1 2; SELECT 2"), "at character 10"),
        (("sql", "SELECT nothing"), '"nothing" does not exist'),
        (("sql", "DROP TABLE archive.run"), "only reading"),
        (("sql", "SELECT 1", "--timeout", "soon"), "--timeout"),
        (("sql", "SELECT 1", "--json", "--csv"), "leave one out"),
        (("run",), "archiver init"),
        (("sync",), "archiver init"),
        (("--config", "nowhere.yaml", "runs"), "nowhere.yaml"),
        (("--config", ".", "runs"), ".: is a folder; name the file in it, as in config.yaml"),
        (("db", "start"), "database.url"),
    ],
)
def test_what_is_wrong_is_said_in_a_few_words_with_status_2(
    archiver: Archiver, command: tuple[str, ...], words_of_it: str
) -> None:
    said = archiver(*command)
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith("archiver: ")
    assert words_of_it in said.err
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) <= 6


def test_without_an_archive_the_way_to_one_is_shown(bare: Archiver, elsewhere: Path) -> None:
    said = bare("runs")
    assert said.status == 2
    assert "archiver init" in said.err
    assert list(elsewhere.iterdir()) == [], "reading does not make an archive"


def test_a_database_without_a_schema_says_what_to_do(
    bare: Archiver, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", database)
    said = bare("status")
    assert (said.status, said.out) == (2, "")
    assert "archiver migrate" in said.err
    first, again = bare("migrate"), bare("migrate")
    assert (first.status, again.status) == (0, 0)
    assert "none → 0" in first.out
    assert "up to date" in again.out
    said = bare("status")
    assert (said.status, said.out) == (0, "")


def test_a_database_that_is_not_there_costs_one_line_and_no_password(
    bare: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", "postgresql://somebody:hunter2@127.0.0.1:1/nowhere")
    said = bare("runs")
    assert said.status == 2
    assert "no database answers" in said.err
    assert "hunter2" not in said.err
    assert len(said.err.splitlines()) == 1
    assert "hunter2" not in bare("--debug", "runs").err


def test_a_reader_that_goes_away_is_no_error(filled: str) -> None:
    command = f"{sys.executable} -m archiver sql --csv 'SELECT generate_series(1, 1000000)' | head -2"
    env = {**os.environ, "ARCHIVER_DATABASE_URL": filled}
    said = subprocess.run(["bash", "-c", command], capture_output=True, env=env, check=False, timeout=60)
    assert said.stdout == b"generate_series\n1\n"
    assert said.stderr == b""


def test_a_closed_standard_output_is_no_error(filled: str) -> None:
    env = {**os.environ, "ARCHIVER_DATABASE_URL": filled}
    command = f"{sys.executable} -m archiver runs --json >&-"
    said = subprocess.run(["bash", "-c", command], capture_output=True, env=env, check=False, timeout=60)
    assert (said.returncode, said.stderr) == (0, b"")


def test_a_full_disk_is_said(filled: str) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "archiver", "runs", "--json"]
        env = {**os.environ, "ARCHIVER_DATABASE_URL": filled}
        said = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=env, check=False, timeout=60)
    assert said.returncode == 2
    assert said.stderr == b"archiver: No space left on device\n"


# --- operating ---


def test_init_writes_a_configuration_that_check_understands(
    bare: Archiver, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = bare("init")
    assert said.status == 0
    assert "archiver check" in said.out
    again = bare("init")
    assert again.status == 2
    assert "--force" in again.err
    (elsewhere / "config.yaml").write_text("mine", encoding="utf-8")
    assert bare("init", "--force").status == 0
    assert bare("--config", "other.yaml", "init").status == 0
    assert (elsewhere / "other.yaml").read_text(encoding="utf-8") == (elsewhere / "config.yaml").read_text(
        encoding="utf-8"
    )
    checked = bare("check", "--json")
    assert checked.status == 2
    assert all(finding["level"] == "error" for finding in checked.json)
    assert any("INTEGRATOR_PASSWORD" in finding["message"] for finding in checked.json)


def test_the_sql_of_the_schema_needs_no_database(bare: Archiver) -> None:
    said = bare("migrate", "--sql")
    assert said.status == 0
    assert "CREATE VIEW reporting.run" in said.out


def test_db_url_is_the_configured_one_and_psql_takes_its_arguments(archiver: Archiver, filled: str) -> None:
    assert archiver("db", "url").out.strip() == filled
    said = shell("db", "psql", "-XAtc", "SELECT count(*) FROM reporting.run", ARCHIVER_DATABASE_URL=filled)
    if b"there is no psql" in said.stderr:
        pytest.skip("no psql on this machine")
    assert (said.returncode, said.stdout) == (0, b"5\n")
    assert shell("db", "psql", "-XAtc", "nonsense", ARCHIVER_DATABASE_URL=filled).returncode == 1


def test_status_names_flows_of_the_configuration_that_were_never_polled(
    archiver: Archiver, filled: str, elsewhere: Path
) -> None:
    (elsewhere / "config.yaml").write_text(
        json.dumps(
            {
                "database": {"url": filled},
                "integrators": {"prod": {"base_url": "http://127.0.0.1:1", "token": "abc"}},
                "projects": [
                    {"id": "p", "slug": "brand", "flows": [{"id": "f2", "name": "stock"}, {"id": "f3", "name": "new"}]}
                ],
            }
        ),
        encoding="utf-8",
    )
    said = archiver("status", "--json")
    conditions = {row["flow_name"]: (row["condition"], row["is_configured"]) for row in said.json}
    assert conditions == {
        "price": ("not in the configuration", False),
        "stock": ("not polled yet", True),
        "new": ("not polled yet", True),
    }
    assert said.status == 0
    assert len({tuple(row) for row in said.json}) == 1, "every row has the same columns"
    assert archiver("status", "--flow", "new", "--json").json[0]["flow_name"] == "new"


@pytest.mark.parametrize(
    "command",
    [
        (),
        *(
            (name,)
            for name in ("init", "check", "migrate", "run", "sync", "status", "runs", "show", "detail", "sql", "db")
        ),
    ],
)
def test_every_command_explains_itself(bare: Archiver, command: tuple[str, ...]) -> None:
    said = bare(*command, "--help")
    assert said.status == 0
    assert f"Usage: archiver {' '.join(command)}".strip() in said.out
    assert bare(*command, "-h").out == said.out


def test_what_nobody_foresaw_is_told_with_its_place_and_without_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise SystemError("canary-password")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("archiver.config.load", broken)
    assert cli.main(["sync"]) == 2
    said = capsys.readouterr()
    assert re.fullmatch(
        r"archiver: unexpected SystemError at archiver\.cli\.call:\d+: this is a bug in the archiver; --debug shows"
        r" more\n",
        said.err,
    )
    assert said.out == ""
