"""What is known to be missing: every kind of it has a name, and what is accepted counts no longer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from archiver import cli
from archiver.store import connect, migrate

FILL = """
INSERT INTO archive.flow (integrator, project_id, flow_id, flow_name)
VALUES ('demo', 'p', 'f1', 'price'), ('demo', 'p', 'f2', 'stock');
INSERT INTO archive.checkpoint (flow_key, frontier, gaps, source, failures_in_a_row, last_error, checked_at) VALUES
    (1, '2026-01-05', '[{"from": "2026-01-01T00:00:00+00:00", "to": "2026-01-02T00:00:00+00:00",
        "reason": "dropped", "noted_at": "2026-01-03T00:00:00+00:00"},
        {"from": null, "to": "2025-01-02T00:00:00+00:00", "reason": "depth_limited"}]',
        '{"late": 3, "lateness": 900000000}', 0, NULL, now()),
    (2, '2026-01-05', '[]', '{}', 2, 'could not be read for certain', now());
INSERT INTO archive.run (flow_key, log_id, created, filename_uuid, state, form, src_hash, archive_state, seen_at)
VALUES (1, 1, '2026-01-01', 'r1', 2, 0, 0, 'lost', now()), (1, 2, '2026-01-02', 'r2', 3, 0, 0, 'sealed', now()),
    (1, 3, '2026-01-03', 'r3', 2, 0, 0, 'stuck', now());
INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, error)
SELECT 1, 1, n, 2, '2026-01-02', outcome, 'why ' || outcome
FROM unnest(ARRAY['missing', 'unreadable', 'too_large', 'stored', 'wanted']) WITH ORDINALITY AS t(outcome, n);
INSERT INTO archive.quarantine (flow_key, log_type, src_hash, run_log_id, source, reason)
VALUES (1, 3, 77, 2, '{}', 'it has no usable id');
INSERT INTO archive.finding (flow_key, log_type, log_id, kind, run_log_id, created, what, cleared_at)
VALUES (1, 3, 5, 'lost', 2, '2026-01-02', 'a line', NULL), (1, 3, 6, 'stale', 2, '2026-01-02', 'a line', NULL),
    (1, 3, 7, 'corrupt', 2, '2026-01-02', 'a line', NULL), (1, 3, 8, 'lost', 2, '2026-01-02', 'found again', now());
"""
MISSING = {
    "gap", "lost_run", "missing_file", "unreadable_file", "too_large_file", "refused_row", "lost", "stale", "corrupt",
}  # fmt: skip


@pytest.fixture
def filled(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    engine = connect(database)
    migrate(engine)
    engine.dispose()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL.encode())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", database)
    for name in ("ARCHIVER_CONFIG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return database


def test_all_that_is_missing_is_listed_by_name_until_somebody_accepts_it(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        assert cli.main(arguments) == status, capsys.readouterr().err
        return capsys.readouterr().out

    def listed(*arguments: str, status: int = 0) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(said("gaps", "--json", *arguments, status=status))
        return rows

    rows = listed(status=1)
    assert {row["kind"] for row in rows if row["flow_name"] == "price" and row["is_open"]} == MISSING
    assert {row["kind"] for row in rows if not row["is_missing"]} == {"late_rows", "stuck_run"}
    (stuck,) = (row["what"] for row in rows if row["kind"] == "stuck_run")
    assert stuck == "open for longer than `stuck_after`; asked for once a day"
    assert [row["kind"] for row in rows if row["flow_name"] == "stock"] == ["uncertified"]
    assert len({row["gap_id"] for row in rows}) == len(rows)
    assert listed(status=1) == rows  # the ids stay
    assert "gap" in said("status", status=1)

    table = said("gaps", status=1)
    assert all(row["gap_id"] in table for row in rows)
    missing = sum(row["is_open"] for row in rows if row["flow_name"] == "price")
    assert table.endswith(f"{missing} things missing; 1 flow whose last poll failed\n")
    one = next(row for row in rows if row["kind"] == "lost_run")
    assert said("gaps", "ack", one["gap_id"], "--reason", "deleted by hand", "--by", "ayse") == "1 thing accepted\n"
    accepted = next(row for row in listed(status=1) if row["gap_id"] == one["gap_id"])
    assert (accepted["acknowledged_by"], accepted["reason"], accepted["is_open"]) == ("ayse", "deleted by hand", False)
    assert one["gap_id"] not in said("gaps", status=1)
    assert "ayse: deleted by hand" in said("gaps", "--all", status=1)

    said("gaps", "ack", "--all", "--flow", "price", "--reason", "known")
    after = listed("--flow", "price")
    assert not any(row["is_open"] for row in after)
    assert {row["kind"] for row in after if row["acknowledged_at"] is None} == {"late_rows", "stuck_run"}
    said("status", "--flow", "price")
    listed("--flow", "stock", status=1)
    said("gaps", "ack", "--all", "--reason", "an outage")
    listed()
    said("status")

    # What comes after is a new thing.
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("UPDATE archive.checkpoint SET checked_at = now() + interval '1 s' WHERE flow_key = 2")
        connection.execute("UPDATE archive.finding SET cleared_at = NULL WHERE log_id = 8")
    assert {row["kind"] for row in listed(status=1) if row["is_open"]} == {"uncertified", "lost"}


def test_a_poll_that_failed_is_nothing_that_is_missing_from_the_archive(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It counts in `status` and `gaps`, and is told as what it is; `verify --self` asks no Integrator."""
    assert cli.main(["gaps", "ack", "--all", "--flow", "price", "--reason", "known"]) == 0
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("UPDATE archive.checkpoint SET failures_in_a_row = 1 WHERE flow_key = 2")
    capsys.readouterr()
    assert cli.main(["gaps", "--flow", "stock"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "failed once: could not be read for certain" in said
    assert said.endswith("1 flow whose last poll failed")
    assert cli.main(["verify", "--self", "--flow", "stock"]) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--reason", "why"), "name the ids"),
        (("abc", "--all", "--reason", "why"), "name the ids"),
        (("abc", "--reason", " "), "--reason is empty"),
        (("abc", "--reason", "why"), "nothing that is missing has the id 'abc'"),
        (("abc",), "--reason"),
    ],
)
def test_a_wrong_acceptance_is_refused(
    filled: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert cli.main(["gaps", "ack", *arguments]) == 2
    assert words in capsys.readouterr().err
