"""ODBC, as Excel, Power BI or Qlik use it: Debian's driver through pyodbc."""

from __future__ import annotations

import json
from pathlib import Path

from tests.real.place import Place, Skipped, apt, must, run
from tests.real.truth import compare, count, truth

_PROGRAM = """
import json, os, pyodbc
connection = pyodbc.connect(os.environ["PROBE_DSN"], readonly=True)
cursor = connection.cursor()
views = [(row.table_name, row.remarks) for row in cursor.tables(schema="reporting", tableType="VIEW")]
# psqlODBC leaves REMARKS empty; who wants the comments asks the catalog.
said = "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = CAST(? AS regclass)"
columns, rows = [], {}
for view, _ in views:
    comments = dict(tuple(row) for row in cursor.execute(said, view).fetchall())
    named = [(row.column_name, row.type_name) for row in cursor.columns(view, schema="reporting")]
    columns += [(view, name, kind, comments[name]) for name, kind in named]
    rows[view] = sum(1 for _ in cursor.execute(f'SELECT * FROM "{view}"'))
print(json.dumps([views, columns, rows]))
"""


def probe(place: Place) -> str:
    """Metadata and all rows of every view."""
    apt("odbc-postgresql", "unixodbc")
    drivers = sorted(Path("/usr/lib").glob("*/odbc/psqlodbcw.so"))
    if not drivers:
        raise Skipped("there is no psqlodbcw.so")
    python = place.venv("odbc", "pyodbc")
    parts = place.parts()
    dsn = (
        f"Driver={drivers[0]};Servername={parts['host']};Port={parts['port']};Database={parts['dbname']};"
        f"Username={parts['user']};Password={{{parts['password']}}};UseDeclareFetch=1"
    )
    views, columns, rows = json.loads(run([str(python), "-c", _PROGRAM], environ={"PROBE_DSN": dsn}))
    must(len(views) == len(truth(place)), f"views: {views}")
    for view, number in rows.items():
        must(number == count(place, view), f"{view}: {number} rows of {count(place, view)}")
    return f"{compare(place, map(tuple, columns))}, {sum(rows.values())} rows"
