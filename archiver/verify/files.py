"""The files of one run: are they all there, are their bytes what they were, and are they what the source has?"""

from __future__ import annotations

from collections.abc import Iterator

from archiver.detail import unpack
from archiver.errors import PageUnreadable, RequestRefused, SourceUnavailable
from archiver.queries.holdings import HeldFile, SettledRun
from archiver.verify.case import Case
from archiver.verify.verdict import ALARMS, Counts, Finding, Verdict

_VERDICTS = {
    "wanted": Verdict.DELAYED,
    "erased": Verdict.ERASED,
    "missing": Verdict.GAP,
    "unreadable": Verdict.GAP,
    "too_large": Verdict.GAP,
}


def judge_files(case: Case, run: SettledRun, counts: Counts) -> Iterator[Finding]:
    """What is wrong with a run's files. What is stored is downloaded once more and compared."""
    if run.details_pruned:
        return
    mender, policy = case.mender, case.flow.details
    files, unwanted = case.holdings.files(run.log_id, policy)
    if unwanted and mender is not None:
        mender.want_files(run.log_id, policy)
    for log_type, log_id in unwanted:
        counts["file", Verdict.LOST] += 1
        yield _finding(run, log_type, log_id, Verdict.LOST, "the log announces a file, and none is archived or wanted")
    for file in files:
        verdict, what = _verdict(case, file)
        counts["file", verdict] += 1
        if mender is not None and verdict in (*ALARMS, Verdict.GAP):
            mender.want_again(file.log_type, file.log_id)
        if verdict in ALARMS:
            yield _finding(run, file.log_type, file.log_id, verdict, what)


def _finding(run: SettledRun, log_type: int, log_id: int, verdict: Verdict, what: str) -> Finding:
    return Finding("file", log_type, log_id, verdict, what, run.log_id, run.run_id, run.created)


def _verdict(case: Case, file: HeldFile) -> tuple[Verdict, str]:
    if file.outcome != "stored":
        return _VERDICTS.get(file.outcome, Verdict.CORRUPT), f"its outcome is {file.outcome}"
    if not file.is_whole:
        return Verdict.CORRUPT, "its bytes do not have the SHA-256 or the length that were noted when it came"
    for last in (False, True):
        try:
            sent = case.source.download(case.flow, file.log_id)
        except (PageUnreadable, RequestRefused, SourceUnavailable):
            if last:
                raise
            continue
        if sent is None:
            return Verdict.PURGED, ""
        if sent.too_large:
            return Verdict.STALE, "the Integrator's file is larger than the archiver reads"
        detail = unpack(sent.body)
        if detail.sha256 is not None and detail.sha256 in (file.sha256, _as_it_came(file)):
            if _says_else(case, file, detail.document, detail.document_changes):
                return Verdict.CORRUPT, "its document does not say what its bytes say"
            return Verdict.FOUND, ""
    return Verdict.STALE, "the Integrator's file is another one"


def _as_it_came(file: HeldFile) -> str | None:
    """The SHA-256 of a file that was masked before it was stored."""
    _, found, digest = (file.document_changes or "").rpartition("SHA-256 ")
    return digest[:64] if found else None


def _says_else(case: Case, file: HeldFile, document: str | None, changes: str | None) -> bool:
    """Whether the stored document is not that of the file. One that was changed to fit, or masked, is not compared."""
    if case.flow.redact or changes is not None or file.document_changes is not None or document is None:
        return False
    return not file.has_document or not case.holdings.has_document(file.log_type, file.log_id, document)
