"""DuckDB reads the Parquet that `archiver export` wrote."""

from __future__ import annotations

import json
import shutil
import subprocess

from tests.real.place import Failed, Place, Skipped, must
from tests.real.truth import count, truth

_PROGRAM = """
import duckdb, json, sys
found = {}
for view in json.load(sys.stdin):
    source = f"read_parquet('{sys.argv[1]}/{view}/**/*.parquet', hive_partitioning=true, union_by_name=true)"
    rows = duckdb.sql(f"SELECT count(*) FROM {source}").fetchone()[0]
    columns = [row[:2] for row in duckdb.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    found[view] = [rows, columns]
print(json.dumps(found))
"""
VIEWS = ("run", "step", "line", "detail")


def probe(place: Place) -> str:
    """Every row of the large views."""
    folder = place.home / "parquet"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        place.archiver("export", "--to", str(folder))
    except Failed as exc:
        if "no such command" in str(exc).lower() or "installed" in str(exc):
            raise Skipped(str(exc)) from exc
        raise
    python = place.venv("duckdb", "duckdb")
    done = subprocess.run(
        [str(python), "-c", _PROGRAM, str(folder)], input=json.dumps(VIEWS), capture_output=True, text=True, check=False
    )
    must(done.returncode == 0, done.stderr[-800:])
    found = json.loads(done.stdout)
    views = truth(place)
    for view, (rows, columns) in found.items():
        names = {name for name, _ in columns}
        must(names.issuperset(column.name for column in views[view].columns), f"{view} in Parquet has {names}")
        must(rows == count(place, view), f"{view}: {rows} rows of {count(place, view)}")
    return f"{sum(rows for rows, _ in found.values())} rows of {', '.join(VIEWS)}"
