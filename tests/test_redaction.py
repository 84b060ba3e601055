"""`redact` from the configuration to the tables: nothing that it names is stored anywhere."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from archiver import config
from archiver.archive.masking import masked
from archiver.detail import unpack
from archiver.errors import ConfigError
from tests.test_archive import FLOW, Bench, bench, line_log, main_log, zipped

__all__ = ["bench"]

SECRET = "ayse@example.com"
RULES = ("email", "$.customer.name", "triggered_by")


def everything(dsn: str) -> str:
    """All that the database holds, as text; files unpacked."""
    found: list[str] = []
    with psycopg.connect(dsn) as connection:
        for (table,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'archive'").fetchall():
            query = sql.SQL("SELECT t::text FROM archive.{} t").format(sql.Identifier(table))
            found += [row[0] for row in connection.execute(query)]
        for (body,) in connection.execute("SELECT body FROM archive.detail WHERE body IS NOT NULL"):
            with zipfile.ZipFile(io.BytesIO(body)) as file:
                found += [file.read(name).decode() for name in file.namelist()]
    return "\n".join(found)


def test_what_is_named_is_never_stored(bench: Bench, database: str) -> None:
    step = main_log(101, log_type=2, status=3, is_send_S3=1, triggered_by=SECRET)
    run = main_log(1, status=3, is_send_S3=1, triggered_by=SECRET, sub_flows=[step], customer={"name": SECRET, "x": 1})
    odd = line_log(12, 1, email=SECRET)
    odd["id"] = "not a number"  # goes into quarantine, whole
    bench.world.insert(FLOW, 1, run)
    bench.world.insert(
        FLOW, 3, line_log(10, 1, email=SECRET, sku="S"), line_log(11, 1, deep={"a": [{"email": SECRET}]})
    )
    document = {"email": SECRET, "price": 1, "customer": {"name": SECRET, "city": "İzmir"}}
    bench.world.files[FLOW, 1] = zipped(json.dumps(document).encode())
    bench.world.files[FLOW, 101] = f"<html>{SECRET}</html>".encode()
    for _ in range(3):
        bench.turn(redact=RULES)
    held = everything(database)
    assert SECRET not in held
    assert "İzmir" in held
    assert bench.all("SELECT triggered_by FROM archive.run UNION ALL SELECT triggered_by FROM archive.step") == [
        ("[redacted]",),
        ("[redacted]",),
    ]
    assert bench.all("SELECT fields ->> 'email' FROM archive.line WHERE log_id = 10") == [("[redacted]",)]
    rows = bench.all("SELECT log_id, outcome, body IS NULL, error, document_changes FROM archive.detail ORDER BY 1")
    assert rows[0][:3] == (1, "stored", False)
    assert "masked before it was stored: $.customer.name (1), email (1); the file as it came had SHA-256" in rows[0][4]
    assert rows[1][:3] == (101, "unreadable", True)
    assert "not kept" in rows[1][3]
    assert bench.one("SELECT encode(sha256(body), 'hex') = sha256 FROM archive.detail WHERE log_id = 1")


def test_a_masked_row_that_is_read_again_is_the_same(bench: Bench) -> None:
    bench.world.insert(FLOW, 1, main_log(1, triggered_by=SECRET))
    assert bench.turn(redact=RULES).runs_new == 1
    again = bench.turn(redact=RULES)
    assert (again.runs_new, again.runs_changed) == (0, 0)


def test_the_checksum_of_the_file_that_came_is_told() -> None:
    body = zipped(b'{"email": "x", "n": 1.10}')
    detail = unpack(body)
    kept = masked(detail, ("email",))
    assert kept.body is not None
    assert kept.sha256 == hashlib.sha256(kept.body).hexdigest() != detail.sha256
    assert detail.sha256 in str(kept.document_changes)
    assert unpack(kept.body).document == '{"email":"[redacted]","n":1.10}' == kept.document
    assert masked(detail, ("email",)) == kept
    assert masked(detail, ()) is detail


def test_the_configuration_takes_names_and_paths(tmp_path: Path) -> None:
    def loaded(own: object, default: object) -> config.Flow:
        flow = {"id": "f", "name": "f"} | ({"redact": own} if own is not None else {})
        document = {
            "integrators": {"i": {"base_url": "http://127.0.0.1:9", "token": "t"}},
            "projects": [{"id": "p", "slug": "s", "flows": [flow]}],
            "defaults": {"redact": default},
        }
        (tmp_path / "config.yaml").write_text(json.dumps(document))
        return config.load(tmp_path / "config.yaml", {}).flows[0]

    assert loaded(None, ["email", "$.a[*].b"]).redact == ("email", "$.a[*].b")
    assert loaded(["phone"], ["email"]).redact == ("phone",)
    assert loaded(None, []).redact == ()
    with pytest.raises(ConfigError) as caught:
        loaded(["a.b", "id", "$.x["], [])
    assert len(caught.value.problems) == 3
    assert "write $.a.b" in caught.value.problems[0]
