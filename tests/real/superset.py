"""Apache Superset 6.1 with its metadata in SQLite: import the bundle, run every chart, photograph the dashboard."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.real.place import Failed, Place, Skipped, apt, free_port, must, run

PACKAGES = ("apache-superset==6.1.0", "rich", "cachetools", "pillow", "gunicorn", "psycopg2-binary", "selenium")
ADMIN = {"username": "admin", "password": "admin"}
_CONFIG = """
SECRET_KEY = "only-for-this-test-{port}-{port}-{port}"
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/superset.db"
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
"""


def probe(place: Place) -> str:
    """The bundle in a Superset of our own; what was seen."""
    if shutil.which("python3.11") is None:
        raise Skipped("Superset 6.1 wants a python3.11")
    python = place.venv("superset", *PACKAGES)
    folder = place.home / "superset"
    bundle = place.archiver("bi", "superset", "--role", place.parts()["user"])
    must(place.parts()["password"].encode() not in bundle, "the bundle holds the password")
    with _serving(folder, python.parent) as session:
        _import(session, bundle, place)
        rows = _charts(session)
        _import(session, bundle, place)  # once more replaces, and does not double
        must(len(_charts(session)) == len(rows), "a second import made more charts")
        dashboard = session.get("/api/v1/dashboard/").json()["result"]
        must(len(dashboard) == 1, f"{len(dashboard)} dashboards")
        picture = _picture(place, session, python, dashboard[0]["url"])
    return f"{len(rows)} charts, {sum(rows.values())} rows; {picture}"


class _Session(requests.Session):
    """Asks one Superset, as its administrator."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.trust_env = False

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **more: Any) -> requests.Response:
        return super().request(method, f"{self.base}{url!s}", *args, **{"timeout": 120, **more})


@contextmanager
def _serving(folder: Path, programs: Path) -> Iterator[_Session]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "superset_config.py").write_text(_CONFIG.format(port=port, folder=folder))
    environ = {
        "SUPERSET_CONFIG_PATH": str(folder / "superset_config.py"),
        "FLASK_APP": "superset.app:create_app()",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    superset = str(programs / "superset")
    run([superset, "db", "upgrade"], environ=environ)
    create = ["fab", "create-admin", "--firstname", "a", "--lastname", "b", "--email", "a@example.com"]
    run([superset, *create, "--username", ADMIN["username"], "--password", ADMIN["password"]], environ=environ)
    run([superset, "init"], environ=environ)
    command = [str(programs / "gunicorn"), "-w", "1", "--threads", "8", "-t", "120", "-b", f"127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "superset.app:create_app()"], stdout=log, stderr=log, env={**os.environ, **environ}
        )
        try:
            yield _log_in(f"http://127.0.0.1:{port}", server)
        finally:
            server.terminate()
            server.wait(30)


def _log_in(base: str, server: subprocess.Popen[bytes]) -> _Session:
    session = _Session(base)
    deadline = time.monotonic() + 120
    while True:
        must(server.poll() is None, "Superset ended by itself")
        must(time.monotonic() < deadline, "Superset did not answer within two minutes")
        try:
            session.get("/health")
            break
        except requests.ConnectionError:
            time.sleep(0.5)
    session.post("/login/", data=ADMIN)  # the cookie of the pages
    token = session.post("/api/v1/security/login", json={**ADMIN, "provider": "db"}).json()["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    return session


def _import(session: _Session, bundle: bytes, place: Place) -> None:
    passwords = json.dumps({"databases/akinon_archive.yaml": place.parts()["password"]})
    answer = session.post(
        "/api/v1/dashboard/import/",
        files={"formData": ("bundle.zip", bundle, "application/zip")},
        data={"passwords": passwords, "overwrite": "true"},
    )
    must(answer.status_code == 200, f"the import was answered with {answer.status_code}: {answer.text[:500]}")


def _charts(session: _Session) -> dict[str, int]:
    """The rows of every chart, run as the database's role."""
    rows: dict[str, int] = {}
    for chart in session.get("/api/v1/chart/?q=(page_size:100)").json()["result"]:
        answer = session.get(f"/api/v1/chart/{chart['id']}/data/?force=true")
        result = answer.json().get("result", [{}])[0]
        must(answer.status_code == 200 and not result.get("error"), f"{chart['slice_name']}: {answer.text[:500]}")
        rows[chart["slice_name"]] = len(result["data"])
        must(rows[chart["slice_name"]], f"{chart['slice_name']} shows nothing")
    must(len(rows) >= 12, f"only {len(rows)} charts")
    return rows


_CAMERA = """
import json, sys, time
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
given = json.load(sys.stdin)
options = webdriver.ChromeOptions()
options.binary_location = given["chromium"]
for flag in given["flags"]:
    options.add_argument(flag)
driver = webdriver.Chrome(service=Service(given["driver"]), options=options)
try:
    driver.get(given["base"] + "/health")
    driver.add_cookie({"name": "session", "value": given["cookie"], "path": "/"})
    driver.get(given["base"] + given["url"])
    def count(selector):
        return driver.execute_script("return document.querySelectorAll(arguments[0]).length", selector)
    def charts():
        return count(".dashboard-component-chart-holder")
    def pending():
        return count(".loading, [data-test='loading-indicator']") + max(0, given["charts"] - charts())
    deadline = time.monotonic() + 90
    time.sleep(5)
    while pending() and time.monotonic() < deadline:
        time.sleep(1)
    time.sleep(3)
    driver.save_screenshot(given["to"])
    broken = count("[data-test='error-container'], .ant-alert-error")
    print(json.dumps({"broken": broken, "pending": pending(), "charts": charts()}))
finally:
    driver.quit()
"""


def _picture(place: Place, session: _Session, python: Path, url: str) -> str:
    try:
        apt("chromium", "chromium-driver", "fonts-noto-color-emoji")
    except Skipped as exc:
        return f"no picture ({exc})"
    profile = place.home / "chromium"
    shutil.rmtree(profile, ignore_errors=True)
    to = place.home / "superset.png"
    given = {
        "chromium": shutil.which("chromium"),
        "driver": shutil.which("chromedriver"),
        "flags": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            "--window-size=1500,2600", f"--user-data-dir={profile}",
        ],
        "base": session.base,
        "cookie": session.cookies["session"],
        "url": f"{url}?standalone=1&show_filters=1",
        "to": str(to),
        "charts": 12,
    }  # fmt: skip
    done = subprocess.run(
        [str(python), "-c", _CAMERA], input=json.dumps(given), capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode != 0:
        raise Failed(f"the picture: {' | '.join(done.stderr.strip().splitlines()[-4:])}")
    seen = json.loads(done.stdout)
    must(seen["charts"] >= 12 and not seen["broken"] and not seen["pending"], f"the dashboard in the browser: {seen}")
    return f"the dashboard is in {to}"
