"""dlt's `rest_api` source on the Integrator, into Postgres. Runs in a virtual environment of its own: see dlt.py.

    python dlt_pipeline.py DSN JSON-OF-THE-SERVER default|tuned FOLDER

default: as the documentation's first page has it, everything replaced by each load. tuned: pages of several runs at
once, nothing unpacked into tables of its own, CSV files that Postgres copies, larger buffers, normalised by two
processes, and runs below the greatest `created` of the last load left out (which misses what comes late or changes).
The numbers of workers and the sizes of buffers come from the environment.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from typing import Any

import dlt
from dlt.sources.rest_api import rest_api_source


def token(world: dict[str, Any]) -> str:
    account = urllib.parse.urlencode({"username": world["username"], "password": world["password"]}).encode()
    with urllib.request.urlopen(f"{world['base_url']}/api/nifi/login", account) as answer:
        text: str = answer.read().decode()
    return text


def resources(flow: dict[str, Any], number: int, tuned: bool) -> list[dict[str, Any]]:
    asked = {"projectid": flow["project_id"], "flowId": flow["id"], "limit": 100}
    runs, lines = f"runs_{number}", f"lines_{number}"
    missing = [{"status_code": 404, "action": "ignore"}]  # what the Integrator says behind the last page
    endpoint: dict[str, Any] = {
        "path": "logs", "data_selector": "results", "response_actions": missing, "params": asked | {"log_type": 1},
    }  # fmt: skip
    if tuned:
        endpoint["incremental"] = {"cursor_path": "created", "initial_value": "0"}
    of_run = f"{{resources.{runs}.filename_uuid}}"
    return [
        {"name": runs, "table_name": "runs", "endpoint": endpoint},
        {
            "name": lines,
            "table_name": "lines",
            "parallelized": tuned,
            "endpoint": {
                "path": "logs", "data_selector": "results", "response_actions": missing,
                "params": asked | {"log_type": 3, "original_filename_uuid": of_run},
            },
        },
    ]  # fmt: skip


def main(dsn: str, said: str, mode: str, folder: str) -> None:
    world, tuned = json.loads(said), mode == "tuned"
    source = rest_api_source(
        {
            "client": {
                "base_url": world["base_url"],
                "auth": {"type": "bearer", "token": token(world)},
                "paginator": {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": None},
            },
            "resource_defaults": {
                "primary_key": "id",
                "write_disposition": "append" if tuned else "replace",
                **({"max_table_nesting": 0} if tuned else {}),
            },
            "resources": [one for number, flow in enumerate(world["flows"]) for one in resources(flow, number, tuned)],
        },
        name="integrator",
    )
    pipeline = dlt.pipeline(
        "race", pipelines_dir=folder, destination=dlt.destinations.postgres(dsn), dataset_name="dlt_data"
    )
    pipeline.run(source, loader_file_format="csv" if tuned else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
