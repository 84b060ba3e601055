"""Rows into the archive, and what is counted of them, in one transaction: run counters, days, kinds of errors.

The look-up that tells changed rows from unchanged ones also tells what they were counted as before, so that a row that
is read again, late or changed moves the counts by exactly what it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple, cast

from archiver.logs import Line, LogType, Run, Status, Step, dump_exact, micros, render
from archiver.messages import message_of
from archiver.sheets import text_of
from archiver.store import days, errors
from archiver.store.bar import Bar
from archiver.store.errors import Hit
from archiver.store.rows import (
    LINES,
    RUNS,
    STEPS,
    Batch,
    Cursor,
    Put,
    Row,
    execute,
    rank,
    run_tuple,
    step_tuple,
)

Log = Run | Step | Line
Place = tuple[int, int]  # log type and id

_TARGETS = {LogType.MAIN: RUNS, LogType.SUB: STEPS, LogType.LINE: LINES}


class Before(NamedTuple):
    """A log as the archive holds it; `moment` and `run_id` are those of its hit."""

    src_hash: int
    state: int | None
    status: int | None
    error_key: int | None
    moment: str
    run_id: str
    is_lost: bool = False  # a run that was given up: where it is shown again, it has to be written again


class Written(NamedTuple):
    """What became of some rows: the ids of those that were written, and of those that Postgres refused."""

    new: Set[int] = frozenset()
    changed: Set[int] = frozenset()
    refused: Set[int] = frozenset()

    def wrote(self, one: int) -> bool:
        return one in self.new or one in self.changed


class Logs(NamedTuple):
    """Logs of one type that are to be written: their texts for COPY, and, by id, the log and its run's log id."""

    log_type: LogType
    texts: Mapping[int, bytes]
    log_of: Callable[[int], Log]
    run_of: Callable[[int], int | None]


class OfStep(NamedTuple):
    """A step, and the log id and the `created` of its run."""

    step: Step
    run_log_id: int
    run_created: str


class Moves:
    """Which logs lose which kinds of errors, and which get them. `messages`: of failed logs that have one."""

    def __init__(self, messages: Mapping[Place, str]) -> None:
        self._messages = messages
        self._found: dict[Place, Hit] = {}
        self.gone: list[Hit] = []
        self.come: list[Hit] = []

    def look(self, log_type: LogType, log: Log, created: str | None, *names: str | int | None) -> None:
        """What kind of error a log has, if any, in the run of the first name that is one; see `errors.RUN_ID`."""
        place = (int(log_type), cast(int, log.log_id))
        message = self._messages.get(place)
        key = errors.key_of(log_type, log.status, message)
        if key is not None:
            run_id = next(str(name) for name in names if name is not None)
            self._found[place] = Hit(key, run_id, *place, str(created), message or "")

    def keys(self, log_type: LogType) -> dict[int, int]:
        """The `error_key` of the logs of one type that have one."""
        return {hit.log_id: hit.key for hit in self._found.values() if hit.log_type == log_type}

    def note(self, log_type: LogType, logs: Iterable[Log], have: Mapping[int, Before]) -> None:
        """These logs were written over what was there before."""
        for log in logs:
            log_id = cast(int, log.log_id)
            place = (int(log_type), log_id)
            was, hit = have.get(log_id), self._found.get(place)
            if was is not None and was.src_hash == log.src_hash and was.error_key == (hit and hit.key):
                continue
            if was is not None and was.error_key is not None:
                self.gone.append(Hit(was.error_key, was.run_id, *place, was.moment))
            if hit is not None:
                self.come.append(hit)


class Ledger:
    """The rows of one flow, within a transaction that holds the lock on its checkpoint."""

    def __init__(self, cursor: Cursor, flow_key: int) -> None:
        self._cursor = cursor
        self._flow = {"flow_key": flow_key}
        self._flow_key = flow_key
        self._bar = Bar(flow_key)

    def _run(self, statement: str, **bind: Any) -> Cursor:
        return execute(self._cursor, statement, self._flow | bind)

    def _one(self, statement: str, **bind: Any) -> Any:
        row = self._run(statement, **bind).fetchone()
        return row[0] if row else None

    def fetch(self, statement: str, **bind: Any) -> list[Row]:
        """All rows of a statement on this flow (`%(flow_key)s`): for answers that are small by their nature."""
        return self._run(statement, **bind).fetchall()

    # --- runs and steps ---

    def known(self, log_ids: Collection[int]) -> set[int]:
        """Which of these runs the archive holds."""
        rows = self._run(
            "SELECT log_id FROM archive.run WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s)", ids=list(log_ids)
        )
        return {row[0] for row in rows}

    def oldest_run(self) -> int | None:
        """`created` of the oldest run, in microseconds; None where there is none."""
        oldest = self._one("SELECT min(created) FROM archive.run WHERE flow_key = %(flow_key)s")
        return None if oldest is None else micros(oldest)

    def quarantined(self, hashes: Collection[int]) -> set[int]:
        """Which of these runs, given by the hash of their source, are in quarantine."""
        if not hashes:
            return set()
        rows = self._run(
            "SELECT src_hash FROM archive.quarantine"
            " WHERE flow_key = %(flow_key)s AND log_type = 1 AND src_hash = ANY(%(hashes)s)",
            hashes=list(hashes),
        )
        return {row[0] for row in rows}

    def put_runs(self, runs: Iterable[Run]) -> Put:
        """Store runs and their steps. A finished run that is new, or was open, owes its lines from now on."""
        distinct, refused = self._distinct(runs)
        have = self._before(LogType.MAIN, distinct)
        distinct = self._bar.runs(self._cursor, distinct, have)
        news = {one: run for one, run in distinct.items() if _is_news(run, have.get(one))}
        if not news:
            return Put(refused=refused)
        steps = [
            OfStep(step, run.log_id, str(run.created))
            for run in news.values()
            for step in run.steps
            if run.log_id is not None
        ]
        moves = Moves(self._messages(news.values(), (one.step for one in steps), ()))
        for run in news.values():
            moves.look(LogType.MAIN, run, run.created, run.filename_uuid, run.original_filename_uuid, run.log_id)
        texts = {log_id: text_of(run_tuple(run)) for log_id, run in news.items()}
        put = self._put(Logs(LogType.MAIN, texts, news.__getitem__, lambda one: one), have, moves)
        refused += len(put.refused) + self._put_steps(steps, moves)
        began = [str(run.created) for run in news.values()] + [have[one].moment for one in have.keys() & news.keys()]
        days.recount(self._cursor, self._flow_key, self._bar.counted(began))
        return Put(len(put.new), len(put.changed), refused)

    def put_steps(self, steps: Iterable[Step], run: tuple[int, str]) -> int:
        """Store steps that were listed by themselves, of a run that is given by its log id and its `created`; answers
        how many were refused."""
        some = list(steps)
        if not some or not self.known([run[0]]):
            return 0
        nameless = [step for step in some if step.log_id is None]
        why = "it has no usable id"
        refused = sum(self.quarantine(LogType.SUB, one.src_hash, run[0], one, why) for one in nameless)
        distinct = {step.log_id: step for step in some if step.log_id is not None}
        have = self._before(LogType.SUB, distinct)
        masked = self._bar.steps(self._cursor, distinct)
        news = [OfStep(step, *run) for one, step in masked.items() if _is_news(step, have.get(one))]
        if news:
            refused += self._put_steps(news, Moves(self._messages((), (one.step for one in news), ())))
        return refused

    def _put_steps(self, some: Iterable[OfStep], moves: Moves) -> int:
        """Write steps, and the errors that `moves` has by then; answers how many were refused."""
        steps = {one.step.log_id: one for one in some if one.step.log_id is not None}
        for step, run_log_id, run_created in steps.values():
            moves.look(LogType.SUB, step, step.created or run_created, step.original_filename_uuid, run_log_id)
        texts = {log_id: text_of(step_tuple(*one)) for log_id, one in steps.items()}
        have = self._before(LogType.SUB, steps)
        logs = Logs(LogType.SUB, texts, lambda one: steps[one].step, lambda one: steps[one].run_log_id)
        put = self._put(logs, have, moves)
        errors.move(self._cursor, self._flow_key, moves.gone, moves.come)
        return len(put.refused)

    def _distinct(self, runs: Iterable[Run]) -> tuple[dict[int, Run], int]:
        """By id, the most advanced of each; and how many went into quarantine, for want of a usable id or time."""
        distinct: dict[int, Run] = {}
        refused = 0
        for run in runs:
            if run.log_id is None or run.created is None:
                refused += self.quarantine(LogType.MAIN, run.src_hash, None, run, "it has no usable id and created")
            elif run.log_id not in distinct or rank(run.state) >= rank(distinct[run.log_id].state):
                distinct[run.log_id] = run
        return distinct, refused

    # --- what is there, and what comes ---

    def _before(self, log_type: int, log_ids: Collection[int]) -> dict[int, Before]:
        """Runs or steps as they are stored, by id."""
        if not log_ids:
            return {}
        lost = "archive_state = 'lost'" if log_type == LogType.MAIN else "false"
        rows = self._run(
            f"SELECT log_id, src_hash, state, status, error_key, {errors.MOMENT}, {errors.RUN_ID[log_type]},"
            f" {lost} FROM archive.{errors.TABLES[log_type]}"
            " WHERE flow_key = %(flow_key)s AND log_id = ANY(%(ids)s)",
            ids=list(log_ids),
        )
        return {row[0]: Before(*row[1:]) for row in rows}

    def _messages(self, runs: Iterable[Run], steps: Iterable[Step], lines: Iterable[Line]) -> dict[Place, str]:
        """The messages of those logs that failed: their own, else those of their files."""
        found: dict[Place, str | None] = {}
        for line in lines:
            if line.status == Status.FAILED and line.log_id is not None:
                found[LogType.LINE, line.log_id] = message_of(line.fields, line.rest)
        for log_type, logs in ((LogType.MAIN, runs), (LogType.SUB, steps)):
            for log in cast("Iterable[Run | Step]", logs):
                if log.status == Status.FAILED and log.log_id is not None:
                    found[log_type, log.log_id] = message_of(log.extra)
        silent = [place for place, message in found.items() if message is None]
        told = self._told(silent) if silent else {}
        return {place: words for place, message in found.items() if (words := message or told.get(place)) is not None}

    def _told(self, places: Sequence[Place]) -> dict[Place, str]:
        """What the files of these logs say went wrong."""
        rows = self._run(
            "SELECT log_type, log_id, message FROM archive.detail"
            " WHERE flow_key = %(flow_key)s AND message IS NOT NULL"
            " AND (log_type, log_id) IN (SELECT * FROM unnest(%(types)s::smallint[], %(ids)s::bigint[]))",
            types=[log_type for log_type, _ in places],
            ids=[log_id for _, log_id in places],
        )
        return {(row[0], row[1]): row[2] for row in rows}

    def recognise_again(self, log_type: int, log_id: int) -> None:
        """The file of a log has come, or come anew: a failed log that says nothing itself has its message from it."""
        beside = errors.BESIDE[log_type]
        row = self._run(
            f"SELECT status, error_key, {errors.MOMENT}, {errors.RUN_ID[log_type]}, {beside}"
            f" FROM archive.{errors.TABLES[log_type]} WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s",
            log_id=log_id,
        ).fetchone()
        if row is None or row[0] != Status.FAILED or message_of(*row[4:]) is not None:
            return
        _, before, moment, run_id, *_ = row
        message = self._told([(log_type, log_id)]).get((log_type, log_id))
        key = errors.key_of(log_type, Status.FAILED, message)
        if key is None and before is None:
            return
        gone = [] if before is None else [Hit(before, run_id, log_type, log_id, moment)]
        come = [] if key is None else [Hit(key, run_id, log_type, log_id, moment, message or "")]
        self._set_keys(log_type, [(log_id, moment, key)])
        errors.move(self._cursor, self._flow_key, gone, come)

    def told(self, log_type: int, log_id: int, message: str) -> None:
        """A stored file turns out to say what went wrong."""
        self._run(
            "UPDATE archive.detail SET message = %(message)s"
            " WHERE flow_key = %(flow_key)s AND log_type = %(log_type)s AND log_id = %(log_id)s",
            message=message,
            log_type=log_type,
            log_id=log_id,
        )
        self.recognise_again(log_type, log_id)

    def recognise(self, log_type: int, hits: Sequence[Hit]) -> None:
        """Stored logs of one type, none of which had a kind of error, get theirs."""
        done = self._set_keys(log_type, [(hit.log_id, hit.created, hit.key) for hit in hits])
        assert done == len(hits), "a log that was just read is not there"  # noqa: S101 - else it would be read for ever
        errors.move(self._cursor, self._flow_key, (), hits)

    def _set_keys(self, log_type: int, keys: Sequence[tuple[int, str, int | None]]) -> int:
        """The `error_key` of logs, given with their id and their time; answers how many there were."""
        if keys:
            return self._run(
                f"UPDATE archive.{errors.TABLES[log_type]} l SET error_key = one.key"
                " FROM unnest(%(ids)s::bigint[], %(times)s::timestamptz[], %(keys)s::bigint[]) AS one(id, created, key)"
                " WHERE l.flow_key = %(flow_key)s AND l.log_id = one.id AND l.created = one.created",
                ids=[log_id for log_id, _, _ in keys],
                times=[moment for _, moment, _ in keys],
                keys=[key for _, _, key in keys],
            ).rowcount
        return 0

    def _put(self, logs: Logs, have: Mapping[int, Before], moves: Moves) -> Written:
        """Write rows, but none back over one that had come further; those that Postgres refuses go into quarantine."""
        log_type, texts, log_of, run_of = logs
        back = {one for one in texts if one in have and rank(log_of(one).state) < rank(have[one].state)} if have else ()
        refused: set[int] = set()

        def refuse(one: int, why: str) -> None:
            refused.add(one)
            self.quarantine(log_type, log_of(one).src_hash, run_of(one), log_of(one), why)

        keys = moves.keys(log_type)
        batch = Batch(self._cursor, _TARGETS[log_type], self._flow, keys, refuse)
        old = {one: text for one, text in texts.items() if one in have and one not in back} if have else {}
        new = {one: text for one, text in texts.items() if one not in have} if have else texts
        if log_type == LogType.LINE:
            batch.insert(new)
            batch.put(old)
        else:
            batch.put({**new, **old})
        put = Written(new.keys(), old.keys(), refused)
        if refused:
            put = put._replace(new=new.keys() - refused, changed=old.keys() - refused)
        moves.note(log_type, (log_of(one) for one in have.keys() | keys.keys() if put.wrote(one)), have)
        return put

    def quarantine(self, log_type: int, src_hash: int, run_log_id: int | None, log: Log, why: str) -> int:
        """Keep a row that cannot be stored, whole, with the reason; answers 1 if it was not there yet."""
        return self._run(
            "INSERT INTO archive.quarantine (flow_key, log_type, src_hash, run_log_id, source, reason)"
            " VALUES (%(flow_key)s, %(log_type)s, %(src_hash)s, %(run_log_id)s, %(source)s, %(why)s)"
            " ON CONFLICT DO NOTHING",
            log_type=int(log_type),
            src_hash=src_hash,
            run_log_id=run_log_id,
            source=dump_exact(render(log)),
            why=why,
        ).rowcount


def _is_news(log: Log, was: Before | None) -> bool:
    return was is None or was.src_hash != log.src_hash or was.is_lost
