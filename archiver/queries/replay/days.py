"""Where in the list of a flow a page begins, by the sums that are kept for each day.

The days stay as they were when runs or lines are pruned. So they count from the first day of which nothing has gone;
what is left of older ones is counted, and makes one more day, the oldest.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from archiver.queries.replay.asking import Replay

What = Literal["runs", "lines"]


class Days(NamedTuple):
    """The days that a page lies in: `before` rows are younger than they are. Times are as Postgres writes them.

    Without a first day the page lies in none.
    """

    total: int
    before: int
    first: str | None
    end: str | None


# The first whole day, in the flow's zone, behind all that was pruned; null where nothing ever was. Runs whose lines
# went are marked, and runs that went lie below `kept_from`.
_KEPT_FROM = """
    SELECT ((kept_from AT TIME ZONE day_zone) + interval '1 day' - interval '1 microsecond')::date AS day
    FROM archive.checkpoint JOIN archive.flow USING (flow_key) WHERE flow_key = %(flow_key)s
"""
_MARKED = """
    SELECT (max(r.created) AT TIME ZONE max(f.day_zone))::date + 1 AS day
    FROM archive.run r JOIN archive.flow f USING (flow_key)
    WHERE r.flow_key = %(flow_key)s AND r.lines_pruned IS NOT NULL
"""
_SINCE = {
    "runs": f"SELECT max(day)::text FROM ({_KEPT_FROM}) days",
    "lines": f"SELECT max(day)::text FROM ({_KEPT_FROM} UNION ALL {_MARKED}) days",
}
_LEFT = {
    "runs": "SELECT count(*)",
    "lines": "SELECT coalesce(sum(line_count) FILTER (WHERE lines_pruned IS NULL), 0)::bigint",
}
_OLDER = """
    FROM archive.run r JOIN archive.flow f USING (flow_key)
    WHERE r.flow_key = %(flow_key)s AND r.created < %(since)s::date::timestamp AT TIME ZONE f.day_zone
"""
_DAYS = """
    WITH summed AS (
        SELECT day, n, (sum(n) OVER (ORDER BY day DESC))::bigint AS upto
        FROM (
            SELECT day, {what} AS n FROM archive.flow_day
            WHERE flow_key = %(flow_key)s AND (%(since)s::date IS NULL OR day >= %(since)s::date)
            UNION ALL SELECT date '-infinity', %(older)s
        ) days
    ), chosen AS (
        SELECT min(day) AS first, max(day) AS last, min(upto - n) AS before
        FROM summed WHERE upto > %(offset)s AND upto - n < %(offset)s::bigint + %(limit)s AND n > 0
    )
    SELECT ({pruned}), (SELECT max(upto) FROM summed), coalesce(before, 0),
        (first::timestamp AT TIME ZONE day_zone)::text,
        ((CASE WHEN isfinite(last) THEN last + 1 ELSE %(since)s::date END)::timestamp AT TIME ZONE day_zone)::text
    FROM chosen, archive.flow WHERE flow_key = %(flow_key)s
"""


def days_of(replay: Replay, flow_key: int, what: What, offset: int, limit: int) -> Days:
    """The days of the page that begins behind `offset` runs, or lines, of a flow."""
    statement = _DAYS.format(what=what, pruned=_SINCE[what])
    bind: dict[str, Any] = {"flow_key": flow_key, "offset": offset, "limit": limit}
    ((since, *days),) = replay.rows(statement, **bind, since=None, older=0)
    if since is not None:
        older = _older(replay, flow_key, what, since)
        ((_, *days),) = replay.rows(statement, **bind, since=since, older=older)
    return Days(*days)


def _older(replay: Replay, flow_key: int, what: What, since: str) -> int:
    """What is left of the days before `since`: looked for once, as long as nothing changes there."""
    ((ever,),) = replay.rows(
        f"SELECT coalesce(sum({what}), 0)::bigint FROM archive.flow_day WHERE flow_key = %(key)s AND day < %(since)s",
        key=flow_key,
        since=since,
    )
    key = ("older", flow_key, what, since, ever)
    count = replay.memory.count(key) if what == "lines" else None
    if count is None:
        ((count,),) = replay.rows(_LEFT[what] + _OLDER, flow_key=flow_key, since=since)
        replay.memory.note_count(key, count)
    return count
