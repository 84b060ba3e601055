"""Kinds of errors for failed logs that were stored before the archiver, or this version of its rules, knew kinds.

`archive.flow.error_version` says by which rules all failed logs of a flow have been recognised. Until that is this
version, each turn of the flow goes on with it, some rows a transaction; what is written meanwhile is exact by itself.
A process that is killed starts again with the files and passes over the logs that have their key.

`archive.error_group.class_version` says by which rules a kind got its class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from archiver.logs import Status
from archiver.messages import CLASSES_VERSION, VERSION, class_of, message_in_document, message_of, sample
from archiver.store import errors
from archiver.store.engine import translated
from archiver.store.errors import LINE, RUN, STEP, Hit
from archiver.store.ledger import Ledger

LOGS = 2000  # a transaction
FILES = 200  # a transaction; a document may have megabytes


class Owed(NamedTuple):
    """`kinds`: failed logs of the flow may be without their kind of error. `classes`: kinds of it have a class by older
    rules."""

    kinds: bool
    classes: bool


_OWED = """
    SELECT error_version IS DISTINCT FROM :version,
        EXISTS (SELECT FROM archive.error_group WHERE flow_key = :flow_key AND class_version <> :classes)
    FROM archive.flow WHERE flow_key = :flow_key
"""


def owed(engine: Engine, flow_key: int) -> Owed:
    """What is left to do of a flow."""
    bind = {"flow_key": flow_key, "version": VERSION, "classes": CLASSES_VERSION}
    with translated(), engine.connect() as connection:
        return Owed(*(connection.execute(text(_OWED), bind).first() or (False, False)))


def classify(ledger: Ledger) -> None:
    """Tell the classes of the flow's kinds anew, by their templates."""
    rows = ledger.fetch(
        "SELECT fingerprint, template FROM archive.error_group"
        " WHERE flow_key = %(flow_key)s AND class_version <> %(version)s ORDER BY fingerprint",
        version=CLASSES_VERSION,
    )
    ledger.fetch(
        "UPDATE archive.error_group g SET error_class = one.error_class, class_version = %(version)s"
        " FROM unnest(%(keys)s::bigint[], %(classes)s::text[]) AS one (key, error_class)"
        " WHERE g.flow_key = %(flow_key)s AND g.fingerprint = one.key RETURNING g.fingerprint",
        version=CLASSES_VERSION,
        keys=[key for key, _ in rows],
        classes=[class_of(template) for _, template in rows],
    )


class Backlog:
    """One flow's failed logs of before: first what their files say, then lines, steps and runs."""

    def __init__(self) -> None:
        self._stages: list[Callable[[Ledger], bool]] = [
            self._files,
            lambda ledger: self._logs(ledger, LINE),
            lambda ledger: self._logs(ledger, STEP),
            lambda ledger: self._logs(ledger, RUN),
            _conclude,
        ]
        self._file: tuple[int, int] = (0, -(2**63))
        self._after = -(2**63)

    def step(self, ledger: Ledger) -> bool:
        """Some rows more, in the ledger's transaction; answers whether there may be others."""
        if not self._stages[0](ledger):
            del self._stages[0]
            self._after = -(2**63)
        return bool(self._stages)

    def _files(self, ledger: Ledger) -> bool:
        rows = ledger.fetch(
            "SELECT log_type, log_id, document::text FROM archive.detail WHERE flow_key = %(flow_key)s"
            " AND message IS NULL AND document IS NOT NULL AND (log_type, log_id) > (%(log_type)s, %(log_id)s)"
            " ORDER BY log_type, log_id LIMIT %(most)s",
            log_type=self._file[0],
            log_id=self._file[1],
            most=FILES,
        )
        for log_type, log_id, document in rows:
            said = message_in_document(document)
            if said is not None:
                ledger.told(log_type, log_id, sample(said))
            self._file = (log_type, log_id)
        return len(rows) == FILES

    def _logs(self, ledger: Ledger, log_type: int) -> bool:
        """Failed logs without a key. Lines all get one, so that the next ones come first in the index of those without;
        steps and runs that say nothing stay without one, and are passed over by id."""
        table, order = errors.TABLES[log_type], "created" if log_type == LINE else "log_id"
        rows = ledger.fetch(
            f"SELECT log_id, {errors.MOMENT}, {errors.RUN_ID[log_type]}, (SELECT message FROM archive.detail d"
            f" WHERE d.flow_key = l.flow_key AND d.log_type = {log_type} AND d.log_id = l.log_id),"
            f" {errors.BESIDE[log_type]} FROM archive.{table} l"
            " WHERE flow_key = %(flow_key)s AND status = 3 AND error_key IS NULL AND log_id > %(after)s"
            f" ORDER BY {order} LIMIT %(most)s",
            after=self._after,
            most=LOGS,
        )
        hits = [hit for row in rows if (hit := _hit(log_type, row)) is not None]
        ledger.recognise(log_type, hits)
        if rows and log_type != LINE:
            self._after = rows[-1][0]
        return len(rows) == LOGS


def _hit(log_type: int, row: Sequence[Any]) -> Hit | None:
    log_id, moment, run_id, told, *beside = row
    message = message_of(*beside) or told
    key = errors.key_of(log_type, Status.FAILED, message)
    return None if key is None else Hit(key, run_id, log_type, log_id, moment, message or "")


def _conclude(ledger: Ledger) -> bool:
    ledger.fetch(f"UPDATE archive.flow SET error_version = {VERSION} WHERE flow_key = %(flow_key)s RETURNING flow_key")
    return False
