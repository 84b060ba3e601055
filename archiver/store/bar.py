"""What must not come (back) into a flow: runs below `kept_from`, lines that were pruned, logs that were erased.

All of it is asked with the fence, in the query that every transaction begins with: a flow of which nothing was ever
pruned or erased pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from datetime import datetime
from typing import Any, NamedTuple

from archiver.logs import LogType, Run, Step, canonical, parse_run, parse_step, render
from archiver.redact import mask_fields
from archiver.store.rows import Cursor, execute

Masks = Mapping[tuple[LogType, int], tuple[str, ...] | None]  # None: the log has gone


class Bar(NamedTuple):
    """`kept_from` as canonical text; `pruned`: whether lines or details ever were; `tombstones`: how many there are."""

    flow_key: int
    kept_from: str | None = None
    pruned: bool = False
    tombstones: int = 0

    @classmethod
    def of(cls, flow_key: int, kept_from: datetime | None, pruned: bool, tombstones: int) -> Bar:
        """From the columns of `archive.checkpoint`, and the flow's key."""
        return cls(flow_key, None if kept_from is None else canonical(kept_from), pruned, tombstones)

    def runs(self, cursor: Cursor, runs: Mapping[int, Run], known: Collection[int]) -> dict[int, Run]:
        """Those that may be stored: no new ones of the time of which nothing is kept; what was erased stays masked."""
        allowed = {
            log_id: run
            for log_id, run in runs.items()
            if self.kept_from is None or log_id in known or str(run.created) >= self.kept_from
        }
        if not self.tombstones:
            return allowed
        steps = [step.log_id for run in allowed.values() for step in run.steps if step.log_id is not None]
        erased = {**self._masks(cursor, LogType.MAIN, allowed), **self._masks(cursor, LogType.SUB, steps)}
        return {log_id: _erased(run, erased) for log_id, run in allowed.items()} if erased else allowed

    def steps(self, cursor: Cursor, steps: Mapping[int, Step]) -> dict[int, Step]:
        """Steps by log id as they may be stored: what was erased of them stays masked."""
        erased: Masks = self._masks(cursor, LogType.SUB, steps) if self.tombstones else {}
        found = dict(steps)
        for (_, log_id), fields in erased.items():
            found[log_id] = parse_step(mask_fields(render(steps[log_id]), fields or ()))
        return found

    def counted(self, moments: Iterable[str]) -> list[str]:
        """The moments of runs whose days may be counted again: those of pruned runs keep their counts as history."""
        return [moment for moment in moments if self.kept_from is None or moment >= self.kept_from]

    def lines(self, cursor: Cursor, run_log_id: int, ids: Set[int]) -> Set[int]:
        """Those of these lines that may not be stored: all of a run whose lines were pruned, and what was erased."""
        if self.pruned and self._lines_went(cursor, run_log_id):
            return ids
        erased: Masks = self._masks(cursor, LogType.LINE, ids) if self.tombstones else {}
        return {log_id for (_, log_id), masked in erased.items() if masked is None}

    def _lines_went(self, cursor: Cursor, run_log_id: int) -> bool:
        row = execute(
            cursor,
            "SELECT FROM archive.run WHERE flow_key = %(flow_key)s AND log_id = %(id)s AND lines_pruned IS NOT NULL",
            {"flow_key": self.flow_key, "id": run_log_id},
        ).fetchone()
        return row is not None

    def _masks(self, cursor: Cursor, log_type: LogType, ids: Collection[int]) -> Masks:
        """The fields that are masked in those of these logs that have a tombstone."""
        rows = execute(
            cursor,
            "SELECT log_id, masked FROM archive.tombstone"
            " WHERE flow_key = %(flow_key)s AND log_type = %(type)s AND log_id = ANY(%(ids)s)",
            {"flow_key": self.flow_key, "type": int(log_type), "ids": list(ids)},
        ).fetchall()
        return {(log_type, log_id): None if masked is None else tuple(masked) for log_id, masked in rows}


def _erased(run: Run, masks: Masks) -> Run:
    row = render(run)
    steps = row.pop("sub_flows", None)
    masked = mask_fields(row, masks.get((LogType.MAIN, run.log_id or 0)) or ())
    if isinstance(steps, list):
        masked = masked | {"sub_flows": [_erased_step(step, masks) for step in steps]}
    elif steps is not None:
        masked = masked | {"sub_flows": steps}
    return parse_run(masked)


def _erased_step(step: Any, masks: Masks) -> Any:
    log_id = parse_step(step).log_id if isinstance(step, dict) else None
    return step if log_id is None else mask_fields(step, masks.get((LogType.SUB, log_id)) or ())
