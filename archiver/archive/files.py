"""The detail files: downloaded, unpacked, and kept byte for byte, whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from archiver.archive.masking import masked
from archiver.archive.turn import File, Turn
from archiver.detail import unpack
from archiver.errors import ArchiverError, PageUnreadable, RequestRefused, SourceUnavailable
from archiver.store import Wanted

UNREADABLE = 3  # fetches until an unreadable file is taken for what it is
MISSING = 6  # fetches until a file that is announced and not there is missing, by name
GIVEN_UP = 20  # fetches until one whose download fails every time is, too, while others are answered
HOPELESS = 100  # fetches until it is in any case
DOWN = 10  # downloads in a row without an answer: it is not the files, and the others can wait
LONGEST = 6 * 60 * 60.0


def fetch_details(turn: Turn) -> bool:
    """Download the wanted files that are due, each once; answers whether there were any."""
    before, absent, failed = len(turn.fetched), 0, list[str]()
    for one, file in _downloads(turn):
        turn.fetched.add((one.log_type, one.log_id))
        turn.delivers |= not isinstance(file, SourceUnavailable)
        values = _outcome(one, file, turn.flow.redact, patience=GIVEN_UP if turn.delivers else HOPELESS)
        with turn.store.writing(turn.lease) as writer:
            writer.put_detail(one.log_type, one.log_id, values)
        if values["outcome"] == "stored":
            turn.report.details += 1
        elif values["outcome"] != "wanted":
            turn.report.errors.append(f"file of log {one.log_id}: {values['outcome']}: {values['error']}")
        elif file is None:
            absent += 1
        elif isinstance(file, ArchiverError):
            failed.append(f"file of log {one.log_id}: {file}")
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        turn.report.errors.append(f"{failed[0]}{more}; tried again later")
    if absent:
        turn.report.notes.append(
            f"files that the Integrator announces and that are not there yet: {absent}; if none ever comes, is the"
            f" project's slug {turn.flow.project_slug!r} right?"
        )
    return len(turn.fetched) > before


def _downloads(turn: Turn) -> Iterator[tuple[Wanted, File | ArchiverError | None]]:
    """The files that are due, several at a time, in the order in which they are wanted."""

    def download(one: Wanted) -> File | ArchiverError | None:
        try:
            return turn.source.download(turn.flow, one.log_id)
        except (PageUnreadable, RequestRefused, SourceUnavailable) as exc:
            return exc

    width = turn.source.connections
    with ThreadPoolExecutor(width, thread_name_prefix="download") as pool:
        for some in _due(turn, width):
            turn.breathe()  # here, so that what was downloaded is kept, however long it took
            fetches = [pool.submit(copy_context().run, download, one) for one in some]
            for one, fetch in zip(some, fetches, strict=True):
                answer = fetch.result()
                turn.undelivered = turn.undelivered + 1 if isinstance(answer, SourceUnavailable) else 0
                yield one, answer


def _due(turn: Turn, width: int) -> Iterator[list[Wanted]]:
    """The files that are due and were not asked for in this turn, so many at a time, until downloads are down."""
    last = None
    while wanted := turn.store.wanted(turn.flow_key, eager=turn.eager, after=last):
        last = wanted[-1]
        due = [one for one in wanted if (one.log_type, one.log_id) not in turn.fetched]
        for start in range(0, len(due), width):
            if turn.undelivered >= DOWN:
                return
            yield due[start : start + width]


def _outcome(
    one: Wanted, file: File | ArchiverError | None, redact: tuple[str, ...] = (), patience: int = GIVEN_UP
) -> dict[str, Any]:
    """What the row of the file says after this fetch. `patience`: fetches that may fail."""
    if isinstance(file, ArchiverError):
        if one.attempts + 1 >= patience:
            return {"outcome": "missing", "error": f"given up after {one.attempts + 1} fetches: {file}"}
        return _again(one, str(file))
    if file is None:
        if one.attempts + 1 >= MISSING:
            return {"outcome": "missing", "error": "the Integrator says that there is a file, and has none"}
        return _again(one, "the Integrator has no file yet")
    if file.too_large:
        return {"outcome": "too_large", "error": "the answer is larger than the archiver reads"}
    detail = masked(unpack(file.body), redact)
    values: dict[str, Any] = {
        "outcome": detail.outcome,
        "body": detail.body,
        "body_form": detail.body_form,
        "sha256": detail.sha256,
        "byte_size": detail.byte_size,
        "document": detail.document,
        "document_changes": detail.document_changes,
        "error": detail.error,
    }
    if detail.outcome == "unreadable" and one.attempts + 1 < UNREADABLE:
        return values | _again(one, detail.error or "it cannot be read")
    return values


def _again(one: Wanted, error: str) -> dict[str, Any]:
    return {"outcome": "wanted", "error": error, "wait": min(LONGEST, 60.0 * 5**one.attempts)}
