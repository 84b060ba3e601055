"""Kinds of errors, kept exact: which logs have one, in which runs, since when.

A failed log that says what went wrong has its kind's fingerprint in `error_key`: a line always (if without a word,
that of the empty message), a step or a run where it or its file has a message. From these keys follow, and are changed
with them in one transaction under the lock on the flow's checkpoint,

- `archive.error_run`: how many lines, steps and runs have the kind in each run of the flow;
- `archive.error_group`: the kind's occurrences, the runs that it hit, when it was first and last seen, its newest
  message.

A step or a run that only says again what its lines say is no further occurrence: it counts where no line has the kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from psycopg import sql

from archiver.logs import LogType, Status
from archiver.messages import CLASSES_VERSION, VERSION, message_of, recognise, sample
from archiver.store.rows import Cursor

LINE, STEP, RUN = LogType.LINE, LogType.SUB, LogType.MAIN


class Hit(NamedTuple):
    """A failed log that has a kind of error. `message` is None where the log is to lose it."""

    key: int
    run_id: str
    log_type: int
    log_id: int
    created: str
    message: str | None = None


# The name of a log's run must follow from the log alone, so that it is the same when the log leaves its kind.
TABLES: dict[int, str] = {RUN: "run", STEP: "step", LINE: "line"}
# Times as text that sorts as it reads.
MOMENT = "to_char(created AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')"
RUN_ID: dict[int, str] = {
    RUN: "coalesce(filename_uuid, original_filename_uuid, log_id::text)",
    STEP: "coalesce(original_filename_uuid, run_log_id::text)",
    LINE: "coalesce(original_filename_uuid, '')",
}


def key_of(log_type: int, status: int | None, message: str | None) -> int | None:
    """The `error_key` of a log, given the message that it or its file has."""
    if status != Status.FAILED or (message is None and log_type != LINE):
        return None
    return recognise(message or "").fingerprint


def occurrences(lines: int, steps: int, runs: int) -> int:
    """How often a kind happened in a run in which so many logs of each type have it."""
    return lines or steps or runs


_PAIRS = sql.SQL("""
    SELECT fingerprint, run_id, lines, steps, runs FROM archive.error_run
    WHERE flow_key = %(flow_key)s
        AND (fingerprint, run_id) IN (SELECT * FROM unnest(%(keys)s::bigint[], %(run_ids)s::text[]))
""")
_PUT_PAIRS = sql.SQL("""
    INSERT INTO archive.error_run (flow_key, fingerprint, run_id, lines, steps, runs)
    SELECT %(flow_key)s, * FROM unnest(%(keys)s::bigint[], %(run_ids)s::text[], %(lines)s::int[], %(steps)s::int[],
        %(runs)s::int[])
    ON CONFLICT (flow_key, fingerprint, run_id)
    DO UPDATE SET lines = excluded.lines, steps = excluded.steps, runs = excluded.runs
""")
# The newest log speaks for its kind; of logs of one moment that of the highest type and id.
_IS_NEWER = """(stored.last_seen_at IS NULL OR (excluded.last_seen_at, excluded.last_log_type, excluded.last_log_id)
    >= (stored.last_seen_at, stored.last_log_type, stored.last_log_id))"""
_PUT_GROUPS = sql.SQL(f"""
    INSERT INTO archive.error_group AS stored (flow_key, fingerprint, version, error_class, template, sample,
        occurrences, runs_hit, first_seen_at, last_seen_at, last_log_type, last_log_id, class_version)
    SELECT %(flow_key)s, key, {VERSION}, error_class, template, sample,
        occurrences, runs_hit, first, last, log_type, log_id, {CLASSES_VERSION}
    FROM unnest(%(keys)s::bigint[], %(classes)s::text[], %(templates)s::text[], %(samples)s::text[], %(more)s::bigint[],
        %(more_runs)s::bigint[], %(first)s::timestamptz[], %(last)s::timestamptz[], %(types)s::smallint[],
        %(ids)s::bigint[])
        AS one(key, error_class, template, sample, occurrences, runs_hit, first, last, log_type, log_id)
    ON CONFLICT (flow_key, fingerprint) DO UPDATE SET
        version = excluded.version, error_class = excluded.error_class, template = excluded.template,
        class_version = excluded.class_version,
        occurrences = stored.occurrences + excluded.occurrences, runs_hit = stored.runs_hit + excluded.runs_hit,
        first_seen_at = least(stored.first_seen_at, excluded.first_seen_at),
        sample = CASE WHEN {_IS_NEWER} THEN excluded.sample ELSE stored.sample END,
        last_log_type = CASE WHEN {_IS_NEWER} THEN excluded.last_log_type ELSE stored.last_log_type END,
        last_log_id = CASE WHEN {_IS_NEWER} THEN excluded.last_log_id ELSE stored.last_log_id END,
        last_seen_at = greatest(stored.last_seen_at, excluded.last_seen_at)
""")
_LOWER_GROUPS = sql.SQL("""
    UPDATE archive.error_group g SET occurrences = g.occurrences + one.more, runs_hit = g.runs_hit + one.more_runs
    FROM unnest(%(keys)s::bigint[], %(more)s::bigint[], %(more_runs)s::bigint[]) AS one(key, more, more_runs)
    WHERE g.flow_key = %(flow_key)s AND g.fingerprint = one.key
""")
# Groups that lost a log at one of their ends have to look for the log that stands there now.
_FRAYED = sql.SQL("""
    SELECT DISTINCT g.fingerprint
    FROM unnest(%(keys)s::bigint[], %(types)s::smallint[], %(ids)s::bigint[], %(times)s::timestamptz[])
        AS gone(key, log_type, log_id, created)
    JOIN archive.error_group g ON g.flow_key = %(flow_key)s AND g.fingerprint = gone.key
    WHERE gone.created <= g.first_seen_at OR gone.created >= g.last_seen_at
""")
_END = """(SELECT created, {log_type} AS log_type, log_id FROM archive.{table}
    WHERE flow_key = %(flow_key)s AND error_key = %(key)s AND status = 3
    ORDER BY created {way}, log_id {way} LIMIT 1)"""


def _end(way: str) -> str:
    ends = " UNION ALL ".join(_END.format(log_type=kind, table=table, way=way) for kind, table in TABLES.items())
    order = f"ORDER BY created {way}, log_type {way}, log_id {way} LIMIT 1"
    return f"SELECT {MOMENT} AS moment, log_type, log_id FROM ({ends}) ends {order}"


_ENDS = sql.SQL(f"""
    SELECT newest.log_type, newest.log_id, newest.moment, oldest.moment
    FROM ({_end("DESC")}) newest, ({_end("ASC")}) oldest
""")
_MEND = sql.SQL("""
    UPDATE archive.error_group SET first_seen_at = %(first)s, last_seen_at = %(last)s, last_log_type = %(log_type)s,
        last_log_id = %(log_id)s, sample = %(sample)s,
        template = CASE WHEN %(log_id)s::bigint IS NULL THEN '' ELSE template END
    WHERE flow_key = %(flow_key)s AND fingerprint = %(key)s
""")
BESIDE: dict[int, str] = {RUN: "extra::text", STEP: "extra::text", LINE: "fields::text, rest::text"}


def move(cursor: Cursor, flow_key: int, gone: Sequence[Hit], come: Sequence[Hit]) -> None:
    """Logs lose kinds of errors (`gone`) and get others (`come`); their rows, and keys, are written already."""
    if not gone and not come:
        return
    more = _move_pairs(cursor, flow_key, gone, come)
    _raise_groups(cursor, flow_key, come, more)
    if gone:
        _lower_groups(cursor, flow_key, more)
        for key in _frayed(cursor, flow_key, gone):
            _mend(cursor, flow_key, key)


More = dict[int, tuple[int, int]]  # kind → how many more occurrences, and how many more runs hit


# Which logs of a run have a kind of error, by the rows alone.
_COUNTED = sql.SQL(f"""
    SELECT error_key, count(*) FILTER (WHERE kind = 3)::int, count(*) FILTER (WHERE kind = 2)::int,
        count(*) FILTER (WHERE kind = 1)::int
    FROM (
        SELECT error_key, 3 AS kind FROM archive.line
        WHERE flow_key = %(flow_key)s AND original_filename_uuid = %(run_id)s AND status = 3
        UNION ALL
        SELECT error_key, 2 FROM archive.step WHERE flow_key = %(flow_key)s AND run_log_id = %(id)s AND status = 3
            AND {RUN_ID[STEP]} = %(run_id)s
        UNION ALL
        SELECT error_key, 1 FROM archive.run WHERE flow_key = %(flow_key)s AND log_id = %(id)s AND status = 3
    ) failed WHERE error_key IS NOT NULL GROUP BY 1
""")
_KINDS_OF_RUN = sql.SQL("""
    SELECT fingerprint, lines, steps, runs FROM archive.error_run WHERE flow_key = %(flow_key)s AND run_id = %(run_id)s
""")


def recount(cursor: Cursor, flow_key: int, log_id: int, run_id: str | None) -> None:
    """Count a run's kinds of errors anew from its rows, where these were damaged; its kinds are known already."""
    bind = {"flow_key": flow_key, "id": log_id, "run_id": str(log_id) if run_id is None else run_id}
    have = {row[0]: tuple(row[1:]) for row in cursor.execute(_KINDS_OF_RUN, bind)}
    want = {row[0]: tuple(row[1:]) for row in cursor.execute(_COUNTED, bind)}
    none = (0, 0, 0)
    wrong = [key for key in have.keys() | want.keys() if have.get(key, none) != want.get(key, none)]
    if not wrong:
        return
    lines, steps, runs = ([want.get(key, none)[place] for key in wrong] for place in range(3))
    pairs = {"keys": wrong, "run_ids": [bind["run_id"]] * len(wrong), "lines": lines, "steps": steps, "runs": runs}
    cursor.execute(_PUT_PAIRS, {"flow_key": flow_key, **pairs})
    more: More = {}
    for key in wrong:
        was, becomes = occurrences(*have.get(key, none)), occurrences(*want.get(key, none))
        more[key] = (becomes - was, (becomes > 0) - (was > 0))
    _lower_groups(cursor, flow_key, more)
    for key in wrong:
        _mend(cursor, flow_key, key)


def _move_pairs(cursor: Cursor, flow_key: int, gone: Iterable[Hit], come: Iterable[Hit]) -> More:
    """Change the counts of kinds and runs; answers what that means for the kinds."""
    counts: dict[tuple[int, str], list[int]] = {}
    for hits, by in ((gone, -1), (come, 1)):
        for hit in hits:
            counts.setdefault((hit.key, hit.run_id), [0, 0, 0])[LINE - hit.log_type] += by
    changed = {pair: by for pair, by in counts.items() if any(by)}
    more: More = dict.fromkeys((key for key, _ in counts), (0, 0))
    if not changed:
        return more
    keys, run_ids = [key for key, _ in changed], [run_id for _, run_id in changed]
    rows = cursor.execute(_PAIRS, {"flow_key": flow_key, "keys": keys, "run_ids": run_ids})
    stored = {(row[0], row[1]): list(row[2:]) for row in rows}
    after: list[list[int]] = []
    for (key, run_id), grown in changed.items():
        had = stored.get((key, run_id), [0, 0, 0])
        after.append([count + one for count, one in zip(had, grown, strict=True)])
        was, becomes = occurrences(*had), occurrences(*after[-1])
        more[key] = (more[key][0] + becomes - was, more[key][1] + (becomes > 0) - (was > 0))
    lines, steps, runs = (list(column) for column in zip(*after, strict=True))
    bind = {"keys": keys, "run_ids": run_ids, "lines": lines, "steps": steps, "runs": runs}
    cursor.execute(_PUT_PAIRS, {"flow_key": flow_key, **bind})
    return more


def _raise_groups(cursor: Cursor, flow_key: int, come: Sequence[Hit], more: More) -> None:
    """Takes the kinds of `come` out of `more`."""
    newest: dict[int, Hit] = {}
    oldest: dict[int, str] = {}
    for hit in come:
        if hit.key not in newest or _place(hit) >= _place(newest[hit.key]):
            newest[hit.key] = hit
        oldest[hit.key] = min(hit.created, oldest.get(hit.key, hit.created))
    if not newest:
        return
    kinds = [recognise(hit.message or "") for hit in newest.values()]
    counts = [more.pop(key) for key in newest]
    cursor.execute(
        _PUT_GROUPS,
        {
            "flow_key": flow_key,
            "keys": list(newest),
            "classes": [kind.error_class for kind in kinds],
            "templates": [kind.template for kind in kinds],
            "samples": [sample(hit.message or "") for hit in newest.values()],
            "more": [count for count, _ in counts],
            "more_runs": [runs for _, runs in counts],
            "first": [oldest[key] for key in newest],
            "last": [hit.created for hit in newest.values()],
            "types": [hit.log_type for hit in newest.values()],
            "ids": [hit.log_id for hit in newest.values()],
        },
    )


def _place(hit: Hit) -> tuple[str, int, int]:
    return (hit.created, hit.log_type, hit.log_id)


def _lower_groups(cursor: Cursor, flow_key: int, more: More) -> None:
    bind = {
        "flow_key": flow_key,
        "keys": list(more),
        "more": [count for count, _ in more.values()],
        "more_runs": [runs for _, runs in more.values()],
    }
    cursor.execute(_LOWER_GROUPS, bind)


def _frayed(cursor: Cursor, flow_key: int, gone: Sequence[Hit]) -> list[int]:
    bind = {
        "flow_key": flow_key,
        "keys": [hit.key for hit in gone],
        "types": [hit.log_type for hit in gone],
        "ids": [hit.log_id for hit in gone],
        "times": [hit.created for hit in gone],
    }
    return [row[0] for row in cursor.execute(_FRAYED, bind).fetchall()]


def _mend(cursor: Cursor, flow_key: int, key: int) -> None:
    """Look up where a kind begins and ends now."""
    bind: dict[str, Any] = {"flow_key": flow_key, "key": key}
    ends = cursor.execute(_ENDS, bind).fetchone()
    if ends is None:
        cursor.execute(_MEND, {**bind, **dict.fromkeys(("log_type", "log_id", "last", "first", "sample"))})
        return
    log_type, log_id, last, first = ends
    words = sample(message_of_log(cursor, flow_key, log_type, log_id, last) or "")
    cursor.execute(
        _MEND, {**bind, "log_type": log_type, "log_id": log_id, "last": last, "first": first, "sample": words}
    )


def message_of_log(cursor: Cursor, flow_key: int, log_type: int, log_id: int, created: str) -> str | None:
    """The message of a stored log: its own, else that of its file."""
    row = cursor.execute(
        sql.SQL(
            f"SELECT (SELECT message FROM archive.detail d WHERE d.flow_key = l.flow_key AND d.log_type = %(log_type)s"
            f" AND d.log_id = l.log_id), {BESIDE[log_type]} FROM archive.{TABLES[log_type]} l"
            " WHERE flow_key = %(flow_key)s AND log_id = %(log_id)s AND created = %(created)s::timestamptz"
        ),
        {"flow_key": flow_key, "log_type": log_type, "log_id": log_id, "created": created},
    ).fetchone()
    return None if row is None else message_of(*row[1:]) or row[0]
