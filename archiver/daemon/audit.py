"""Auditing flows: each against its source, then the archive by itself, what was found written down.

The audit itself only reads. What is written is its result, for `archiver gaps` and the next audit, and what a repair
stores again; a role that may only read gets its report all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Engine

from archiver.config import Flow
from archiver.daemon.place import Workplace
from archiver.daemon.sync import sync
from archiver.errors import DatabaseUnavailable
from archiver.queries import gaps, reading
from archiver.queries.holdings import Holdings
from archiver.store.audits import Record, record
from archiver.verify import Audited, Broken, Case, Finding, Mender, Scope, audit_flow, check_self, notebook

KINDS = ("lost", "stale", "corrupt", "lost_file", "stale_file", "corrupt_file")
ROWS = ("corrupt",)  # of which the archive can find out by itself that they are whole again


class Stopped(Exception):
    """Whoever wanted the audit has had enough; what was seen is kept for the next one."""


def stop_if(wanted: bool) -> None:
    """Ends the audit that is under way."""
    if wanted:
        raise Stopped


@dataclass
class Result:
    """What an audit came to. `names`: of the flows, by their keys. `open_gaps`: what is missing by name and nobody has
    accepted. `unwritten`: findings, by flow and audit, that could not become such gaps."""

    names: dict[int, str]
    flows: list[Audited] = field(default_factory=list)
    invariants: list[Broken] = field(default_factory=list)
    open_gaps: int = 0
    unwritten: dict[tuple[int, datetime | None], int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether all was looked at, and nothing is missing, damaged or at odds that nobody has accepted."""
        unfinished = any(flow.errors for flow in self.flows)
        found = self.open_gaps or any(self.unwritten.values()) or any(one.count for one in self.invariants)
        return not (found or unfinished)


# What is being done, how much of it is done, and how much there is (0: unknown). May raise Stopped.
Watch = Callable[[str, int, int], None]


def audit_archive(engine: Engine, names: Mapping[int, str], scope: Scope, watch: Watch) -> Result:
    """The archive of these flows, named by their keys, by itself."""
    result = Result(dict(names))
    _by_itself(engine, scope, watch, result, covers=ROWS)
    result.open_gaps = _open_gaps(engine, result)
    return result


def audit_flows(
    place: Workplace, flows: Sequence[Flow], scope: Scope, watch: Watch, *, now: datetime, asked: str, repair: bool
) -> Result:
    """These flows against their sources, and their archive by itself. `asked`: the scope in words that stay the same
    from call to call, by which an audit that was stopped is found again."""
    met = [flow for flow in flows if flow in place.keys]
    result = Result({place.keys[flow]: flow.name for flow in met})
    result.notes += [f"{flow.name}: not archived yet: nothing to verify" for flow in flows if flow not in place.keys]
    for flow in met:
        _against_source(place, flow, scope, watch, result, now=now, asked=asked, repair=repair)
    if repair:
        _fetch(place, met, watch, result)
    _by_itself(place.engine, scope, watch, result)
    result.open_gaps = _open_gaps(place.engine, result)
    return result


def _by_itself(
    engine: Engine, scope: Scope, watch: Watch, result: Result, *, covers: Sequence[str] | None = None
) -> None:
    damaged: dict[int, list[Finding]] = {key: [] for key in result.names}
    result.invariants = check_self(
        engine,
        list(result.names),
        since=scope.since,
        progress=lambda looked: watch(looked.doing, looked.done, 0),
        damage=lambda key, finding: damaged[key].append(finding),
    )
    for key, findings in damaged.items():
        said = Record(key, None, {"self": True, **scope.words()}, {}, _rows(findings), (), covers, scope.since)
        _write_down(engine, said, result)


def _against_source(
    place: Workplace,
    flow: Flow,
    scope: Scope,
    watch: Watch,
    result: Result,
    *,
    now: datetime,
    asked: str,
    repair: bool,
) -> None:
    key = place.keys[flow]

    def stopping() -> bool:
        watch(f"{flow.name}: waiting for another process to leave it", 0, 0)  # raises Stopped
        return False

    with ExitStack() as stack:
        book = stack.enter_context(notebook(place.config.data_dir / "verify", key, asked, now))
        mender = stack.enter_context(Mender(place.store, key, stopping)) if repair else None
        case = Case(flow, Holdings(place.engine, key), place.clients[flow.integrator], book, mender)
        if mender is not None:
            mender.remember()
            _drop_copies(mender, case.holdings, result)
        audited = audit_flow(case, scope, progress=lambda at: watch(f"{at.flow}: {at.doing}", at.done, at.total))
        book.keep = bool(audited.errors)
    result.flows.append(audited)
    covers = None if audited.errors or scope.sample < 1 else KINDS
    _write_down(place.engine, _record(audited, scope, covers), result)


def _drop_copies(mender: Mender, holdings: Holdings, result: Result) -> None:
    try:
        mender.drop_copies(holdings)
    except DatabaseUnavailable as exc:
        result.notes.append(f"lines that are there twice stay so: {exc}")


def _fetch(place: Workplace, flows: Sequence[Flow], watch: Watch, result: Result) -> None:
    """One ordinary go, for what the repair has put on the list. Which files are well now?"""

    def stopping() -> bool:
        try:
            watch("fetching what can be had", 0, 0)
        except Stopped:
            return True
        return False

    sync(place, flows, stopping=stopping)
    for audited in result.flows:
        holdings = Holdings(place.engine, audited.flow_key)
        audited.findings = [replace(one, mended=_is_mended(holdings, one)) for one in audited.findings]
        _write_down(place.engine, _record(audited, Scope(), None), result)


def _is_mended(holdings: Holdings, finding: Finding) -> bool:
    if finding.mended or finding.level != "file" or finding.run_log_id is None:
        return finding.mended
    files, _ = holdings.files(finding.run_log_id, "none")
    place = (finding.log_type, finding.log_id)
    return any((one.log_type, one.log_id) == place and one.outcome == "stored" and one.is_whole for one in files)


def counts_of(audited: Audited) -> dict[str, dict[str, int]]:
    """How many of each level are what."""
    found: dict[str, dict[str, int]] = {}
    for (level, verdict), number in sorted(audited.counts.items()):
        found.setdefault(level, {})[str(verdict)] = number
    return found


def _record(audited: Audited, scope: Scope, covers: Sequence[str] | None) -> Record:
    left = _rows([one for one in audited.findings if not one.mended])
    mended = [(one.kind, one.log_type, one.log_id) for one in audited.findings if one.mended]
    words, counts = scope.words(), counts_of(audited)
    return Record(audited.flow_key, audited.began, words, counts, left, mended, covers, scope.since)


def _rows(findings: Sequence[Finding]) -> list[dict[str, object]]:
    names = ("kind", "log_type", "log_id", "run_log_id", "created", "what")
    return [{name: getattr(finding, name) for name in names} for finding in findings]


def _write_down(engine: Engine, said: Record, result: Result) -> None:
    try:
        record(engine, said)
    except DatabaseUnavailable as exc:
        result.unwritten[said.flow_key, said.began] = len(said.findings)
        note = f"nothing of this audit is written down: {exc}"
        if note not in result.notes:
            result.notes.append(note)


def _open_gaps(engine: Engine, result: Result) -> int:
    """What is missing; that a flow cannot be polled just now is no finding of an audit."""
    with reading(engine) as reader:
        return sum(row["is_open"] and row["kind"] != "uncertified" for row in gaps(reader, list(result.names)))
