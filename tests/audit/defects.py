"""Defects of all kinds, planted into an archive that was complete; each says what an audit has to find.

A defect is what a mistake of the archiver, a hand, or a disk could do: rows and files that are not there, that are
another version, or that are damaged, with and without a hash that fits; obligations that nobody remembers.
"""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

from archiver.logs import Line, parse_line, parse_run, render
from archiver.store import connect
from archiver.store.rows import RUN, run_tuple
from tests.originals import line_logs, main_logs


class Expected(NamedTuple):
    """What has to be found: a level and a verdict of a log, or the number of an invariant that it breaks."""

    name: str
    level: str
    log_id: int
    verdict: str


Row = dict[str, Any]


class Bench:
    """One archive to plant defects in. No two of them touch the same run."""

    def __init__(self, dsn: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.engine = connect(dsn)
        self.used: set[tuple[int, int]] = set()

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()

    def do(self, statement: str, **bind: Any) -> list[Row]:
        cursor = self.connection.execute(statement.encode(), bind)
        return cursor.fetchall() if cursor.description else []

    def pick(self, statement: str) -> Row:
        """A row of the statement by chance, of a run that is still whole. `run_log_id` names it."""
        rows = [row for row in self.do(statement) if (row["flow_key"], row["run_log_id"]) not in self.used]
        row = self.chance.choice(rows)
        self.used.add((row["flow_key"], row["run_log_id"]))
        return row

    def run(self, where: str = "true") -> Row:
        return self.pick(f"SELECT *, log_id AS run_log_id FROM archive.run WHERE archive_state = 'sealed' AND {where}")

    def line(self, where: str = "true") -> Row:
        return self.pick(
            "SELECT l.*, r.log_id AS run_log_id FROM archive.line l JOIN archive.run r ON r.flow_key = l.flow_key"
            f" AND r.filename_uuid = l.original_filename_uuid WHERE r.archive_state = 'sealed' AND {where}"
        )

    def file(self) -> Row:
        return self.pick("SELECT * FROM archive.detail WHERE outcome = 'stored' AND body IS NOT NULL")

    def step(self) -> Row:
        return self.pick(
            "SELECT s.* FROM archive.step s JOIN archive.run r ON r.flow_key = s.flow_key AND r.log_id = s.run_log_id"
            " WHERE r.archive_state = 'sealed'"
        )


def lost_run(bench: Bench) -> list[Expected]:
    row = bench.run()
    bench.do("DELETE FROM archive.run WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s", **row)
    return [Expected("lost_run", "run", row["log_id"], "lost")]


def lost_run_with_all(bench: Bench) -> list[Expected]:
    row = bench.run()
    bench.do("DELETE FROM archive.line WHERE flow_key = %(flow_key)s"
             " AND original_filename_uuid = %(filename_uuid)s", **row)  # fmt: skip
    for table, column in (("step", "run_log_id"), ("detail", "run_log_id"), ("run", "log_id")):
        bench.do(f"DELETE FROM archive.{table} WHERE flow_key = %(flow_key)s AND {column} = %(log_id)s", **row)
    return [Expected("lost_run_with_all", "run", row["log_id"], "lost")]


def lost_line(bench: Bench) -> list[Expected]:
    row = bench.line()
    bench.do("DELETE FROM archive.line WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s", **row)
    return [Expected("lost_line", "line", row["log_id"], "lost")]


def lost_lines_with_their_count(bench: Bench) -> list[Expected]:
    """As a walk that ended too early and believed in itself."""
    row = bench.run("line_count > 4")
    gone = bench.do(
        "DELETE FROM archive.line WHERE (log_id, flow_key, created) IN (SELECT log_id, flow_key, created"
        " FROM archive.line WHERE flow_key = %(flow_key)s AND original_filename_uuid = %(filename_uuid)s"
        " ORDER BY created LIMIT 3) RETURNING log_id",
        **row,
    )
    bench.do(
        "UPDATE archive.run SET line_count = line_count - 3, source_line_count = source_line_count - 3"
        " WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s",
        **row,
    )
    return [Expected("lost_lines_with_their_count", "line", one["log_id"], "lost") for one in gone]


def lost_file(bench: Bench) -> list[Expected]:
    row = bench.file()
    bench.do("DELETE FROM archive.detail WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s"
             " AND log_id = %(log_id)s", **row)  # fmt: skip
    return [Expected("lost_file", "file", row["log_id"], "lost")]


def damaged_run(bench: Bench) -> list[Expected]:
    row = bench.run("process_count IS NOT NULL")
    bench.do("UPDATE archive.run SET process_count = process_count + 1 WHERE flow_key = %(flow_key)s"
             " AND log_id = %(log_id)s", **row)  # fmt: skip
    return [Expected("damaged_run", "run", row["log_id"], "corrupt")]


def damaged_line(bench: Bench) -> list[Expected]:
    row = bench.line("fields IS NOT NULL")
    bench.do(
        'UPDATE archive.line SET fields = fields || \'{"sku": "forged"}\' WHERE flow_key = %(flow_key)s'
        " AND log_id = %(log_id)s",
        **row,
    )
    return [Expected("damaged_line", "line", row["log_id"], "corrupt")]


def turned_line(bench: Bench) -> list[Expected]:
    """A failed line that says that it went well."""
    row = bench.line("l.status = 3")
    bench.do("UPDATE archive.line SET status = 2 WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s", **row)
    return [Expected("turned_line", "line", row["log_id"], "corrupt")]


def lost_step(bench: Bench) -> list[Expected]:
    row = bench.step()
    bench.do("DELETE FROM archive.step WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s", **row)
    return [Expected("lost_step", "run", row["run_log_id"], "corrupt")]


def damaged_step(bench: Bench) -> list[Expected]:
    row = bench.step()
    bench.do("UPDATE archive.step SET finished = finished + interval '1 s' WHERE flow_key = %(flow_key)s"
             " AND log_id = %(log_id)s", **row)  # fmt: skip
    return [Expected("damaged_step", "run", row["run_log_id"], "corrupt")]


def stale_run(bench: Bench) -> list[Expected]:
    """An older version of it, with the hash of that version."""
    row = bench.run("success_count > 0")
    with bench.engine.connect() as connection:
        (sent,) = main_logs(connection, row["flow_key"], log_ids=[row["log_id"]])
    run = parse_run({**sent, "success_count": sent["success_count"] - 1})
    _overwrite(bench, "run", RUN, run_tuple(run), row["flow_key"])
    return [Expected("stale_run", "run", row["log_id"], "stale")]


def stale_line(bench: Bench) -> list[Expected]:
    row = bench.line("l.finished IS NOT NULL")
    with bench.engine.connect() as connection:
        lines = line_logs(connection, row["flow_key"], row["original_filename_uuid"])
        sent = next(line for line in lines if line["id"] == row["log_id"])
    line = parse_line({**sent, "an_older": "version"})
    assert render(line)["an_older"] == "version"
    _overwrite(bench, "line", Line._fields, line, row["flow_key"])
    return [Expected("stale_line", "line", row["log_id"], "stale")]


def _overwrite(bench: Bench, table: str, names: Sequence[str], values: Sequence[Any], flow_key: int) -> None:
    columns = ", ".join(f"{name} = %({name})s" for name in names)
    bind = dict(zip(names, values, strict=True))
    bench.do(
        f"UPDATE archive.{table} SET {columns} WHERE flow_key = %(key)s AND log_id = %(log_id)s", **bind, key=flow_key
    )


def given_up_run(bench: Bench) -> list[Expected]:
    row = bench.run()
    bench.do("UPDATE archive.run SET archive_state = 'lost', visit_at = NULL WHERE flow_key = %(flow_key)s"
             " AND log_id = %(log_id)s", **row)  # fmt: skip
    return [Expected("given_up_run", "run", row["log_id"], "stale")]


def rotten_file(bench: Bench) -> list[Expected]:
    row = bench.file()
    place = bench.chance.randrange(len(row["body"]))
    bench.do(
        "UPDATE archive.detail SET body = set_byte(body, %(place)s, 255 - get_byte(body, %(place)s))"
        " WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s",
        **row,
        place=place,
    )
    return [Expected("rotten_file", "file", row["log_id"], "corrupt")]


def cut_file(bench: Bench) -> list[Expected]:
    row = bench.file()
    bench.do(
        "UPDATE archive.detail SET body = substr(body, 1, length(body) - 1)"
        " WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s",
        **row,
    )
    return [Expected("cut_file", "file", row["log_id"], "corrupt")]


def forged_file(bench: Bench) -> list[Expected]:
    """Another file, with the hash of that one."""
    row = bench.file()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("forged.json", '{"all": "went well"}')
    body = buffer.getvalue()
    bench.do(
        "UPDATE archive.detail SET body = %(new)s, sha256 = %(digest)s, byte_size = %(size)s,"
        ' document = \'{"all": "went well"}\''
        " WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s",
        **row,
        new=body,
        digest=hashlib.sha256(body).hexdigest(),
        size=len(body),
    )
    return [Expected("forged_file", "file", row["log_id"], "stale")]


def forged_document(bench: Bench) -> list[Expected]:
    row = bench.pick("SELECT * FROM archive.detail WHERE document IS NOT NULL AND document_changes IS NULL")
    bench.do(
        'UPDATE archive.detail SET document = \'{"all": "went well"}\''
        " WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s",
        **row,
    )
    return [Expected("forged_document", "file", row["log_id"], "corrupt")]


def forgotten_run(bench: Bench) -> list[Expected]:
    """It owes its lines, and nobody will ever ask for them."""
    row = bench.run()
    bench.do("UPDATE archive.run SET archive_state = 'pending', visit_at = NULL WHERE flow_key = %(flow_key)s"
             " AND log_id = %(log_id)s", **row)  # fmt: skip
    return [Expected("forgotten_run", "invariant 3", row["log_id"], "broken")]


def unfinished_again(bench: Bench) -> list[Expected]:
    row = bench.run()
    bench.do("UPDATE archive.run SET state = 2 WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s", **row)
    return [
        Expected("unfinished_again", "run", row["log_id"], "corrupt"),
        Expected("unfinished_again", "invariant 7", row["log_id"], "broken"),
    ]


def line_twice(bench: Bench) -> list[Expected]:
    row = bench.line()
    columns = ", ".join(("flow_key", *(name for name in Line._fields if name != "created")))
    bench.do(
        f"INSERT INTO archive.line (created, {columns}) SELECT created + interval '1 hour', {columns}"
        " FROM archive.line WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s",
        **row,
    )
    return [Expected("line_twice", "invariant 5", row["log_id"], "broken")]


def forgotten_file(bench: Bench) -> list[Expected]:
    row = bench.file()
    bench.do(
        "UPDATE archive.detail SET outcome = 'wanted', next_attempt_at = NULL"
        " WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s",
        **row,
    )
    return [Expected("forgotten_file", "invariant 8", row["log_id"], "broken")]


KINDS: tuple[Callable[[Bench], list[Expected]], ...] = (
    lost_run,
    lost_run_with_all,
    lost_line,
    lost_lines_with_their_count,
    lost_file,
    damaged_run,
    damaged_line,
    turned_line,
    lost_step,
    damaged_step,
    stale_run,
    stale_line,
    given_up_run,
    rotten_file,
    cut_file,
    forged_file,
    forged_document,
    forgotten_run,
    unfinished_again,
    line_twice,
    forgotten_file,
)


def plant(dsn: str, count: int, seed: int) -> list[Expected]:
    """Plant so many defects, of all kinds in turn; what has to be found."""
    bench = Bench(dsn, seed)
    try:
        return [one for number in range(count) for one in KINDS[number % len(KINDS)](bench)]
    finally:
        bench.close()


def missed(expected: Sequence[Expected], said: dict[str, Any]) -> list[Expected]:
    """What of it an audit's JSON does not say. An invariant names its first examples, and counts all."""
    found = {(one["level"], one["log_id"], one["verdict"]) for flow in said["flows"] for one in flow["findings"]}
    broken: dict[int, int] = {}
    for one in said["invariants"]:
        broken[one["number"]] = broken.get(one["number"], 0) + one["violations"]
    owed = [one for one in expected if one.level.startswith("invariant")]
    wrong = [one for one in expected if one not in owed and one[1:] not in found]
    for number in {int(one.level.removeprefix("invariant ")) for one in owed}:
        some = [one for one in owed if one.level == f"invariant {number}"]
        if broken.get(number, 0) < len(some):
            wrong += some
    return wrong
