"""Rows 36 to 43 of the catalogue: hostile files, texts, numbers and times, through the whole archiver into Postgres.

Whatever comes is kept byte for byte; what Postgres or Python cannot hold is marked, and stops nothing.
"""

from __future__ import annotations

import base64
import io
import json
import random
import string
import subprocess
import sys
import zipfile
from datetime import datetime
from typing import Any

import orjson
import psycopg
import pytest

from archiver.config import load
from archiver.daemon import build_indexes
from archiver.detail import unpack
from archiver.logs import canonical
from tests.faults.scene import Scene
from tests.originals import line_logs, main_logs
from tests.test_archive import FLOW, line_log, main_log, zipped
from tests.test_detail import BASE64, READABLE, UNREADABLE, WRAPPED, ZIP
from tests.test_detail import DOCUMENT as TEXT
from tests.test_detail_documents import CHANGED, NO_JSON, WITHOUT


def archived(scene: Scene, files: list[bytes]) -> list[tuple[Any, ...]]:
    """The files of one failed run, as they are in the archive after three tries: outcome, body, document, changes."""
    scene.world.insert(FLOW, 1, main_log(1, status=3))
    scene.world.insert(FLOW, 3, *(line_log(10 + n, 1, status=3, is_send_S3=1) for n in range(len(files))))
    for number, text in enumerate(files):
        scene.world.files[FLOW, 10 + number] = text
    for _ in range(3):
        scene.turn()
    rows = scene.all(
        "SELECT outcome, body, document::text, document_changes, error FROM archive.detail ORDER BY log_id"
    )
    assert len(rows) == len(files)
    assert scene.one("SELECT bool_and(encode(sha256(body), 'hex') = sha256) FROM archive.detail")
    assert scene.states() == {1: "sealed"}
    return rows


def test_36_a_bomb_does_not_go_off(scene: Scene) -> None:
    """204 kB that unpack to 200 MiB, in a process that may take 100 MiB more than it has; and forged sizes.

    Naive: `ZipFile.read` unpacks all of it, and believes what the headers say of it.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file, file.open("log.json", "w") as entry:
        for _ in range(200):
            entry.write(b" " * (1 << 20))
    bomb = base64.b64encode(buffer.getvalue())
    assert len(bomb) < 300_000
    limited = """
import base64, io, resource, sys, zipfile
from archiver.detail import unpack
body = sys.stdin.buffer.read()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (100 << 20),) * 2)
"""
    ours = "detail = unpack(body)\nprint(detail.outcome, detail.error)"
    naive = "len(zipfile.ZipFile(io.BytesIO(base64.b64decode(body))).read('log.json'))"
    if sys.platform.startswith("linux"):  # address space is limited there alone
        ran = [
            subprocess.run([sys.executable, "-c", limited + way], input=bomb, capture_output=True, check=False)
            for way in (ours, naive)
        ]
        assert (ran[0].stdout, ran[0].stderr) == (
            b"too_large 'log.json' is larger than is looked at when unpacked\n",
            b"",
        )
        assert b"MemoryError" in ran[1].stderr
    ((outcome, body, document, *_),) = archived(scene, [bomb])
    assert (outcome, body, document) == ("too_large", buffer.getvalue(), None)


def test_37_zips_of_every_kind(scene: Scene) -> None:
    """No entry, several, folders, encrypted, escaping, damaged: kept as they came, the one JSON in them found, and
    nothing is ever written to a disk.

    Naive: the first entry is the document: a folder, an encrypted one (RuntimeError), a text.
    """
    cases = {**READABLE, **UNREADABLE}
    rows = archived(scene, [base64.b64encode(data) for data, _ in cases.values()])
    for (name, (data, said)), (outcome, body, document, changes, error) in zip(cases.items(), rows, strict=True):
        assert bytes(body) == data, name
        assert outcome == ("stored" if name in READABLE else "unreadable"), name
        assert (document is None) == (name in UNREADABLE), name
        assert (error or changes or "").startswith((said or "").split(" (")[0]), name
    failed = 0
    for data, _ in cases.values():
        try:
            file = zipfile.ZipFile(io.BytesIO(data))
            json.loads(file.read(file.filelist[0].filename))
        except Exception:
            failed += 1
    assert failed >= len(UNREADABLE)


def test_38_base64_with_line_breaks_or_html(scene: Scene) -> None:
    """White space, quotes and the URL's alphabet are undone; anything else is no base64, and kept as it came.

    Naive: Python's default swallows a page of HTML and decodes what is left; `validate=True` refuses a line break.
    """
    html = b"<html>Bad gateway</html>"
    forms = [BASE64, WRAPPED, b'"' + BASE64 + b'"', base64.urlsafe_b64encode(ZIP), BASE64.rstrip(b"="), html]
    rows = archived(scene, forms)
    assert [row[0] for row in rows] == ["stored"] * 5 + ["unreadable"]
    assert {bytes(row[1]) for row in rows[:5]} == {ZIP}
    assert {row[2] for row in rows[:5]} == {rows[0][2]}
    assert json.loads(rows[0][2]) == json.loads(TEXT)
    assert bytes(rows[5][1]) == html
    assert len(base64.b64decode(html + b"=")) == 14  # of nineteen letters, as if they were digits
    with pytest.raises(ValueError, match="base64"):
        base64.b64decode(WRAPPED, validate=True)


HOSTILE_TEXTS = ["a\0b", "\ud800", "x\udfffy", "\0", "\ufffe", "\x1b[31m", "\u202e", "\\u0000", "'; DROP TABLE x; --"]


def test_39_nul_and_lone_surrogates(scene: Scene) -> None:
    """In any field of a run, a step or a line: stored, and given back as it came.

    Naive: jsonb refuses them (22P05, 22P02), and the batch of a hundred rows is lost with one of them.
    """
    text = ("process_group_name", "triggered_by", "schedule", "filename_uuid", "parent_process_group_id")
    runs = [
        main_log(1 + n, age=100.0 * n) | {field: value, "odd": {value: [value]}}
        for n, (field, value) in enumerate((field, value) for field in text for value in HOSTILE_TEXTS)
    ]
    lines = [
        line_log(1000 + n, 999) | {field: value}
        for n, (field, value) in enumerate((f, v) for f in ("sku", "message", "filename_uuid") for v in HOSTILE_TEXTS)
    ]
    whole = main_log(999, age=10_000)
    scene.world.insert(FLOW, 1, *runs, whole)
    scene.world.insert(FLOW, 3, *lines)
    assert scene.turn().refused == 0
    with scene.store.engine.connect() as connection:
        have = {run["id"]: run for run in main_logs(connection, scene.key)}
        lines_back = {line["id"]: line for line in line_logs(connection, scene.key, "run-999")}
    assert [have[run["id"]] for run in runs] == runs
    assert [lines_back[line["id"]] for line in lines] == lines
    with psycopg.connect(scene.database, autocommit=True) as naive:
        for text_, state in (('{"a": "\\u0000"}', "22P05"), ('{"a": "\\ud800"}', "22P02")):
            with pytest.raises(psycopg.DataError) as caught:
                naive.execute("SELECT %s::jsonb", (text_,))
            assert caught.value.sqlstate == state
        with pytest.raises(UnicodeEncodeError):
            naive.execute("SELECT %s", ("\ud800",))


def test_40_numbers_without_end_and_depth(scene: Scene) -> None:
    """NaN, 1e999, numbers of 5,000 digits, brackets a million deep: the file is kept, and its document where Postgres
    can hold it; what had to be changed is said.

    Naive: json raises RecursionError or ValueError, or gives inf; Postgres refuses (22003, 54001).
    """
    contents = [*(content for content, _, _ in CHANGED), *(content for content, _ in WITHOUT if len(content) < 2 << 20)]
    rows = archived(scene, [zipped(content) for content in contents])
    assert {row[0] for row in rows} == {"stored"}
    assert all(row[3] for row in rows)
    assert all(row[2] is not None for row in rows[: len(CHANGED)])
    assert all(row[2] is None for row in rows[len(CHANGED) :])
    with pytest.raises(RecursionError):
        json.loads("[" * 100_000)
    with pytest.raises(ValueError, match="integer string conversion"):
        json.loads("1" * 5000)
    assert json.loads("1e999") == float("inf")
    with psycopg.connect(scene.database, autocommit=True) as naive:
        for text, state in (("1e131072", "22003"), ("[" * 100_000, "54001"), ("NaN", "22P02")):
            with pytest.raises(psycopg.Error) as caught:
                naive.execute("SELECT %s::jsonb", (text,))
            assert caught.value.sqlstate == state


def test_40_what_is_no_json(scene: Scene) -> None:
    """Forty ways not to be JSON: each file is kept. Naive: the first raises, and the rest of the run is not fetched."""
    rows = archived(scene, [zipped(content) for content in NO_JSON])
    assert {row[0] for row in rows} == {"unreadable"}
    assert all("is not JSON" in row[4] for row in rows)


def test_41_a_key_twice(scene: Scene) -> None:
    """The file has both values, the document the last one, and a note says so.

    Naive: jsonb keeps the last value, and nobody ever knows.
    """
    twice = b'{"price": 1, "price": 2}'
    ((outcome, body, document, changes, _),) = archived(scene, [zipped(twice)])
    assert (outcome, document) == ("stored", '{"price": 2}')
    assert changes == "of repeated keys only the last value is there"
    assert zipfile.ZipFile(io.BytesIO(body)).read("log.json") == twice
    with psycopg.connect(scene.database) as naive:
        assert naive.execute("SELECT %s::jsonb::text", (twice.decode(),)).fetchone() == ('{"price": 2}',)
    assert orjson.loads(twice) == {"price": 2}


@pytest.mark.parametrize("size", [199, 200, 201, 2_691, 2_692, 2_730, 8_191, 1_048_575, 1_048_577])
def test_42_long_values(scene: Scene, size: int) -> None:
    """A value of any length in a field that has an index of its own is stored whole and found.

    Naive: a btree on the whole value refuses what is longer than a third of a page (54000).
    """
    value = "".join(random.Random(size).choices(string.printable[:94], k=size))
    path = scene.folder / "scene.yaml"
    settings = json.loads(path.read_text())
    settings["defaults"]["search_fields"] = ["sku"]
    path.write_text(json.dumps(settings))
    built = build_indexes(scene.store.engine, load(path, {}))
    assert built.problems() == []
    scene.world.insert(FLOW, 1, main_log(1))
    scene.world.insert(FLOW, 3, line_log(10, 1, sku=value), line_log(11, 1, sku="short", message=value))
    assert scene.turn().refused == 0
    with scene.store.engine.connect() as connection:
        back = {line["id"]: line for line in line_logs(connection, scene.key, "run-1")}
    assert back[10]["sku"] == back[11]["message"] == value
    if size == 8_191:
        with psycopg.connect(scene.database) as naive:
            naive.execute("CREATE TEMP TABLE naive (sku text)")
            naive.execute("CREATE INDEX ON naive (sku)")
            with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                naive.execute("INSERT INTO naive VALUES (%s)", (value,))


def test_42_more_rows_than_parameters(scene: Scene) -> None:
    """Pages are copied. Naive: one statement takes no more than 65,535 values, and a row of lines has twenty."""
    scene.world.insert(FLOW, 1, main_log(1))
    scene.world.insert(FLOW, 3, *(line_log(n, 1, sku=f"{n}") for n in range(700)))
    scene.turn()
    assert scene.one("SELECT count(*) FROM archive.line") == 700
    with psycopg.connect(scene.database) as naive, pytest.raises(psycopg.OperationalError, match="65535"):
        naive.execute("SELECT " + ",".join(["%s::int"] * 65_536), list(range(65_536)))


TIMES = [
    "1687519997186", 1687519997186, 1687519997186.0, "1687519997", "2023-06-23T11:33:17.898+00:00",
    "2023-06-23T11:33:42.000768123+00:00", "2023-06-23T11:33:42.0007681+02:00", "2023-06-23T11:33:42",
    "2023-06-23 11:33:42Z", "2023-06-23", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+00:00",
    "2023-02-30T00:00:00Z", "2016-12-31T23:59:60Z", "next Tuesday", "", -1, 10**18, True, [], {"a": 1},
]  # fmt: skip


def test_43_times_of_every_spelling(scene: Scene) -> None:
    """Whatever stands for a time: understood to the microsecond where it is one, and given back as it was.

    Naive: `fromisoformat` cuts nine digits to six, and a time without a zone is taken for the machine's.
    """
    runs = [main_log(1 + n, age=100.0 * n, finished=value) for n, value in enumerate(TIMES)]
    scene.world.insert(FLOW, 1, *runs, main_log(900, age=9000))
    odd = [line_log(1000 + n, 900, created=value, finished=value) for n, value in enumerate(TIMES)]
    scene.world.insert(FLOW, 3, *odd)
    assert scene.turn().refused == 0
    with scene.store.engine.connect() as connection:
        have = {run["id"]: run for run in main_logs(connection, scene.key)}
        lines = {line["id"]: line for line in line_logs(connection, scene.key, "run-900")}
    assert [have[run["id"]] for run in runs] == runs
    assert [lines[line["id"]] for line in odd] == odd
    moment = scene.one(f"SELECT finished FROM archive.run WHERE log_id = {1 + 5}")
    assert canonical(moment) == "2023-06-23T11:33:42.000768+00:00"
    assert datetime.fromisoformat(str(TIMES[5])).isoformat() != TIMES[5]
    assert datetime.fromisoformat("2023-06-23T11:33:42").tzinfo is None
    assert unpack(b"").outcome == "unreadable"
