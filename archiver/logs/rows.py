"""The shapes: what a row of the Logs API is once it was read."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

Row = dict[str, Any]


class LogType(IntEnum):
    """`log_type`, as the vendor's page on the Logs API numbers it."""

    MAIN = 1
    SUB = 2
    LINE = 3


class State(IntEnum):
    """`state`, as the vendor's page numbers it. Other numbers may come: in a row it is any int."""

    STARTED = 1
    IN_PROGRESS = 2
    FINISHED = 3


class Status(IntEnum):
    """`status`, as the vendor's page numbers it; EMPTY is a run that found nothing to do. Other numbers may come."""

    IN_PROGRESS = 1
    SUCCESS = 2
    FAILED = 3
    EMPTY = 4


class Step(NamedTuple):
    """A sub flow log; `position` is its place in the `sub_flows` of its run, None where it was listed by itself."""

    log_id: int | None
    created: str | None
    finished: str | None
    process_group_id: str | None
    process_group_name: str | None
    parent_process_group_id: str | None
    original_filename_uuid: str | None
    filename_uuid: str | None
    state: int | None
    status: int | None
    fragment_count: int | None
    process_count: int | None
    success_count: int | None
    fail_count: int | None
    in_bound: bool | None
    schedule: str | None
    is_triggered: bool | None
    triggered_by: str | None
    log_type: int | None
    flow_order: int | None
    is_send_s3: int | None
    row_num: int | None
    form: int
    src_hash: int
    extra: str | None
    position: int | None


class Run(NamedTuple):
    """A main log, with the steps that came embedded in it."""

    log_id: int | None
    created: str | None
    finished: str | None
    process_group_id: str | None
    process_group_name: str | None
    parent_process_group_id: str | None
    original_filename_uuid: str | None
    filename_uuid: str | None
    state: int | None
    status: int | None
    fragment_count: int | None
    process_count: int | None
    success_count: int | None
    fail_count: int | None
    in_bound: bool | None
    schedule: str | None
    is_triggered: bool | None
    triggered_by: str | None
    log_type: int | None
    flow_order: int | None
    is_send_s3: int | None
    row_num: int | None
    form: int
    src_hash: int
    extra: str | None
    steps: tuple[Step, ...]


class Line(NamedTuple):
    """A line log."""

    log_id: int | None
    created: str | None
    finished: str | None
    process_group_id: str | None
    process_group_name: str | None
    parent_process_group_id: str | None
    original_filename_uuid: str | None
    filename_uuid: str | None
    state: int | None
    status: int | None
    fragment_count: int | None
    process_count: int | None
    success_count: int | None
    fail_count: int | None
    in_bound: bool | None
    schedule: str | None
    is_triggered: bool | None
    triggered_by: str | None
    log_type: int | None
    flow_order: int | None
    is_send_s3: int | None
    row_num: int | None
    form: int
    src_hash: int
    fields: str | None
    rest: str | None


# The wire's names of the columns `log_id` to `row_num`, in their order. Append only: `form` counts on the places.
FIELDS = (
    "id",
    "created",
    "finished",
    "process_group_id",
    "process_group_name",
    "parent_process_group_id",
    "original_filename_uuid",
    "filename_uuid",
    "state",
    "status",
    "fragment_count",
    "process_count",
    "success_count",
    "fail_count",
    "in_bound",
    "schedule",
    "is_triggered",
    "triggered_by",
    "log_type",
    "flow_order",
    "is_send_S3",
    "row_num",
)
SUB_FLOWS = 1 << len(FIELDS)  # in `form` of a run: it had no `sub_flows`
ENDED_LINE = 1 << 30  # in `form`: `triggered_by` ended with one line feed
