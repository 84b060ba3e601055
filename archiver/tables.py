"""The tables of schema `archive`, as SQLAlchemy Core knows them; `migrations/` makes them, this file describes them.

Rules that hold for every table: constraints have names, columns take the field's own name on the wire in snake case,
times are `timestamptz`, and the wire's enumerations are `smallint`. `flow_key` is in the key of everything that is
archived, so that runs, steps, lines and details of one flow can be distributed together; what the archiver keeps of its
own doing (passes, audits, alerts, daemons, logins) stays where it is.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA = "archive"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)

Time = DateTime(timezone=True)


def _flow_key() -> Column[int]:
    return Column("flow_key", Integer, ForeignKey("archive.flow.flow_key"), nullable=False)


def _failed(table: str, include: tuple[str, ...] = ()) -> Index:
    """Failed logs by kind of error, newest last."""
    return Index(
        f"{table}_failed_idx",
        "flow_key",
        "error_key",
        "created",
        postgresql_where=text("status = 3"),
        postgresql_include=list(include),
    )


def _log_columns() -> list[Column[object]]:
    """The fields that main, sub and line logs share on the wire, in the order of `logs.FIELDS`."""
    return [
        Column("log_id", BigInteger, nullable=False),
        Column("created", Time, nullable=False),
        Column("finished", Time),
        Column("process_group_id", Text),
        Column("process_group_name", Text),
        Column("parent_process_group_id", Text),
        Column("original_filename_uuid", Text),
        Column("filename_uuid", Text),
        Column("state", SmallInteger),
        Column("status", SmallInteger),
        Column("fragment_count", Integer),
        Column("process_count", Integer),
        Column("success_count", Integer),
        Column("fail_count", Integer),
        Column("in_bound", Boolean),
        Column("schedule", Text),
        Column("is_triggered", Boolean),
        Column("triggered_by", Text),
        Column("log_type", SmallInteger),
        Column("flow_order", Integer),
        Column("is_send_s3", SmallInteger),
        Column("row_num", Integer),
        Column("form", Integer, nullable=False),
        Column("src_hash", BigInteger, nullable=False),
    ]


flow = Table(
    "flow",
    metadata,
    Column("flow_key", Integer, Identity(always=True), primary_key=True),
    Column("integrator", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("project_slug", Text),
    Column("flow_id", Text, nullable=False),
    Column("flow_name", Text, nullable=False),
    Column("added_at", Time, nullable=False, server_default=text("now()")),
    Column("day_zone", Text, nullable=False, server_default=text("'UTC'")),
    Column("error_version", SmallInteger),
    UniqueConstraint("integrator", "project_id", "flow_id"),
)

run = Table(
    "run",
    metadata,
    _flow_key(),
    *_log_columns(),
    Column("extra", JSONB),
    Column("archive_state", Text, nullable=False),
    Column("line_count", BigInteger, nullable=False, server_default=text("0")),
    Column("source_line_count", BigInteger),
    Column("lines_walk", JSONB),
    Column("first_seen_at", Time, nullable=False, server_default=text("now()")),
    Column("seen_at", Time, nullable=False),
    Column("visit_at", Time),
    Column("visits", Integer, nullable=False, server_default=text("0")),
    Column("sealed_at", Time),
    Column("error", Text),
    Column("failed_line_count", BigInteger, nullable=False, server_default=text("0")),
    Column("error_key", BigInteger),
    Column("lines_pruned", Boolean),
    Column("details_pruned", Boolean),
    PrimaryKeyConstraint("flow_key", "log_id"),
    Index(None, "created"),
    Index(None, "flow_key", "created"),
    Index(None, "flow_key", "filename_uuid", postgresql_ops={"filename_uuid": "text_pattern_ops"}),
    Index(None, "flow_key", "status", "created"),
    Index("run_going_idx", "flow_key", "created", postgresql_where=text("state IS DISTINCT FROM 3")),
    _failed("run"),
    Index("run_missing_idx", "flow_key", "created", postgresql_where=text("archive_state IN ('lost', 'stuck')")),
    Index("run_visit_idx", "flow_key", "visit_at", postgresql_where=text("visit_at IS NOT NULL")),
    Index("run_lines_pruned_idx", "flow_key", "created", postgresql_where=text("lines_pruned IS NOT NULL")),
)

step = Table(
    "step",
    metadata,
    _flow_key(),
    *_log_columns(),
    Column("run_log_id", BigInteger, nullable=False),
    Column("position", SmallInteger),
    Column("extra", JSONB),
    Column("seen_at", Time, nullable=False),
    Column("error_key", BigInteger),
    PrimaryKeyConstraint("flow_key", "log_id"),
    Index(None, "flow_key", "run_log_id"),
    Index(None, "created"),
    _failed("step"),
)

line = Table(
    "line",
    metadata,
    Column("flow_key", Integer, nullable=False),  # refers to a flow, as the checkpoint that is locked to write it does
    *_log_columns(),
    Column("fields", JSONB),
    Column("rest", JSONB),
    Column("error_key", BigInteger),
    PrimaryKeyConstraint("log_id", "flow_key", "created"),
    Index(None, "flow_key", "original_filename_uuid"),
    Index(None, "flow_key", "created"),
    _failed("line", include=("original_filename_uuid",)),
    Index("line_fields_idx", "fields", postgresql_using="gin", postgresql_ops={"fields": "jsonb_path_ops"}),
    Index(
        "line_rest_idx",
        "rest",
        postgresql_using="gin",
        postgresql_ops={"rest": "jsonb_path_ops"},
        postgresql_where=text("rest IS NOT NULL"),
    ),
    Index("line_odd_idx", "flow_key", "created", postgresql_where=text("rest ? '$json'")),
    postgresql_partition_by="RANGE (created)",
)

# The names of the fields that lines of a flow have, or ever had: what a search in any field asks for.
field = Table(
    "field",
    metadata,
    _flow_key(),
    Column("name", Text, nullable=False),
    PrimaryKeyConstraint("flow_key", "name"),
)

detail = Table(
    "detail",
    metadata,
    _flow_key(),
    Column("log_type", SmallInteger, nullable=False),
    Column("log_id", BigInteger, nullable=False),
    Column("run_log_id", BigInteger, nullable=False),
    Column("run_created", Time, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("body", LargeBinary),
    Column("body_form", Text),
    Column("sha256", Text),
    Column("byte_size", BigInteger),
    Column("document", JSONB),
    Column("document_changes", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", Time),
    Column("fetched_at", Time),
    Column("error", Text),
    Column("message", Text),
    PrimaryKeyConstraint("flow_key", "log_type", "log_id"),
    Index(None, "flow_key", "run_log_id"),
    Index(
        "detail_missing_idx",
        "flow_key",
        "run_created",
        postgresql_where=text("outcome IN ('missing', 'unreadable', 'too_large')"),
    ),
    Index("detail_run_created_idx", "run_created"),
    Index("detail_wanted_idx", "flow_key", "next_attempt_at", postgresql_where=text("outcome = 'wanted'")),
)

quarantine = Table(
    "quarantine",
    metadata,
    _flow_key(),
    Column("log_type", SmallInteger, nullable=False),
    Column("src_hash", BigInteger, nullable=False),
    Column("run_log_id", BigInteger),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("first_seen_at", Time, nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("flow_key", "log_type", "src_hash"),
)

flow_day = Table(
    "flow_day",
    metadata,
    _flow_key(),
    Column("day", Date, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("empty", Integer, nullable=False),
    Column("lines", BigInteger, nullable=False),
    Column("failed_lines", BigInteger, nullable=False),
    Column("duration_p50", Double),
    Column("duration_p95", Double),
    Column("duration_max", Double),
    Column("writes", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("flow_key", "day"),
)

error_group = Table(
    "error_group",
    metadata,
    _flow_key(),
    Column("fingerprint", BigInteger, nullable=False),
    Column("version", SmallInteger, nullable=False),
    Column("error_class", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("sample", Text),
    Column("occurrences", BigInteger, nullable=False),
    Column("runs_hit", BigInteger, nullable=False),
    Column("first_seen_at", Time),
    Column("last_seen_at", Time),
    Column("last_log_type", SmallInteger),
    Column("last_log_id", BigInteger),
    Column("class_version", SmallInteger, nullable=False, server_default="1"),
    PrimaryKeyConstraint("flow_key", "fingerprint"),
)

error_run = Table(
    "error_run",
    metadata,
    _flow_key(),
    Column("fingerprint", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("runs", Integer, nullable=False),
    PrimaryKeyConstraint("flow_key", "fingerprint", "run_id"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("flow_key", Integer, ForeignKey("archive.flow.flow_key"), primary_key=True, autoincrement=False),
    Column("frontier", Time),
    Column("intervals", JSONB, nullable=False, server_default=text("'[]'")),
    Column("gaps", JSONB, nullable=False, server_default=text("'[]'")),
    Column("walk", JSONB),
    Column("backfill", JSONB),
    Column("source", JSONB, nullable=False, server_default=text("'{}'")),
    Column("lease_owner", Text),
    Column("lease_until", Time),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("failures_in_a_row", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("checked_at", Time),
    Column("next_due_at", Time),
    Column("kept_from", Time),
    Column("pruned", JSONB, nullable=False, server_default=text("'{}'")),
    Column("tombstones", BigInteger, nullable=False, server_default=text("0")),
    Column("login_refused", Boolean, nullable=False, server_default=text("false")),
)

tombstone = Table(
    "tombstone",
    metadata,
    _flow_key(),
    Column("log_type", SmallInteger, nullable=False),
    Column("log_id", BigInteger, nullable=False),
    Column("masked", ARRAY(Text)),
    Column("erased_at", Time, nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("flow_key", "log_type", "log_id"),
)

pass_ = Table(
    "pass",
    metadata,
    Column("pass_id", BigInteger, Identity(always=True), primary_key=True),
    Column("flow_key", Integer, ForeignKey("archive.flow.flow_key"), nullable=False),
    Column("started_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("outcome", Text),
    Column("requests", Integer, nullable=False, server_default=text("0")),
    Column("rows_new", BigInteger, nullable=False, server_default=text("0")),
    Column("rows_changed", BigInteger, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("turns", Integer, nullable=False, server_default=text("1")),
    Column("seconds", Double),
    Index(None, "flow_key", "started_at"),
    Index(None, "started_at"),
)

login_hold = Table(
    "login_hold",
    metadata,
    Column("credentials", Text, primary_key=True),
    Column("refusals", Integer, nullable=False),
    Column("held_until", Time, nullable=False),
    Column("reason", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    _flow_key(),
    Column("started_at", Time, nullable=False),
    Column("ended_at", Time, nullable=False, server_default=text("now()")),
    Column("scope", JSONB, nullable=False),
    Column("counts", JSONB, nullable=False),
    Column("frontier", Time),
    Index(None, "flow_key", "ended_at"),
)

finding = Table(
    "finding",
    metadata,
    _flow_key(),
    Column("log_type", SmallInteger, nullable=False),
    Column("log_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("run_log_id", BigInteger),
    Column("created", Time),
    Column("what", Text, nullable=False),
    Column("found_at", Time, nullable=False, server_default=text("now()")),
    Column("cleared_at", Time),
    PrimaryKeyConstraint("flow_key", "log_type", "log_id", "kind"),
)

acknowledgement = Table(
    "acknowledgement",
    metadata,
    _flow_key(),
    Column("gap_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("acknowledged_by", Text, nullable=False),
    Column("acknowledged_at", Time, nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("flow_key", "gap_id"),
)

rate_share = Table(
    "rate_share",
    metadata,
    Column("integrator", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("fraction", Double, nullable=False),
    Column("held_until", Time, nullable=False),
    PrimaryKeyConstraint("integrator", "owner"),
)

daemon = Table(
    "daemon",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("started_at", Time, nullable=False, server_default=text("now()")),
    Column("seen_at", Time, nullable=False, server_default=text("now()")),
    Column("flows", Integer, nullable=False),
    Column("config_path", Text),
    Column("config_read_at", Time, nullable=False, server_default=text("now()")),
    Column("config_error", Text),
)

alert = Table(
    "alert",
    metadata,
    Column("alert_id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("flow_key", Integer, ForeignKey("archive.flow.flow_key")),
    Column("level", BigInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("path", Text),
    Column("since", Time, nullable=False),
    Column("raised_at", Time, nullable=False, server_default=text("now()")),
    Column("resolved_at", Time),
    Column("resolution", Text),
    Column("told_level", BigInteger, nullable=False, server_default=text("0")),
    Column("told_at", Time),
    Column("told_resolved_at", Time),
    Column("acked_level", BigInteger),
    Column("acked_at", Time),
    Column("ack_reason", Text),
    Index("alert_open_key", "kind", "subject", unique=True, postgresql_where=text("resolved_at IS NULL")),
    Index("alert_kind_subject_idx", "kind", "subject", "told_at"),
    Index(None, "raised_at"),
)

alert_message = Table(
    "alert_message",
    metadata,
    Column("message_id", BigInteger, Identity(always=True), primary_key=True),
    Column("made_at", Time, nullable=False, server_default=text("now()")),
    Column("tone", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("delivered", JSONB, nullable=False, server_default=text("'{}'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", Time, nullable=False, server_default=text("now()")),
    Column("claimed_until", Time),
    Column("done_at", Time),
    Column("error", Text),
    Index("alert_message_waiting_idx", "next_attempt_at", postgresql_where=text("done_at IS NULL")),
)
