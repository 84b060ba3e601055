"""The pages in Debian's Chromium, driven by Playwright: what a person does with them, on a desk and on a phone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import yaml

from tests.real.place import Failed, Place, Skipped, apt, free_port, must, run

TOKEN = "only-for-this-test"
AXE = "axe-core@4.14.1"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


def probe(place: Place) -> str:
    """Everything in tests/real/browsing.py; the screenshots stay in `browser` under the home of the probes."""
    apt("chromium", "fonts-dejavu-core", "fonts-noto-color-emoji")
    python = place.venv("browser", "playwright")
    folder = place.home / "browser"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with _serving(place) as base:
        given = {
            "base": base,
            "token": TOKEN,
            "chromium": shutil.which("chromium"),
            "flags": FLAGS,
            "folder": str(folder),
            "axe": str(_axe(place)),
        }
        done = subprocess.run(
            [str(python), str(Path(__file__).with_name("browsing.py"))],
            input=json.dumps(given), capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
    if done.returncode != 0:
        raise Failed(" | ".join((done.stdout + done.stderr).strip().splitlines()[-12:]))
    return done.stdout.strip().splitlines()[-1]


def _axe(place: Place) -> Path:
    """axe-core, from npm."""
    script = place.home / "axe" / "package" / "axe.min.js"
    if script.exists():
        return script
    if shutil.which("npm") is None:
        raise Skipped("there is no npm to fetch axe-core with")
    folder = place.home / "axe"
    folder.mkdir(exist_ok=True)
    name = run(["npm", "pack", "--silent", AXE], cwd=folder).decode().strip().splitlines()[-1]
    with tarfile.open(folder / name) as package:
        package.extractall(folder, filter="data")
    return script


@contextmanager
def _serving(place: Place) -> Iterator[str]:
    """The archive's pages on a port of their own, behind a token."""
    config = yaml.safe_load(place.config.read_text(encoding="utf-8"))
    port = free_port()
    config["web"] = {"listen": f"127.0.0.1:{port}", "tokens": [TOKEN]}
    beside = place.config.with_name("browser.yaml")
    beside.write_text(yaml.safe_dump(config), encoding="utf-8")
    base = f"http://127.0.0.1:{port}"
    with (place.home / "browser.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "archiver", "--config", str(beside), "serve"], stdout=log, stderr=log, env=os.environ
        )
        try:
            deadline = time.monotonic() + 60
            while not _answers(base):
                must(server.poll() is None, "archiver serve ended by itself")
                must(time.monotonic() < deadline, "archiver serve did not answer within a minute")
                time.sleep(0.2)
            yield base
        finally:
            server.terminate()
            server.wait(30)


def _answers(base: str) -> bool:
    try:
        return requests.get(f"{base}/readyz", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False
