"""The rows of a run as the wire shows them at a given time: its main log, its sub flows, its lines, and their files."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from archiver.demo.flows import Step, uuid_of
from archiver.demo.goods import FIELDS, Line, product
from archiver.demo.listing import Row
from archiver.demo.mishaps import document, pack, told
from archiver.demo.runs import (
    EPOCH,
    FIRST_LINE,
    Run,
    counts,
    line_created,
    line_digest,
    line_mishap,
    microseconds,
)


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def iso(moment: int, nanoseconds: str = "") -> str:
    """The wire's time text: no trailing zeros, as in the vendor's sample; `nanoseconds` are three more digits."""
    seconds, fraction = divmod(moment, 1_000_000)
    digits = f"{fraction:06d}{nanoseconds}".rstrip("0")
    return f"{_second(seconds)}.{digits}+00:00" if digits else f"{_second(seconds)}+00:00"


def line_fields(run: Run, index: int, digest: bytes) -> Row:
    """The message and the search fields of a line that went well."""
    number = (run.number * 37 + index) % run.products
    return FIELDS[run.flow.kind](Line(product(run.seed, number), int.from_bytes(digest[:6]), run.number, index))


def line_row(run: Run, index: int, now: int) -> Row:
    """A line log as the wire shows it at that time."""
    digest = line_digest(run, index)
    created, fields, mishap = line_created(run, index), line_fields(run, index, digest), line_mishap(run, index)
    finished = created + 20_000 + int.from_bytes(digest[8:11]) % 880_000
    done, step = finished <= now, run.flow.steps[-1]
    if mishap and done:
        fields["message"] = told(mishap, fields)
        fields["error_code"] = mishap.code
    elif not done:
        fields["message"] = None
    row = _common(run, run.log_id + FIRST_LINE + index, step, created, uuid_of(digest.hex()))
    # A few rows have whole seconds or nanoseconds: the wire's fractions have 0 to 9 digits.
    odd = digest[31]
    shown = finished // 10**6 * 10**6 if odd == 1 else finished
    row["finished"] = iso(shown, "789" if odd == 0 else "") if done else None
    row["state"], row["status"] = (3, 3 if mishap else 2) if done else (2, 1)
    row["process_count"] = 1
    row["success_count"], row["fail_count"] = (0 if mishap else 1, 1 if mishap else 0) if done else (0, 0)
    row["is_send_S3"] = int(mishap is not None and done and now >= _file_time(run, finished, digest[12]))
    row["log_type"], row["flow_order"], row["row_num"] = 3, len(run.flow.steps) + 1, index + 1
    row.update(fields)
    return row


def _common(run: Run, log_id: int, step: Step, created: int, uuid: str) -> dict[str, Any]:
    """The fields that steps and lines share, in the order of the vendor's sample."""
    return {
        "created": iso(created),
        "id": log_id,
        "process_group_id": step.step_id,
        "process_group_name": step.title,
        "parent_process_group_id": run.flow.flow_id,
        "original_filename_uuid": run.uuid,
        "filename_uuid": uuid,
        "state": 2,
        "status": 1,
        "finished": None,
        "process_count": 1,
        "success_count": 0,
        "fail_count": 0,
        "in_bound": run.flow.in_bound,
        "schedule": run.flow.schedule,
        "is_triggered": run.triggered_by != "System",
        "triggered_by": run.triggered_by,
        "log_type": 2,
        "flow_order": 2,
        "is_send_S3": 0,
        "fragment_count": None,
        "row_num": 1,
    }


def _file_time(run: Run, finished: int, chance: int) -> int:
    return finished + microseconds(run.flow.late_files) * chance // 256


def step_row(run: Run, index: int, now: int) -> Row | None:
    """A sub flow as the wire shows it at that time; None before it begins, or where the run broke off earlier."""
    step = run.flow.steps[index]
    created = run.created + int(run.span * step.begins) + 700
    if created > now or (run.failed_step is not None and index > run.failed_step):
        return None
    last = index == len(run.flow.steps) - 1
    ends = run.finished if last else min(run.finished, run.created + int(run.span * step.ends) + 73 * (run.number % 10))
    uuid = uuid_of(blake2b(f"{run.uuid}/step/{index}".encode(), digest_size=16).hexdigest())
    row = _common(run, run.log_id + 1 + index, step, created, uuid)
    row["flow_order"] = index + 2
    if last:
        row["process_count"], row["success_count"], row["fail_count"] = counts(run, now)
    if ends > now:
        return row
    broken = run.failed_step == index
    failed = broken or (last and run.fail_every > 0 and run.status == 3)
    reads = index == 1  # the sample keeps a file for the step that reads, also when all is well
    row["finished"], row["state"], row["status"] = iso(ends), 3, 3 if failed else 2
    row["fail_count"] = 1 if broken else row["fail_count"]
    row["is_send_S3"] = int((failed or reads) and now >= _file_time(run, ends, run.number % 256))
    return row


def main_row(run: Run, now: int) -> Row:
    """A main log as the wire shows it at that time, with its sub flows."""
    done = run.finished <= now
    worked, well, failed = counts(run, now)
    steps = [row for index in range(len(run.flow.steps)) if (row := step_row(run, index, now)) is not None]
    state = 3 if done else 2 if len(steps) > 1 else 1
    return {
        "created": str(run.created // 1000),
        "id": run.log_id,
        "process_group_id": run.flow.flow_id,
        "process_group_name": run.flow.name,
        "parent_process_group_id": None,
        "original_filename_uuid": run.uuid,
        "filename_uuid": run.uuid,
        "state": state,
        "status": run.status if done else 1,
        "finished": str(run.finished // 1000) if done else None,
        "fragment_count": run.lines if done and run.lines else None,
        "process_count": worked,
        "success_count": well,
        "fail_count": failed,
        "in_bound": run.flow.in_bound,
        "schedule": run.flow.schedule,
        "is_triggered": run.triggered_by != "System",
        "triggered_by": run.triggered_by,
        "log_type": 1,
        "flow_order": 1,
        "is_send_S3": int(done and run.status == 3 and now >= _file_time(run, run.finished, run.number // 3 % 256)),
        "sub_flows": steps,
    }


def file_of(run: Run, part: int, now: int) -> bytes | None:
    """The download of the run's main log (0), of a step (1 …) or of a line (FIRST_LINE …); None where there is none."""
    mishap, fields = run.mishap, {}
    if part >= FIRST_LINE:
        index = part - FIRST_LINE
        row: Row | None = line_row(run, index, now) if index < run.lines and line_created(run, index) <= now else None
        mishap, fields = line_mishap(run, index), line_fields(run, index, line_digest(run, index))
    else:
        row = main_row(run, now) if part == 0 else step_row(run, part - 1, now) if part <= len(run.flow.steps) else None
    if row is None or row["is_send_S3"] != 1:
        return None
    if part < FIRST_LINE and mishap is None and row["status"] == 3:
        index = min(run.fail_every, run.lines) - 1  # the first line that failed speaks for them all
        mishap, fields = line_mishap(run, index), line_fields(run, index, line_digest(run, index))
    return pack(document(run.flow.kind, row, fields, mishap if row["status"] == 3 else None))
