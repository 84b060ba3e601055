"""What audits found: kept for `archiver gaps`, `archiver status`, and the next audit."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from archiver.store.engine import translated


@dataclass(frozen=True, slots=True)
class Record:
    """An audit of a flow, which began then, or just now.

    `findings`: columns of `archive.finding` by name. `covers`: of which kinds nothing else is wrong with what began at
    or after `since`; None: only what is named in `mended` is known to be well again.
    """

    flow_key: int
    began: datetime | None
    scope: Mapping[str, Any]
    counts: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]
    mended: Sequence[tuple[str, int, int]] = ()
    covers: Collection[str] | None = None
    since: datetime | None = None


_AUDIT = text("""
    INSERT INTO archive.audit (flow_key, started_at, scope, counts, frontier)
    SELECT :flow_key, coalesce(CAST(:began AS timestamptz), now()), CAST(:scope AS jsonb), CAST(:counts AS jsonb),
        frontier
    FROM archive.checkpoint WHERE flow_key = :flow_key
""")
_CLEAR = text("""
    UPDATE archive.finding SET cleared_at = now()
    WHERE flow_key = :flow_key AND cleared_at IS NULL AND kind = ANY(:kinds)
        AND (CAST(:since AS timestamptz) IS NULL OR created >= :since)
        AND (kind, log_type, log_id) NOT IN
            (SELECT * FROM unnest(CAST(:k AS text[]), CAST(:t AS smallint[]), CAST(:i AS bigint[])))
""")
_MEND = text("""
    UPDATE archive.finding SET cleared_at = now()
    WHERE flow_key = :flow_key AND cleared_at IS NULL AND (kind, log_type, log_id) IN
        (SELECT * FROM unnest(CAST(:k AS text[]), CAST(:t AS smallint[]), CAST(:i AS bigint[])))
""")
_FIND = text("""
    INSERT INTO archive.finding AS known (flow_key, log_type, log_id, kind, run_log_id, created, what)
    VALUES (:flow_key, :log_type, :log_id, :kind, :run_log_id, :created, :what)
    ON CONFLICT (flow_key, log_type, log_id, kind) DO UPDATE SET
        what = excluded.what, run_log_id = excluded.run_log_id, created = coalesce(excluded.created, known.created),
        found_at = CASE WHEN known.cleared_at IS NULL THEN known.found_at ELSE excluded.found_at END, cleared_at = NULL
""")


def record(engine: Engine, audit: Record) -> None:
    """Write down what an audit came to: what is wrong, and what of before is well again."""
    flow = {"flow_key": audit.flow_key}
    found = [(str(one["kind"]), int(one["log_type"]), int(one["log_id"])) for one in audit.findings]
    with translated(), engine.begin() as connection:
        scope, counts = json.dumps(audit.scope), json.dumps(audit.counts)
        connection.execute(_AUDIT, {**flow, "began": audit.began, "scope": scope, "counts": counts})
        if audit.covers is not None:
            bind = {**flow, "kinds": list(audit.covers), "since": audit.since, **_columns(found)}
            connection.execute(_CLEAR, bind)
        if audit.mended:
            connection.execute(_MEND, {**flow, **_columns(audit.mended)})
        if audit.findings:
            connection.execute(_FIND, [{**flow, **one} for one in audit.findings])


def _columns(keys: Sequence[tuple[str, int, int]]) -> dict[str, list[Any]]:
    return {"k": [key[0] for key in keys], "t": [key[1] for key in keys], "i": [key[2] for key in keys]}
