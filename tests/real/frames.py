"""pandas, polars and ADBC: data frames with the types of the contract."""

from __future__ import annotations

import json
import subprocess

from tests.real.place import Place, must
from tests.real.truth import count, truth

_PROGRAM = """
import json, os, sys
import adbc_driver_postgresql.dbapi, pandas, polars, sqlalchemy
address = os.environ["PROBE_DSN"]
engine = sqlalchemy.create_engine(address.replace("postgresql://", "postgresql+psycopg://", 1))
found = {}
for view in json.load(sys.stdin):
    query = f'SELECT * FROM reporting."{view}"'
    with engine.connect() as connection:
        one = pandas.read_sql(sqlalchemy.text(query), connection)
    two = polars.read_database_uri(query, address, engine="adbc")
    with adbc_driver_postgresql.dbapi.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        three = cursor.fetch_arrow_table()
    found[view] = {
        "rows": [len(one), len(two), three.num_rows],
        "columns": [list(one.columns), two.columns, three.column_names],
        "arrow": {field.name: str(field.type) for field in three.schema},
        "polars": {name: str(kind) for name, kind in two.schema.items()},
    }
print(json.dumps(found))
"""
PACKAGES = (
    "pandas",
    "polars",
    "pyarrow",
    "adbc-driver-postgresql",
    "adbc-driver-manager",
    "sqlalchemy",
    "psycopg[binary]",
)
ARROW = {
    "text": "string",
    "integer": "int32",
    "bigint": "int64",
    "smallint": "int16",
    "double precision": "double",
    "boolean": "bool",
    "date": "date32[day]",
    "timestamp with time zone": "timestamp[us, tz=UTC]",
}


def probe(place: Place) -> str:
    """The same rows and columns in all three, and Arrow's exact types."""
    python = place.venv("frames", *PACKAGES)
    views = truth(place)
    asked = json.dumps(list(views))
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", _PROGRAM], input=asked, capture_output=True, text=True, check=False,
        env={"PROBE_DSN": place.reader, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    must(done.returncode == 0, done.stderr[-800:])
    found = json.loads(done.stdout)
    for view in views.values():
        seen = found[view.name]
        must(seen["rows"] == [count(place, view.name)] * 3, f"{view.name}: {seen['rows']} rows")
        names = [column.name for column in view.columns]
        must(seen["columns"] == [names] * 3, f"{view.name}: {seen['columns']}")
        for column in view.columns:
            kind = seen["arrow"][column.name]
            must(ARROW.get(column.type, kind) == kind, f"{view.name}.{column.name}: {column.type} is {kind} in Arrow")
    return (
        f"{len(views)} views, {sum(one['rows'][0] for one in found.values())} rows in each of pandas, polars and ADBC"
    )
