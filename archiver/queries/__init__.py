"""The only SQL of the readers: the command line, the web page, the replayed Logs API.

What comes out are the reporting views' rows, as dicts in the views' column order. Who adds something to read adds a
module here, and functions that take a `Reader`.
"""

from archiver.queries.criteria import Criterion, NotSearched
from archiver.queries.details import TYPES as LOG_TYPES
from archiver.queries.details import Body, body_of, detail, details_named, raw_of
from archiver.queries.flows import FlowRow, flows, key_of
from archiver.queries.gaps import KINDS as KINDS_OF_GAPS
from archiver.queries.gaps import gaps
from archiver.queries.health import Health, health, health_columns, judge, rate_shares
from archiver.queries.history import history
from archiver.queries.kinds import Affected, ErrorFilter, affected, error_groups
from archiver.queries.months import (
    MONTHLY,
    Month,
    erased_statement,
    month_statement,
    pruned_statement,
    reporting_views,
    view_columns,
    view_months,
)
from archiver.queries.proof import files_of, times_of
from archiver.queries.reader import Json, Reader, Row, Value, reading
from archiver.queries.revision import revision
from archiver.queries.runs import RunFilter, details_of, lines_of, run, runs, runs_named, steps_of
from archiver.queries.search import Search, field_names, search
from archiver.queries.slips import meant, nearest
from archiver.queries.statement import StatementRefused, statement

__all__ = [
    "KINDS_OF_GAPS",
    "LOG_TYPES",
    "MONTHLY",
    "Affected",
    "Body",
    "Criterion",
    "ErrorFilter",
    "FlowRow",
    "Health",
    "Json",
    "Month",
    "NotSearched",
    "Reader",
    "Row",
    "RunFilter",
    "Search",
    "StatementRefused",
    "Value",
    "affected",
    "body_of",
    "detail",
    "details_named",
    "details_of",
    "erased_statement",
    "error_groups",
    "field_names",
    "files_of",
    "flows",
    "gaps",
    "health",
    "health_columns",
    "history",
    "judge",
    "key_of",
    "lines_of",
    "meant",
    "month_statement",
    "nearest",
    "pruned_statement",
    "rate_shares",
    "raw_of",
    "reading",
    "reporting_views",
    "revision",
    "run",
    "runs",
    "runs_named",
    "search",
    "statement",
    "steps_of",
    "times_of",
    "view_columns",
    "view_months",
]
