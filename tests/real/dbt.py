"""dbt: freshness of the sources, and tests on them. It makes nothing, so a reader is enough."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.real.place import Place, must, run


def probe(place: Place) -> str:
    """`dbt source freshness` and `dbt test` as the reader."""
    programs = place.venv("dbt", "dbt-core", "dbt-postgres").parent
    project = place.home / "dbt"
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(Path(__file__).with_name("dbt_project"), project)
    parts = place.parts()
    environ = {
        "PROBE_HOST": parts["host"],
        "PROBE_PORT": parts["port"],
        "PROBE_USER": parts["user"],
        "PROBE_PASSWORD": parts["password"],
        "PROBE_DATABASE": parts["dbname"],
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    dbt = [str(programs / "dbt"), "--no-use-colors", "--no-version-check"]
    where = ["--project-dir", str(project), "--profiles-dir", str(project)]
    run([*dbt, "source", "freshness", *where], environ=environ, cwd=project)
    fresh = json.loads((project / "target" / "sources.json").read_text())["results"]
    run([*dbt, "test", *where], environ=environ, cwd=project)
    tests = json.loads((project / "target" / "run_results.json").read_text())["results"]
    must(len(fresh) == 3, f"freshness of {len(fresh)} sources")
    must(len(tests) >= 10 and all(one["status"] == "pass" for one in tests), f"tests: {tests}")
    return f"{len(fresh)} sources are fresh, {len(tests)} tests pass"
