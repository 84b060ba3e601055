"""The Parquet export: what is read back is what the views show, and nothing half is taken for a whole."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from psycopg import sql
from sqlalchemy import Engine, text

from archiver import export as room
from archiver import queries
from archiver.cli import main
from archiver.errors import MissingExtra
from archiver.export import Exported, ExportRefused, Selection
from archiver.export.pieces import folders
from archiver.export.places import place_at
from archiver.store import Policy, Retention, connect, migrate

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ODD = "a \"quoted\", 'single' ☃ \u202e \\ line\nbreak"

_FILL = """
INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)
VALUES ('prod', 'p', 'brand', 'f1', 'price'), ('prod', 'p', 'brand', 'f2', 'stok/günlük = %%'),
    ('q', 'p', 'b', 'f3', 'Price');
INSERT INTO archive.checkpoint (flow_key) SELECT flow_key FROM archive.flow;
INSERT INTO archive.run (flow_key, log_id, created, finished, filename_uuid, state, status, process_count, is_triggered,
    triggered_by, form, src_hash, archive_state, seen_at, line_count)
SELECT 1 + i %% 2, i, timestamptz '2026-01-15 23:59:59.999999+00' + i * interval '30 hours',
    timestamptz '2026-03-01+00', 'run-' || i, CASE i %% 7 WHEN 0 THEN 9 ELSE 3 END, 2 + i %% 2, i,
    i %% 3 = 0, %(odd)s, 0, i, 'sealed', now(), 1
FROM generate_series(1, 100) i;
INSERT INTO archive.step (flow_key, log_id, created, state, status, run_log_id, form, src_hash, seen_at)
SELECT flow_key, 1000 + log_id, created, 3, 2, log_id, 0, log_id, now() FROM archive.run;
INSERT INTO archive.line (flow_key, log_id, created, state, status, original_filename_uuid, form, src_hash, row_num,
    fields, rest)
SELECT flow_key, 10000 + log_id * 10 + n, created + n * interval '1 microsecond', 3, 2 + n %% 2, filename_uuid, 0,
    log_id * 10 + n, n, jsonb_build_object('sku', 'S-' || n, 'message', %(odd)s::text, 'price', 1.10),
    CASE WHEN n = 3 THEN '{"deep": {"a": [1, null, "x"]}}'::jsonb END
FROM archive.run, generate_series(1, 5) n;
INSERT INTO archive.line (flow_key, log_id, created, form, src_hash)
VALUES (1, 1, '0001-01-01 00:00+00', 0, 1), (1, 2, '9999-12-31 23:59:59.999999+00', 0, 2);
INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, document, sha256, byte_size)
SELECT flow_key, 1, log_id, log_id, created, 'stored', '{"price": 1.10, "big": 123456789012345678901234567890}', 'ab', 3
FROM archive.run WHERE log_id %% 4 = 0;
INSERT INTO archive.flow_day (flow_key, day, runs, succeeded, failed, empty, lines, failed_lines, duration_p50)
SELECT flow_key, created::date, 1, 1, 0, 0, 5, 1, 0.1 FROM archive.run;
INSERT INTO archive.error_group (flow_key, fingerprint, version, error_class, template, sample, occurrences, runs_hit)
VALUES (1, -1, 1, 'other', 't', %(odd)s, 2, 1);
"""


@pytest.fixture(scope="module")
def filled(postgres: str) -> Iterator[str]:
    """A database to copy."""
    name = f"export_{uuid.uuid4().hex}"
    dsn = urlsplit(postgres)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        engine = connect(dsn)
        migrate(engine)
        engine.dispose()
        with psycopg.connect(dsn) as connection:
            for statement in _FILL.split(";\n"):
                if statement.strip():
                    connection.execute(statement.encode(), {"odd": ODD})
        yield name
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(postgres: str, filled: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(filled)))
        yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = connect(database)
    yield engine
    engine.dispose()


def exported(engine: Engine, dsn: str, to: Path | str, *views: str, **more: Any) -> Exported:
    return room.export(engine, dsn, str(to), Selection(views, **more), now=NOW)


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "_manifest.json").read_text())  # type: ignore[no-any-return]


def from_view(dsn: str, view: str) -> list[dict[str, Any]]:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        columns = connection.execute(f"SELECT * FROM reporting.{view} LIMIT 0".encode()).description or ()
        names = ", ".join(f"{one.name}::text" if one.name == "document" else one.name for one in columns)
        cursor = connection.execute(f"SELECT {names} FROM reporting.{view}".encode())
        return [dict(zip([one.name for one in cursor.description or ()], row, strict=True)) for row in cursor]


def from_files(folder: Path, view: str) -> list[dict[str, Any]]:
    table = ds.dataset(folder / view, format="parquet").to_table()
    return table.to_pylist()  # type: ignore[no-any-return]


def ordered(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted((name, _plain(value)) for name, value in row.items())) for row in rows)


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


VIEWS = ("flow", "run", "step", "line", "detail", "error_group", "run_daily", "archive_health")


def test_what_is_read_back_is_what_the_views_show(engine: Engine, database: str, tmp_path: Path) -> None:
    exported(engine, database, tmp_path, *VIEWS)
    for view in VIEWS:
        rows = from_view(database, view)
        if view == "archive_health":
            rows = [{**row, "lag_seconds": None} for row in rows]
        assert ordered(from_files(tmp_path, view)) == ordered(rows), view
    assert len(from_files(tmp_path, "line")) == 502


def test_types_are_exact(engine: Engine, database: str, tmp_path: Path) -> None:
    exported(engine, database, tmp_path, "run", "detail")
    schema = pq.read_schema(next((tmp_path / "run").glob("**/*.parquet")))
    wanted = {
        "started_at": pa.timestamp("us", tz="UTC"),
        "started_date": pa.date32(),
        "duration_seconds": pa.float64(),
        "log_id": pa.int64(),
        "flow_key": pa.int32(),
        "flow_name": pa.string(),
        "is_triggered": pa.bool_(),
        "line_count": pa.int64(),
    }
    assert {name: schema.field(name).type for name in wanted} == wanted
    assert pq.read_schema(next((tmp_path / "detail").glob("**/*.parquet"))).field("document").type == pa.string()
    found = pq.read_metadata(next((tmp_path / "run").glob("**/*.parquet")))
    assert found.row_group(0).column(0).compression == "ZSTD"


def test_the_manifest_tells_every_file_its_rows_and_checksum(engine: Engine, database: str, tmp_path: Path) -> None:
    report = exported(engine, database, tmp_path)
    listed = {entry["path"]: entry for entry in manifest(tmp_path)["files"]}
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("**/*.parquet")}
    assert set(listed) == there
    assert len(there) == report.written > 20
    for name, entry in listed.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == entry["sha256"]
        assert pq.read_metadata(tmp_path / name).num_rows == entry["rows"]
    assert {"line/flow=price/month=0001-01", "line/flow=price/month=9999-12"} <= {
        str(Path(name).parent) for name in there
    }
    assert not list(tmp_path.glob("**/*.part"))


def test_folders_are_named_after_flows_and_no_two_alike(engine: Engine, database: str, tmp_path: Path) -> None:
    with queries.reading(engine) as reader:
        names = folders(queries.flows(reader))
    assert names == {1: "price", 2: "stok%2Fg%C3%BCnl%C3%BCk %3D %25", 3: "Price (3)"}
    exported(engine, database, tmp_path, "run")
    table = ds.dataset(tmp_path / "run", partitioning="hive").to_table(columns=["flow", "flow_name", "month"])
    assert {(row["flow"], row["flow_name"]) for row in table.to_pylist()} == {
        ("price", "price"),
        ("stok/günlük = %", "stok/günlük = %"),
    }


def test_only_months_that_have_changed_are_written_again(engine: Engine, database: str, tmp_path: Path) -> None:
    first = exported(engine, database, tmp_path, "run", "line")
    assert exported(engine, database, tmp_path, "run", "line").written == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE archive.line SET src_hash = 77, row_num = 77 WHERE log_id = 10013"))
        connection.execute(text("UPDATE archive.run SET line_count = 9 WHERE log_id = 2"))
    again = exported(engine, database, tmp_path, "run", "line")
    assert (again.written, again.kept) == (2, first.written - 2)
    assert ordered(from_files(tmp_path, "line")) == ordered(from_view(database, "line"))
    assert [row["line_count"] for row in from_files(tmp_path, "run") if row["log_id"] == 2] == [9]


def test_flows_and_months_that_are_not_asked_for_stay(engine: Engine, database: str, tmp_path: Path) -> None:
    exported(engine, database, tmp_path, "run", flow_keys=(1,))
    assert {row["flow_key"] for row in from_files(tmp_path, "run")} == {1}
    since, until = datetime(2026, 2, 10, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    report = exported(engine, database, tmp_path, "run", flow_keys=(2,), since=since, until=until)
    assert report.written == 1
    assert {entry["month"] for entry in manifest(tmp_path)["files"] if entry["flow_key"] == 2} == {"2026-02"}
    exported(engine, database, tmp_path, "run")
    assert ordered(from_files(tmp_path, "run")) == ordered(from_view(database, "run"))


def test_a_renamed_flow_moves_and_leaves_nothing_behind(engine: Engine, database: str, tmp_path: Path) -> None:
    exported(engine, database, tmp_path, "run")
    with engine.begin() as connection:
        connection.execute(text("UPDATE archive.flow SET flow_name = 'prices' WHERE flow_key = 1"))
    exported(engine, database, tmp_path, "run")
    assert not (tmp_path / "run" / "flow=price").exists()
    assert ordered(from_files(tmp_path, "run")) == ordered(from_view(database, "run"))


def _many_lines(dsn: str, months: int, lines: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO archive.line (flow_key, log_id, created, state, status, original_filename_uuid, form,"
            " src_hash, fields) SELECT 2, 1000000 + m * 1000000 + n,"
            " timestamptz '2020-01-01+00' + m * interval '1 month', 3, 2,"
            " 'r', 0, n, jsonb_build_object('sku', md5(n::text), 'message', repeat(md5((n * m)::text), 3))"
            " FROM generate_series(1, %s) m, generate_series(1, %s) n",
            (months, lines),
        )


def _command(dsn: str, to: Path, *more: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "ARCHIVER_DATABASE_URL": dsn}
    command = [sys.executable, "-m", "archiver", "export", "--to", str(to), "--view", "line", *more]
    return subprocess.Popen(command, cwd=to.parent, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_killed_export_is_no_export_and_goes_on_where_it_was(engine: Engine, database: str, tmp_path: Path) -> None:
    _many_lines(database, 12, 5_000)
    to = tmp_path / "out"
    exported(engine, database, to, "run")  # a complete one was there before
    process = _command(database, to)
    _wait_for(lambda: len(list(to.glob("line/**/*.parquet"))) >= 3 and list(to.glob("**/_*.part")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert not (to / "_manifest.json").exists()
    whole = {path: path.stat().st_ino for path in to.glob("line/**/*.parquet")}
    assert all(pq.read_metadata(path).num_rows for path in whole)
    report = exported(engine, database, to, "line")
    assert report.kept >= len(whole)
    assert {path: path.stat().st_ino for path in whole} == whole
    assert not list(to.glob("**/*.part"))
    assert len(from_files(to, "line")) == 60_502
    assert ordered(from_files(to, "line")) == ordered(from_view(database, "line"))
    entries = manifest(to)["files"]
    assert {entry["view"] for entry in entries} == {"run", "line"}
    assert all(hashlib.sha256((to / one["path"]).read_bytes()).hexdigest() == one["sha256"] for one in entries)


@pytest.mark.parametrize("already", [None, datetime(2026, 2, 1, tzinfo=UTC)], ids=["first prune", "pruned before"])
def test_what_is_pruned_while_an_export_runs_stays_in_it(
    engine: Engine, database: str, tmp_path: Path, already: datetime | None
) -> None:
    """And what is erased then does not: each file is made of one state of the archive."""

    def prune(cut: datetime) -> None:
        Retention(engine).prune([Policy(1, cut, cut, cut)])

    def at_work(_: Exported) -> None:
        prune(datetime(2026, 3, 10, tzinfo=UTC))
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM archive.line WHERE log_id = 10403"))
            erased = "INSERT INTO archive.tombstone (flow_key, log_type, log_id) VALUES (1, 3, 10403)"
            connection.execute(text(f"{erased} ON CONFLICT DO NOTHING"))

    with engine.begin() as connection:
        connection.execute(text("UPDATE archive.checkpoint SET frontier = now()"))
    exported(engine, database, tmp_path, "line", flow_keys=(1,))
    before = {row["log_id"] for row in from_files(tmp_path, "line")}
    if already:
        prune(already)
    with engine.begin() as connection:
        connection.execute(text("UPDATE archive.line SET src_hash = src_hash + 1"))  # every month is written anew
    room.export(engine, database, str(tmp_path), Selection(("line",), (1,)), now=NOW, progress=at_work)
    after = [row["log_id"] for row in from_files(tmp_path, "line")]
    assert len(from_view(database, "line")) < 400
    assert 10403 in before
    assert sorted(after) == sorted(before - {10403})


def test_two_exports_into_one_folder_do_not_meet(engine: Engine, database: str, tmp_path: Path) -> None:
    with place_at(str(tmp_path)).locked(), pytest.raises(ExportRefused, match="another export"):
        exported(engine, database, tmp_path, "run")


def test_a_place_by_its_uri(engine: Engine, database: str, tmp_path: Path) -> None:
    """The way of s3://, on the one file system that pyarrow has everywhere."""
    uri = f"file://{tmp_path}/bucket/deep"
    exported(engine, database, uri, "run")
    folder = tmp_path / "bucket" / "deep"
    assert ordered(from_files(folder, "run")) == ordered(from_view(database, "run"))
    assert exported(engine, database, uri, "run").written == 0
    (folder / "run" / "_x.part").write_text("left behind")
    exported(engine, database, uri, "run")
    assert not list(folder.glob("**/*.part"))


def call(*arguments: str, dsn: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", dsn)
    monkeypatch.delenv("ARCHIVER_CONFIG", raising=False)
    return main(["export", *arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "out", "--view", "pg_class"], "there is no view 'pg_class'"),
        (["--to", "out", "--view", "run; DROP TABLE archive.run"], "there is no view"),
        (["--to", "out", "--flow", "x' OR 'a'='a"], "no flow is called"),
        (["--to", "a-file"], "it is a file; the export is not complete"),
        (["--to", "a-file/below"], "a part of its path is a file"),
        (["--to", ""], "an empty name is no place"),
        (["--to", "/proc/here"], "it cannot be made there"),
        (["--to", "nonsense://x/y"], "cannot be written to"),
        (["--to", "nonsense://key:canary@x/y"], "nonsense://***@x/y cannot be written to"),
        (["--to", "s3://key:canary@"], "cannot be written to"),
        (["--to", "out", "--since", "x"], "is no time"),
    ],
)
def test_wrong_calls_are_told_in_a_line(
    engine: Engine,
    database: str,
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("")
    assert call(*arguments, dsn=database, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) <= 2
    assert "canary" not in said
    assert not list(tmp_path.glob("**/_manifest.json"))


def test_a_full_disk_leaves_no_manifest(
    engine: Engine, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _many_lines(database, 2, 20_000)
    exported(engine, database, tmp_path / "out", "run")
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
        "from archiver.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "export", "--to", str(tmp_path / "out"), "--view", "line"],
        env={**os.environ, "ARCHIVER_DATABASE_URL": database},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "the export is not complete" in result.stderr
    assert not (tmp_path / "out" / "_manifest.json").exists()
    assert not list(tmp_path.glob("**/*.part"))


def test_the_report_is_json_for_programs(
    engine: Engine, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--to", str(tmp_path), "--view", "run", "--json"]
    assert call(*arguments, dsn=database, monkeypatch=monkeypatch) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == 100
    assert report["files"] == sorted(manifest(tmp_path)["files"], key=report["files"].index)


def test_a_missing_extra_is_named(
    engine: Engine, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_spec", lambda name: None if name == "pyarrow" else object())
    with pytest.raises(MissingExtra, match=r"archiver\[export\].*pip install '\.\[export\]'"):
        exported(engine, database, tmp_path)
