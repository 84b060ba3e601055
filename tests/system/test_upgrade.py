"""An archive that version 0.1.0 left, in the middle of its work, goes on under this version: nothing lost, no gap.

`archive-0.1.0.sql` is the data of a database of then, as `pg_dump --data-only` wrote it. The Integrator was a world of
two flows at 12:00, read to its end by `sync`; four hours later a second `sync` was killed while lines were owed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from archiver.demo.world import World
from archiver.schema import newest
from archiver.store import connect, migrate
from tests.system.story import Story, small_flows, told

LEFT = Path(__file__).parent / "archive-0.1.0.sql"
KILLED = datetime(2026, 11, 20, 16, 0, 8, tzinfo=UTC)  # by the world's clock
DUMPED = datetime(2026, 11, 26, 7, 46, 30, tzinfo=UTC)  # by the database's, which says when a run is due
HOUR = timedelta(hours=1)


class Clock:
    """Of the world: an hour after the archiver of then was killed."""

    now = KILLED + HOUR

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def story(tmp_path: Path, database: str) -> Iterator[Story]:
    engine = connect(database)
    migrate(engine, "0008")
    engine.dispose()
    restore(database, LEFT.read_text())
    flows = [replace(flow, every=HOUR, runs=None, lines=5, failed=0.3) for flow in small_flows("price", "stock")]
    world = World(Clock(), start=KILLED.replace(hour=2, minute=0, second=0), flows=flows)
    with told(tmp_path, database, flows=flows, world=world) as story:
        yield story


def restore(dsn: str, dump: str) -> None:
    """As psql would, the database's moments as long ago as they were then: else what was not due would be."""
    since = datetime.now(UTC) - DUMPED
    dump = re.sub(r"2026-11-2[67] [\d:.]+\+00", lambda moment: str(datetime.fromisoformat(moment[0]) + since), dump)
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT archive.make_partition('2026-11-01')")
        for statement, rows in re.findall(r"^(COPY [^\n]+);\n(.*?)^\\\.$", dump, re.MULTILINE | re.DOTALL):
            with connection.cursor().copy(statement) as copy:
                copy.write(rows)
        for statement in re.findall(r"^SELECT .+;$", dump, re.MULTILINE):
            connection.execute(statement)


# What was archived then, each row with the hash of what it says; a run that was not sealed may change.
KEPT = {
    "sealed runs": "SELECT flow_key, log_id, src_hash FROM archive.run WHERE archive_state = 'sealed'",
    "steps": "SELECT flow_key, log_id, src_hash FROM archive.step",
    "lines": "SELECT flow_key, log_id, created, src_hash FROM archive.line",
    "files": "SELECT flow_key, log_type, log_id, sha256, md5(body) FROM archive.detail WHERE outcome = 'stored'",
    "passes": "SELECT pass_id, outcome, requests FROM archive.pass",
    "errors": "SELECT flow_key, fingerprint, first_seen_at FROM archive.error_group",
}
FRONTIERS = "SELECT frontier, jsonb_array_length(intervals), gaps::text FROM archive.checkpoint ORDER BY flow_key"


def kept(story: Story) -> dict[str, set[tuple[Any, ...]]]:
    return {what: set(story.query(statement)) for what, statement in KEPT.items()}


def test_an_archive_of_0_1_0_goes_on(story: Story) -> None:
    before, frontiers = kept(story), story.query(FRONTIERS)
    counts = {what: len(rows) for what, rows in before.items()}
    assert counts == {"sealed runs": 20, "steps": 72, "lines": 105, "files": 30, "passes": 2, "errors": 7}
    refused = story.run("status")
    needs = f"the database's schema is 0008, this version needs {newest()}: run `archiver migrate`"
    assert (refused.returncode, needs in refused.stderr) == (2, True)

    done = story.run("migrate")
    assert (done.returncode, done.stdout) == (0, f"schema: 0008 → {newest()}\n")
    assert kept(story) == before
    assert story.query(FRONTIERS) == frontiers
    assert story.run("verify", "--self").returncode == 0

    done = story.run("sync")
    assert done.returncode == 0, done.stdout + done.stderr
    assert story.differences() == []
    after = kept(story)
    assert [what for what, rows in before.items() if not rows <= after[what]] == []
    for (was, _, _), (frontier, intervals, gaps) in zip(frontiers, story.query(FRONTIERS), strict=True):
        assert frontier > max(was, KILLED)
        assert (intervals, gaps) == (1, "[]")
    # What was sealed then is not read again.
    asked = {one.params.get("original_filename_uuid") for one in story.server.requests}
    sealed = {row[0] for row in story.query(_SEALED_THEN)}
    assert len(sealed) == 20
    assert not asked & sealed
    assert story.run("verify").returncode == 0
    assert story.run("status").returncode == 0


_SEALED_THEN = "SELECT original_filename_uuid FROM archive.run WHERE created < '2026-11-20 12:00+00'"
