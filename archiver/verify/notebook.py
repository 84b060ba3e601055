"""What an audit has seen so far: in a file of its own and not in the archive that it audits.

A process that is killed leaves it behind, and the next audit of the same scope goes on with it. Everything that one
step brings is written in one transaction with the place to go on from.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

from archiver.logs import Row, dump_exact, load_exact
from archiver.verify.verdict import Counts, Finding, Verdict

FRESH = timedelta(days=1)  # an older notebook tells of another time

_TABLES = """
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS listed (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS tally (level TEXT, verdict TEXT, n INTEGER NOT NULL, PRIMARY KEY (level, verdict));
CREATE TABLE IF NOT EXISTS doubt (id INTEGER PRIMARY KEY, source TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS finding (kind TEXT, log_type INTEGER, log_id INTEGER, body TEXT NOT NULL,
    PRIMARY KEY (kind, log_type, log_id));
CREATE TEMP TABLE seen (id INTEGER PRIMARY KEY);
CREATE TEMP TABLE doubted (id INTEGER PRIMARY KEY, verdict TEXT NOT NULL);
"""


class Notebook:
    """One audit of one flow. What notes, counts or settles something belongs into a `step()`, with the place to go on
    from: outside, each call is kept by itself, and an audit that goes on after it counts twice. Reading may stand
    anywhere."""

    def __init__(self, path: Path | None, began: datetime) -> None:
        self._path = path
        self.keep = False  # the audit could not be finished, though nothing went wrong with it
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")  # it outlives the process, and need not outlive the machine
        self._db.executescript(_TABLES)
        with self.step():
            self.began = datetime.fromisoformat(self.note("began", began.isoformat()))

    @contextmanager
    def step(self) -> Iterator[None]:
        """All that is noted in the block, or nothing of it."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def note(self, name: str, first: str) -> str:
        """What is noted under a name; `first` is noted where there is nothing yet."""
        self._db.execute("INSERT OR IGNORE INTO note VALUES (?, ?)", (name, first))
        row = self._db.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def set_note(self, name: str, value: str) -> None:
        """Note a value, in place of what is noted under the name."""
        self._db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))

    # --- the list of runs ---

    def list_ids(self, ids: Sequence[int]) -> set[int]:
        """These ids are listed; answers which of them were not known to be."""
        return self._add("listed", ids)

    def is_listed(self, log_id: int) -> bool:
        """Whether either walk has shown a run."""
        return self._db.execute("SELECT 1 FROM listed WHERE id = ?", (log_id,)).fetchone() is not None

    def doubt(self, log_id: int, row: Row) -> None:
        """A run seems to be lost or stale: it has to be asked for again."""
        self._db.execute("INSERT OR REPLACE INTO doubt VALUES (?, ?)", (log_id, dump_exact(row)))

    def next_doubts(self, most: int) -> list[tuple[int, Row]]:
        """Doubtful runs that are not settled, with their rows as they were listed."""
        rows = self._db.execute("SELECT id, source FROM doubt ORDER BY id LIMIT ?", (most,)).fetchall()
        return [(log_id, load_exact(source)) for log_id, source in rows]

    def settle_doubt(self, log_id: int) -> None:
        """A run was asked for again."""
        self._db.execute("DELETE FROM doubt WHERE id = ?", (log_id,))

    # --- the lines of one run ---

    def begin_run(self) -> None:
        """Forget the lines of the run before."""
        self._db.execute("DELETE FROM seen")
        self._db.execute("DELETE FROM doubted")

    def see(self, ids: Sequence[int]) -> set[int]:
        """These lines of the run are listed; answers which of them are new."""
        return self._add("seen", ids)

    @property
    def seen(self) -> int:
        """How many lines of the run were listed."""
        (count,) = self._db.execute("SELECT count(*) FROM seen").fetchone()
        return int(count)

    def doubt_line(self, log_id: int, verdict: Verdict) -> None:
        """A line seems to be that: the second walk has to confirm it."""
        self._db.execute("INSERT OR REPLACE INTO doubted VALUES (?, ?)", (log_id, str(verdict)))

    def doubted(self, ids: Collection[int]) -> set[int]:
        """Which of these lines are in doubt."""
        marks = ",".join("?" * len(ids))
        return {row[0] for row in self._db.execute(f"SELECT id FROM doubted WHERE id IN ({marks})", list(ids))}

    def doubt_of(self, log_id: int) -> Verdict | None:
        """What a line seemed to be; None where it was not in doubt."""
        row = self._db.execute("SELECT verdict FROM doubted WHERE id = ?", (log_id,)).fetchone()
        return None if row is None else Verdict(row[0])

    def settle_line(self, log_id: int) -> None:
        """A line was judged anew."""
        self._db.execute("DELETE FROM doubted WHERE id = ?", (log_id,))

    def doubts_left(self) -> list[tuple[int, Verdict]]:
        """The lines that are still in doubt, and what they seemed to be."""
        rows = self._db.execute("SELECT id, verdict FROM doubted ORDER BY id").fetchall()
        return [(log_id, Verdict(verdict)) for log_id, verdict in rows]

    def _add(self, table: str, ids: Sequence[int]) -> set[int]:
        if not ids:
            return set()
        marks = ",".join("?" * len(ids))
        known = {row[0] for row in self._db.execute(f"SELECT id FROM {table} WHERE id IN ({marks})", list(ids))}
        fresh = set(ids) - known
        self._db.executemany(f"INSERT INTO {table} VALUES (?)", [(one,) for one in fresh])
        return fresh

    # --- what came of it ---

    def count(self, counts: Counts) -> None:
        """Add to what was counted before."""
        self._db.executemany(
            "INSERT INTO tally VALUES (?, ?, ?) ON CONFLICT (level, verdict) DO UPDATE SET n = n + excluded.n",
            [(level, str(verdict), n) for (level, verdict), n in counts.items() if n],
        )

    def counts(self) -> Counts:
        """All that was counted."""
        rows = self._db.execute("SELECT level, verdict, n FROM tally").fetchall()
        return Counter({(level, Verdict(verdict)): n for level, verdict, n in rows})

    def find(self, finding: Finding) -> None:
        """Report a finding; of one log and kind the last one stays."""
        body = json.dumps(asdict(finding))
        key = (finding.kind, finding.log_type, finding.log_id)
        self._db.execute("INSERT OR REPLACE INTO finding VALUES (?, ?, ?, ?)", (*key, body))

    def findings(self) -> Iterator[Finding]:
        """All that was reported, by type and id."""
        for (body,) in self._db.execute("SELECT body FROM finding ORDER BY log_type, log_id, kind"):
            values: dict[str, Any] = json.loads(body)
            yield Finding(**{**values, "verdict": Verdict(values["verdict"])})

    def close(self, *, done: bool) -> None:
        """`done`: nothing of it is needed any more."""
        self._db.close()
        if done and self._path is not None:
            self._path.unlink(missing_ok=True)


@contextmanager
def notebook(folder: Path | None, flow_key: int, scope: str, now: datetime) -> Iterator[Notebook]:
    """The notebook of an audit: the one that a killed audit left, if it is of the same scope and fresh.

    It goes when the block ends well. Without a `folder` that can be written to it is kept in memory.
    """
    with ExitStack() as stack:
        book = _opened(_mine(folder, flow_key, scope, stack), now)
        try:
            yield book
        except BaseException:
            book.close(done=False)
            raise
        book.close(done=not book.keep)


def _mine(folder: Path | None, flow_key: int, scope: str, stack: ExitStack) -> Path | None:
    """The notebook's place; None where no other process must be disturbed, or nothing can be written."""
    if folder is None:
        return None
    digest = blake2b(scope.encode(), digest_size=6).hexdigest()
    path = folder / f"flow-{flow_key}-{digest}.sqlite"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context(path.with_suffix(".lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return path


def _opened(path: Path | None, now: datetime) -> Notebook:
    try:
        book = Notebook(path, now)
    except sqlite3.DatabaseError as exc:  # half written when the machine went down
        if path is None or isinstance(exc, sqlite3.OperationalError):
            raise
        path.unlink()
        return Notebook(path, now)
    if now - book.began > FRESH:
        book.close(done=True)
        return Notebook(path, now)
    return book
