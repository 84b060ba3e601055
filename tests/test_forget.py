"""Forgetting a person: everything that has the value goes, nothing else, and nothing of it comes back."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from archiver.cli import main
from archiver.store import CannotErase, Erasure, Found
from tests.test_archive import FLOW, Bench, bench, line_log, main_log, step_log, without_steps, zipped

__all__ = ["bench"]

AYSE = "ayse@example.com"
QUOTED = 'o\'neil "q" %s \\ ☃'


def everything(dsn: str) -> str:
    """All that the database holds, as text; files unpacked."""
    found: list[str] = []
    with psycopg.connect(dsn) as connection:
        for (table,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'archive'").fetchall():
            query = sql.SQL("SELECT t::text FROM archive.{} t").format(sql.Identifier(table))
            found += [row[0] for row in connection.execute(query)]
        for (body,) in connection.execute("SELECT body FROM archive.detail WHERE body IS NOT NULL"):
            if zipfile.is_zipfile(io.BytesIO(body)):
                with zipfile.ZipFile(io.BytesIO(body)) as file:
                    found += [file.read(name).decode(errors="replace") for name in file.namelist()]
    return "\n".join(found)


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """A failed run with a person in a line, deep in a line, in the run, in a step, in three files, in quarantine."""
    steps = [main_log(101, log_type=2, status=3, is_send_S3=1, triggered_by=AYSE)]
    runs = [
        main_log(1, status=3, is_send_S3=1, triggered_by=AYSE, sub_flows=steps, note={"email": AYSE, "x": 1}),
        main_log(2, age=4000, triggered_by="System"),
    ]
    bench.world.insert(FLOW, 1, *runs)
    failed = {"status": 3, "is_send_S3": 1}
    lines = [
        line_log(10, 1, email=AYSE, message=f"no address for {AYSE}", **failed),
        line_log(11, 1, email="other@example.com", message="no stock", **failed),
        line_log(12, 1, order={"customer": [{"email": [AYSE]}]}),
        line_log(13, 1, email="NUL \0", who={"email": AYSE}),
        line_log(14, 1, sku=AYSE),
        line_log(20, 2, email=AYSE),
        line_log(21, 2, count=7, flag=True, text="7"),
    ]
    odd = line_log(15, 1, email=AYSE)
    odd["id"] = "no number"
    bench.world.insert(FLOW, 3, *lines, odd)
    bench.world.files[FLOW, 1] = zipped(json.dumps({"orders": [{"customer": {"email": AYSE}}]}).encode())
    bench.world.files[FLOW, 101] = zipped(json.dumps({"orders": [{"customer": {"email": "x"}}]}).encode())
    bench.world.files[FLOW, 10] = zipped(b'{"of": "the line"}')
    bench.world.files[FLOW, 11] = zipped(f"broken {{ {AYSE}".encode())
    for _ in range(3):
        bench.turn()
    return bench


def erased(bench: Bench, name: str, value: str) -> Found:
    room = Erasure(bench.store.engine, name, value)
    found = room.find(bench.key)
    room.erase(found)
    return found


def visited_again(bench: Bench) -> None:
    """A turn in which every run is asked for once more."""
    with bench.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET visit_at = now()"))
    bench.turn()


def test_all_that_has_it_is_found_and_finding_changes_nothing(filled: Bench, database: str) -> None:
    before = everything(database)
    found = Erasure(filled.store.engine, "email", AYSE).find(filled.key)
    assert sorted(log_id for log_id, _ in found.lines) == [10, 12, 13, 20]
    assert (found.runs, found.steps) == ([1], [])
    assert sorted(found.details) == [(1, 1), (3, 10), (3, 11)]
    assert len(found.quarantined) == 1
    assert everything(database) == before


def test_what_is_erased_is_gone_and_does_not_come_back(filled: Bench, database: str) -> None:
    erased(filled, "email", AYSE)
    erased(filled, "sku", AYSE)
    erased(filled, "triggered_by", AYSE)
    assert AYSE not in everything(database)
    assert filled.all("SELECT log_id FROM archive.line ORDER BY 1") == [(11,), (21,)]
    assert filled.all("SELECT log_id, outcome FROM archive.detail ORDER BY 1, 2") == [
        (1, "erased"),
        (10, "erased"),
        (11, "erased"),
        (101, "stored"),
    ]
    for column in ("triggered_by", "extra ->> 'note'"):
        assert AYSE not in str(filled.all(f"SELECT {column} FROM archive.run"))
    assert filled.one("SELECT triggered_by FROM archive.run WHERE log_id = 2") == "System"
    with filled.store.engine.begin() as connection:  # a repair: everything is read again
        connection.execute(text("UPDATE archive.run SET archive_state = 'pending', visit_at = now(), src_hash = 0"))
        connection.execute(text("UPDATE archive.checkpoint SET frontier = NULL, intervals = '[]', source = '{}'"))
    for _ in range(3):
        filled.turn()
    assert AYSE not in everything(database)
    assert filled.states() == {1: "sealed", 2: "sealed"}
    assert filled.all("SELECT log_id FROM archive.line ORDER BY 1") == [(11,), (21,)]
    assert filled.all("SELECT line_count FROM archive.run ORDER BY log_id") == [(5,), (2,)]


def test_a_run_that_changes_later_stays_masked(filled: Bench, database: str) -> None:
    erased(filled, "triggered_by", AYSE)
    filled.world.update(FLOW, 1, 1, process_count=99)
    visited_again(filled)
    assert filled.all("SELECT process_count, triggered_by FROM archive.run WHERE log_id = 1") == [(99, "[redacted]")]
    assert filled.one("SELECT triggered_by FROM archive.step WHERE log_id = 101") == "[redacted]"


def test_a_field_is_named_as_it_is_spelled(filled: Bench, database: str) -> None:
    filled.world.insert(FLOW, 1, main_log(3) | {"customer.email": "a@b", "$.x[": {"customer.email": "a@b"}})
    filled.turn()
    erased(filled, "customer.email", "a@b")
    assert "a@b" not in everything(database)
    filled.world.update(FLOW, 1, 3, process_count=99)
    visited_again(filled)
    assert filled.one("SELECT process_count FROM archive.run WHERE log_id = 3") == 99
    assert "a@b" not in everything(database)


def test_a_step_that_was_asked_for_by_itself_stays_masked(filled: Bench, database: str) -> None:
    filled.world.insert(FLOW, 1, without_steps(3))
    filled.world.insert(FLOW, 2, step_log(301, 3, triggered_by="a@b"))
    filled.turn()
    erased(filled, "triggered_by", "a@b")
    filled.world.update(FLOW, 2, 301, process_count=99)
    visited_again(filled)
    assert filled.one("SELECT process_count FROM archive.step WHERE log_id = 301") == 99
    assert "a@b" not in everything(database)


def test_kinds_of_errors_forget_the_words_of_a_line(filled: Bench) -> None:
    assert AYSE in str(filled.all("SELECT sample FROM archive.error_group WHERE occurrences > 0"))
    erased(filled, "email", AYSE)
    groups = filled.all("SELECT sample, occurrences FROM archive.error_group WHERE occurrences > 0")
    assert AYSE not in str(filled.all("SELECT sample, template FROM archive.error_group"))
    assert ("no stock", 1) in groups


@pytest.mark.parametrize(
    ("name", "value", "lines"),
    [("count", "7", 1), ("text", "7", 1), ("flag", "true", 1), ("flag", "1", 0), ("email", QUOTED, 0), ("x", "y", 0)],
)
def test_a_value_is_text_or_what_is_written_so(filled: Bench, name: str, value: str, lines: int) -> None:
    assert len(Erasure(filled.store.engine, name, value).find(filled.key).lines) == lines


def test_quotes_are_only_quotes(filled: Bench) -> None:
    filled.world.insert(FLOW, 1, main_log(3))
    filled.world.insert(FLOW, 3, line_log(30, 3, **{"we\"ird 'k": QUOTED}))
    filled.turn()
    before = filled.one("SELECT count(*) FROM archive.line")
    assert len(erased(filled, "we\"ird 'k", QUOTED).lines) == 1
    assert filled.one("SELECT count(*) FROM archive.line") == before - 1


@pytest.mark.parametrize(
    ("name", "value"), [("id", "1"), ("state", "3"), ("", "x"), ("x", ""), ("x", "\0"), ("x", "\ud800")]
)
def test_what_cannot_be_erased_by(filled: Bench, name: str, value: str) -> None:
    with pytest.raises(CannotErase):
        Erasure(filled.store.engine, name, value)


def test_the_command_is_a_dry_run_first(
    filled: Bench, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", database)
    monkeypatch.chdir(tmp_path / "..")
    before = everything(database)
    assert main(["forget", f"email={AYSE}"]) == 0
    said = capsys.readouterr().out
    assert "nothing is erased yet" in said
    assert re.split(r"\s{2,}", said.splitlines()[0]) == [
        "FLOW",
        "LINES",
        "RUNS",
        "STEPS",
        "FILES",
        "QUARANTINED",
    ]
    assert said.splitlines()[1].split()[1:] == ["4", "1", "0", "3", "1"]
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["forget", f"email={AYSE}"]) == 0
    assert "…" not in capsys.readouterr().out, "what is about to go is told whole"
    assert everything(database) == before
    assert main(["forget", f"email={AYSE}", "--yes", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["flows"]
    assert (row["lines"], row["runs"], row["details"], row["quarantined"]) == (4, 1, 3, 1)
    assert main(["forget", f"email={AYSE}"]) == 0
    assert "nothing in the archive" in capsys.readouterr().out
    assert main(["forget", "no pair"]) == 2
    assert main(["forget", "id=5"]) == 2
