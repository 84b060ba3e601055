"""The only SQL of the readers: the command line, the web page, the replayed Logs API.

What comes out are the reporting views' rows, as dicts in the views' column order. Who adds something to read adds a
module here, and functions that take a `Reader`.
"""

from archiver.queries.details import Body, body_of, details_named, raw_of
from archiver.queries.flows import FlowRow, flows, key_of
from archiver.queries.health import Health, health, health_columns, judge
from archiver.queries.months import MONTHLY, Month, month_statement, reporting_views, view_months
from archiver.queries.reader import Json, Reader, Row, Value, reading
from archiver.queries.runs import RunFilter, details_of, lines_of, run, runs, runs_named, steps_of
from archiver.queries.statement import StatementRefused, statement

__all__ = [
    "MONTHLY",
    "Body",
    "FlowRow",
    "Health",
    "Json",
    "Month",
    "Reader",
    "Row",
    "RunFilter",
    "StatementRefused",
    "Value",
    "body_of",
    "details_named",
    "details_of",
    "flows",
    "health",
    "health_columns",
    "judge",
    "key_of",
    "lines_of",
    "month_statement",
    "raw_of",
    "reading",
    "reporting_views",
    "run",
    "runs",
    "runs_named",
    "statement",
    "steps_of",
    "view_months",
]
