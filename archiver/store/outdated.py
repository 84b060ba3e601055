"""What of a flow is older than it is to be kept: the policy, and the SQL that finds what it lets go.

Only what a run that is *sealed and done with* has goes: its lines are confirmed, it is not to be looked at again, and
none of its files is still wanted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Policy:
    """From when on a flow's runs, lines and details are kept; None: all of them, for ever."""

    flow_key: int
    runs: datetime | None = None
    lines: datetime | None = None
    details: datetime | None = None


@dataclass(slots=True)
class Gone:
    """How much of a flow has gone, or would go. Lines of dropped partitions count too."""

    flow_key: int
    runs: int = 0
    steps: int = 0
    lines: int = 0
    details: int = 0
    waiting: int = 0  # runs that are old enough, and stay for now: they are not done with


@dataclass(slots=True)
class Pruned:
    """What a prune did, or would do. `busy`: partitions that readers held on to; their rows stay until the next one."""

    flows: list[Gone] = field(default_factory=list)
    partitions: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)


# Of a run `r`. Nothing else may go.
DONE = """(r.archive_state = 'sealed' AND r.visit_at IS NULL AND NOT EXISTS (
    SELECT FROM archive.detail w WHERE w.flow_key = r.flow_key AND w.run_log_id = r.log_id AND w.outcome = 'wanted'))"""
RUN_ID = "coalesce(r.filename_uuid, r.original_filename_uuid)"
# Of a run `r` whose lines are to go: no younger run, and none that is not done with, has the same id.
_OTHER = f"""NOT EXISTS (
    SELECT FROM archive.run o WHERE o.flow_key = r.flow_key AND {{same}}
    AND o.log_id <> r.log_id AND NOT (o.created < %(before)s AND {DONE.replace("r.", "o.")}))"""
ALONE = " AND ".join(
    _OTHER.format(same=same)  # each by the index there is
    for same in (
        f"o.filename_uuid = {RUN_ID}",
        f"o.filename_uuid IS NULL AND o.original_filename_uuid = {RUN_ID}",
    )
)
_AGED = "r.flow_key = %(flow_key)s AND r.created < %(before)s"
OLD = f"{_AGED} AND {DONE}"
OLD_LINES = f"{OLD} AND {ALONE}"

# Whole days of the flow's own zone go, and nothing that is not certified yet.
CUT = """
    SELECT least(date_trunc('day', %(moment)s::timestamptz AT TIME ZONE f.day_zone) AT TIME ZONE f.day_zone, c.frontier)
    FROM archive.checkpoint c JOIN archive.flow f USING (flow_key)
    WHERE flow_key = %(flow_key)s AND c.frontier IS NOT NULL
"""
WAITING = f"SELECT count(*) FROM archive.run r WHERE {_AGED} AND NOT {DONE}"
COUNTS = {
    "lines": f"""
        SELECT count(*) FROM archive.line l WHERE l.flow_key = %(flow_key)s AND l.original_filename_uuid IN (
            SELECT {RUN_ID} FROM archive.run r WHERE {OLD_LINES} AND r.lines_pruned IS NOT TRUE)""",
    "details": f"""
        SELECT count(*) FROM archive.detail d JOIN archive.run r
            ON r.flow_key = d.flow_key AND r.log_id = d.run_log_id WHERE {OLD} AND r.details_pruned IS NOT TRUE""",
    "runs": f"SELECT count(*) FROM archive.run r WHERE {OLD_LINES}",
    "steps": f"""
        SELECT count(*) FROM archive.step s JOIN archive.run r
            ON r.flow_key = s.flow_key AND r.log_id = s.run_log_id WHERE {OLD_LINES}""",
}
