"""Evidence of a run: whoever unpacks it can prove every byte, and read it without being harmed."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from archiver import evidence, queries
from archiver.cli import main
from archiver.logs import parse_line
from tests.test_archive import FLOW, Bench, bench, line_log, main_log, zipped

__all__ = ["bench"]

HOSTILE = '<script>alert("x")</script> & \u202e \' </td>'
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def filled(bench: Bench) -> Bench:
    step = main_log(101, log_type=2, status=3, is_send_S3=1, process_group_name=HOSTILE)
    bench.world.insert(FLOW, 1, main_log(1, status=3, is_send_S3=1, triggered_by=HOSTILE, sub_flows=[step], odd=1.10))
    bench.world.insert(
        FLOW, 3, line_log(10, 1, status=3, message=HOSTILE), line_log(11, 1, price=12.5, nested={"a": [1]})
    )
    bench.world.files[FLOW, 1] = zipped(b'{"of": "the run"}', name="../evil.json")
    bench.world.files[FLOW, 101] = b"no zip at all \xff\x00"
    for _ in range(3):
        bench.turn()
    return bench


def written(bench: Bench) -> tuple[evidence.Proof, zipfile.ZipFile]:
    buffer = io.BytesIO()
    with queries.reading(bench.store.engine) as reader:
        proof = evidence.write(reader, queries.run(reader, bench.key, 1), buffer, NOW)
    return proof, zipfile.ZipFile(buffer)


def test_every_byte_can_be_proven(filled: Bench, tmp_path: Path) -> None:
    proof, zipped_files = written(filled)
    listed = [line.split("  ", 1) for line in zipped_files.read("SHA256SUMS").decode().splitlines()]
    sums = {name: digest for digest, name in listed}
    assert sums == proof.sums
    assert set(zipped_files.namelist()) == {*sums, "SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256(zipped_files.read(name)).hexdigest() == digest
    zipped_files.extractall(tmp_path)
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_the_documents_are_the_originals_with_the_times_of_their_fetching(filled: Bench) -> None:
    proof, zipped_files = written(filled)
    files = {row["log_id"]: row for row in json.loads(zipped_files.read("files.json"))}
    held = filled.all("SELECT log_id, body, sha256, fetched_at FROM archive.detail WHERE body IS NOT NULL")
    assert proof.files == len(held) == 2
    for log_id, body, sha256, fetched_at in held:
        row = files[log_id]
        assert zipped_files.read(row["file"]) == bytes(body)
        assert hashlib.sha256(zipped_files.read(row["file"])).hexdigest() == row["sha256"] == sha256
        assert datetime.fromisoformat(row["fetched_at"]) == fetched_at
    assert files[101]["outcome"] == "unreadable"
    assert sorted(name for name in zipped_files.namelist() if name.startswith("files/")) == [
        "files/main-1.zip",
        "files/sub-101.bin",
    ]


def test_the_rows_are_those_that_came(filled: Bench) -> None:
    _, zipped_files = written(filled)
    (listed,) = [row for row in filled.world.rows(FLOW, 1) if row["id"] == 1]
    assert json.loads(zipped_files.read("source/main_log.json")) == listed
    lines = [json.loads(line) for line in zipped_files.read("source/line_logs.jsonl").splitlines()]
    assert lines == sorted(filled.world.rows(FLOW, 3), key=lambda row: row["id"])
    hashes = {parse_line(row).src_hash for row in lines}
    assert hashes == {row[0] for row in filled.all("SELECT src_hash FROM archive.line")}
    run = json.loads(zipped_files.read("run.json"))
    assert run["archive"]["archive_state"] == "sealed"
    assert run["archive"]["line_count"] == run["archive"]["source_line_count"] == 2
    assert len(zipped_files.read("lines.jsonl").splitlines()) == 2
    assert len(json.loads(zipped_files.read("steps.json"))) == 1


def test_all_of_it_is_one_state_of_the_archive(filled: Bench) -> None:
    """Whatever is pruned, or changes, while it is written."""
    buffer = io.BytesIO()
    with queries.reading(filled.store.engine) as reader:
        row = queries.run(reader, filled.key, 1)
        with filled.store.engine.begin() as connection:
            for table in ("run", "step", "line", "detail"):
                connection.execute(text(f"DELETE FROM archive.{table}"))
        proof = evidence.write(reader, row, buffer, NOW)
    assert (proof.lines, proof.files) == (2, 2)
    assert len(zipfile.ZipFile(buffer).read("source/line_logs.jsonl").splitlines()) == 2


def test_the_page_shows_some_files_and_the_zip_has_all(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "SHOWN", 1)
    _, zipped_files = written(filled)
    page = zipped_files.read("index.html").decode()
    assert "Files (1 shown of 2)" in page
    assert ("files/main-1.zip" in page, "files/sub-101.bin" in page) == (True, False)
    files = json.loads(zipped_files.read("files.json"))
    assert [row["file"] for row in files] == ["files/main-1.zip", "files/sub-101.bin"]


def test_the_page_can_be_read_on_a_phone(filled: Bench) -> None:
    """As wide as the screen; words are broken in messages and JSON alone, and wide tables scroll by themselves."""
    _, zipped_files = written(filled)
    page = zipped_files.read("index.html").decode()
    assert '<meta name="viewport" content="width=device-width' in page
    screen, _, printed = page.partition("@media print")
    assert re.findall(r"(.*) \{ overflow-wrap: anywhere \}", screen) == ["h1, .text"]
    assert "td { overflow-wrap: anywhere }" in printed.partition("</style>")[0], "paper does not scroll"
    assert page.count('<td class="text">') == 2 * 2, "message and fields of each line"
    assert page.count("<table") == page.count('<div class="table"><table') > 3


def test_nothing_of_a_row_can_act_on_the_page(filled: Bench) -> None:
    _, zipped_files = written(filled)
    page = zipped_files.read("index.html").decode()
    assert "<script" not in page
    assert html.escape(HOSTILE) in page
    assert page.count("</td>") == page.count("<td")
    assert "default-src 'none'" in page


def test_the_command_writes_one_file_and_overwrites_none(
    filled: Bench, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", database)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["evidence", "run-1"]) == 0
    assert [path.name for path in Path().iterdir()] == ["evidence-run-1.zip"]
    assert zipfile.ZipFile("evidence-run-1.zip").testzip() is None
    capsys.readouterr()
    assert main(["evidence", "run-1"]) == 2
    assert "there already" in capsys.readouterr().err
    for place in ("nowhere/x.zip", "/proc/x.zip", ""):
        capsys.readouterr()
        assert main(["evidence", "run-1", "--to", place]) == 2
        said = capsys.readouterr().err
        assert ".part" not in said
        assert len(said.splitlines()) == 1, said
    assert main(["evidence", "nothing"]) == 2
    with filled.store.engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET archive_state = 'pending'"))
    assert main(["evidence", "run-1", "--to", "open.zip"]) == 1
    assert b"not confirmed to be complete" in zipfile.ZipFile("open.zip").read("index.html")
    assert sorted(path.name for path in Path().iterdir()) == ["evidence-run-1.zip", "open.zip"]
