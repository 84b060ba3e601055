"""Where in the list of a flow a page begins, by the sums that are kept for each day."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from archiver.queries.replay.asking import Replay


class Days(NamedTuple):
    """The days that a page lies in: `before` rows are younger than they are. Without a first day it lies in none."""

    total: int
    before: int
    first: datetime | None
    end: datetime | None


_DAYS = """
    WITH summed AS (
        SELECT day, {what} AS n, (sum({what}) OVER (ORDER BY day DESC))::bigint AS upto
        FROM archive.flow_day WHERE flow_key = %(flow_key)s
    ), chosen AS (
        SELECT min(day) AS first, max(day) AS last, min(upto - n) AS before
        FROM summed WHERE upto > %(offset)s AND upto - n < %(offset)s + %(limit)s AND n > 0
    )
    SELECT (SELECT coalesce(max(upto), 0) FROM summed), coalesce(before, 0),
        first::timestamp AT TIME ZONE day_zone, (last + 1)::timestamp AT TIME ZONE day_zone
    FROM chosen, archive.flow WHERE flow_key = %(flow_key)s
"""


def days_of(replay: Replay, flow_key: int, what: Literal["runs", "lines"], offset: int, limit: int) -> Days:
    """The days of the page that begins behind `offset` runs, or lines, of a flow."""
    (row,) = replay.rows(_DAYS.format(what=what), flow_key=flow_key, offset=offset, limit=limit)
    return Days(*row)
