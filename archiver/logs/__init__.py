"""What the Integrator says, parsed without losing anything, and rendered back.

A row of the Logs API becomes a `Run`, a `Step` or a `Line`: tuples whose first fields are the columns of the table of
the same name, in its order. `render` gives the row back: `render(parse_run(row)) == row` for every JSON object.

How nothing gets lost:
- A field's value goes into its column where the column can hold it. Where it cannot (another type, a number out of
  range, a time in another spelling, a NUL), the column holds what can be had or null, and the value itself goes beside
  it, under its own name.
- Fields without a column go beside it too: in a line split into `fields` (short scalars, which are indexed) and
  `rest`; elsewhere into the one `extra`. All three are JSON text for jsonb, or None.
- What jsonb cannot hold is kept as JSON text under the key `$json`.
- `form` has one bit for each field of `FIELDS` that the row did not have at all, and `ENDED_LINE` where
  `triggered_by` had one line feed at its end, as it does for people.

Times are canonical text, `2023-06-23T11:33:17.898+00:00`: UTC, no trailing zeros, at most microseconds. It sorts as
it reads, passes into Postgres as it is, and is how log types 2 and 3 spell it. Log type 1 spells milliseconds since
1970 as a string.
"""

from archiver.logs.alike import Columns, Glimpse, field_names, glimpse, parse_columns
from archiver.logs.exact import dump_exact, load_exact
from archiver.logs.pages import Page, parse_page
from archiver.logs.parse import parse_line, parse_run, parse_step, render
from archiver.logs.rows import FIELDS, SUB_FLOWS, Line, LogType, Row, Run, State, Status, Step
from archiver.logs.spelling import spell
from archiver.logs.times import canonical, from_micros, micros, of_postgres

__all__ = [
    "FIELDS",
    "SUB_FLOWS",
    "Columns",
    "Glimpse",
    "Line",
    "LogType",
    "Page",
    "Row",
    "Run",
    "State",
    "Status",
    "Step",
    "canonical",
    "dump_exact",
    "field_names",
    "from_micros",
    "glimpse",
    "load_exact",
    "micros",
    "of_postgres",
    "parse_columns",
    "parse_line",
    "parse_page",
    "parse_run",
    "parse_step",
    "render",
    "spell",
]
