"""A bucket that speaks S3 (moto) holds what `archiver export` wrote, also after a kill -9; boto3 reads it back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.real.place import Failed, Place, free_port, must
from tests.real.truth import count

VIEWS = ("run", "line", "detail")
_KEYS = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-bucket", "AWS_REGION": "eu-central-1"}

# With what is no part of the archiver: each object of the manifest against its checksum, and what else lies there.
_PROGRAM = """
import boto3, hashlib, json, sys
s3 = boto3.client("s3", endpoint_url=sys.argv[1], region_name="eu-central-1")
pages = s3.get_paginator("list_objects_v2").paginate(Bucket="brand", Prefix=sys.argv[2])
keys = [one["Key"] for page in pages for one in page.get("Contents", ()) if one["Size"]]
text = next((key for key in keys if key.endswith("_manifest.json")), None)
manifest = json.loads(s3.get_object(Bucket="brand", Key=text)["Body"].read()) if text else None
wrong, rows = [], {}
for one in manifest["files"] if manifest else ():
    body = s3.get_object(Bucket="brand", Key=f"{sys.argv[2]}/{one['path']}")["Body"].read()
    if (hashlib.sha256(body).hexdigest(), len(body)) != (one["sha256"], one["bytes"]):
        wrong.append(one["path"])
    rows[one["view"]] = rows.get(one["view"], 0) + one["rows"]
print(json.dumps({"keys": keys, "is_complete": text is not None, "wrong": wrong, "rows": rows}))
"""


def probe(place: Place) -> str:
    """All rows after a kill and another go; then nothing to do; then what a wrong bucket is told."""
    python = place.venv("s3", "moto[server]", "boto3")
    with _served(python) as endpoint:
        address = endpoint.removeprefix("http://")
        to = f"s3://brand/archive?endpoint_override={address}&scheme=http"
        killed = _killed(place, to, python, endpoint)
        report = json.loads(_export(place, to))
        must(killed is None or report["kept"] > 0, "the export that was killed left nothing to go on from")
        found = _listed(python, endpoint)
        must(found["is_complete"] and not found["wrong"], f"objects that differ from the manifest: {found['wrong']}")
        must(not [key for key in found["keys"] if key.endswith(".part")], f"left behind: {found['keys']}")
        for view in VIEWS:
            must(
                found["rows"][view] == count(place, view), f"{view}: {found['rows'][view]} rows of {count(place, view)}"
            )
        must(json.loads(_export(place, to))["written"] == 0, "an export of what has not changed wrote files")
        _refused(place, address)
        how = f"killed after {killed} objects and gone on" if killed else "too quick to be killed"
        return f"{sum(found['rows'].values())} rows in {len(found['keys'])} objects, {how}"


@contextmanager
def _served(python: Path) -> Iterator[str]:
    port = free_port()
    command = [str(python.with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _made(endpoint)
            yield endpoint
        finally:
            server.terminate()


def _made(endpoint: str) -> None:
    """The bucket, as soon as there is somebody to make it."""
    for _ in range(240):
        with suppress(OSError):
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/brand", method="PUT"), timeout=5).close()
            return
        time.sleep(0.25)
    raise Failed("moto's server does not answer")


def _command(place: Place, to: str) -> list[str]:
    views = [word for view in VIEWS for word in ("--view", view)]
    return [sys.executable, "-m", "archiver", "--config", str(place.config), "export", "--to", to, *views, "--json"]


def _export(place: Place, to: str) -> str:
    done = subprocess.run(
        _command(place, to), capture_output=True, text=True, check=False, timeout=600, env={**os.environ, **_KEYS}
    )
    must(done.returncode == 0, f"the export ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def _killed(place: Place, to: str, python: Path, endpoint: str) -> int | None:
    """How many objects were there when the export was killed; None where it was quicker."""
    with subprocess.Popen(
        _command(place, to), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **_KEYS}
    ) as export:
        while export.poll() is None:
            with urllib.request.urlopen(f"{endpoint}/brand?list-type=2", timeout=10) as answer:
                if answer.read().count(b".parquet</Key>") >= 2:
                    export.send_signal(signal.SIGKILL)
                    break
            time.sleep(0.02)
    if export.returncode != -signal.SIGKILL:
        return None
    found = _listed(python, endpoint)
    must(not found["is_complete"], "an export that was killed has a manifest")
    return len(found["keys"])


def _listed(python: Path, endpoint: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), "-c", _PROGRAM, endpoint, "archive"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **_KEYS},
    )
    must(done.returncode == 0, done.stderr[-800:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _refused(place: Place, address: str) -> None:
    """A bucket that is not there: one line, and no word of the secret."""
    to = f"s3://reader:s3cr3t-of-the-bucket@nobody?endpoint_override={address}&scheme=http"
    done = subprocess.run(_command(place, to), capture_output=True, text=True, check=False, timeout=600)
    must(done.returncode == 2, f"a bucket that is not there: exit status {done.returncode}")
    must("'nobody' not found" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr)
    must("s3cr3t" not in done.stderr, "the secret of the bucket is printed")
