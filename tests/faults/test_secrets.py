"""The twelve canaries in one story: a daemon at debug level with a web page, an Integrator that echoes what it is told,
commands that fail, a crash, and everything that can be read of them."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from psycopg import sql

from archiver import config
from archiver.client import Client
from archiver.demo.faults import Fault, Faults, LoginRefused
from archiver.demo.server import USERNAME
from archiver.demo.wire import Answer, Request
from archiver.store import Store, connect
from tests.faults import canaries
from tests.faults.scene import Telling, mark
from tests.faults.test_process import free_port
from tests.system.story import Story, small_flows, told
from tests.test_daemon import wait_for


class Echo(Fault):
    """An error that repeats whatever the client has sent."""

    def __init__(self, status: int) -> None:
        self.status = status

    def after(self, request: Request, answer: Answer) -> None:
        sent = f"{request.method} {request.target} {request.headers} ".encode() + request.body
        answer.say(self.status, sent + canaries.PASSWORD.encode())


@pytest.fixture
def owned(postgres: str) -> Iterator[str]:
    """The DSN of an empty database whose owner has a canary for its password."""
    name = f"canary_{uuid.uuid4().hex[:12]}"
    role, where = sql.Identifier(name), urlsplit(postgres)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(canaries.DATABASE)))
        admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
        place = f"{name}:{canaries.DATABASE}@{where.hostname}:{where.port}"
        yield where._replace(netloc=place, path=f"/{name}").geturl()
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(role))
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


def configured(story: Story, port: int) -> dict[str, str]:
    """Every setting that can hold a secret holds one; answers the environment that some come from."""
    path = story.configure(every="1s")
    settings = json.loads(path.read_text())
    first = settings["integrators"]["make-believe"]
    secret = story.folder / "secret-file"
    secret.write_text(canaries.SECRET_FILE)
    other = {"base_url": "http://127.0.0.1:1", "requests_per_second": 100, "timeout": "1s"}
    settings["integrators"] |= {
        "fixed": {**first, "token": canaries.FIXED_TOKEN} | dict.fromkeys(("username", "password")),
        "proxied": {**other, "username": "u", "password": "${CANARY}", "proxy": f"http://u:{canaries.PROXY}@127.0.0.1:1"},
        "filed": {**other, "username": "u", "password_file": str(secret)},
    }  # fmt: skip
    settings["integrators"]["fixed"] = {k: v for k, v in settings["integrators"]["fixed"].items() if v is not None}
    settings["projects"][0]["integrator"] = "make-believe"
    for number, name in enumerate(("fixed", "proxied", "filed")):
        flow = {"id": f"of-{name}", "name": name}
        settings["projects"].append({"id": f"p-{number}", "slug": name, "integrator": name, "flows": [flow]})
    settings["web"] = {"listen": f"127.0.0.1:{port}", "tokens": [canaries.WEB_TOKEN]}
    settings["alerts"] = {"to": [f"json://127.0.0.1:1/{canaries.ALERT}"]}
    settings["logging"] = {"level": "debug"}
    path.write_text(json.dumps(settings))
    return {"CANARY": canaries.VARIABLE}


def started(story: Story, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """The daemon at debug level; it would wait for a pipe that nobody reads."""
    with (story.folder / "daemon.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "archiver", "--config", str(story.folder / "config.yaml"), "--debug", "run"],
            env={**os.environ, **environment, "HOME": str(story.folder), "PYTHONFAULTHANDLER": "1"},
            stdout=log,
            stderr=log,
        )


def test_no_canary_is_ever_seen(tmp_path: Path, owned: str) -> None:
    """Not in a log at debug level, an error, a page, a metric, a row, the list of processes, a repr or a crash."""
    assert len(canaries.ALL) == 12
    faults, port = Faults(seed=3), free_port()
    faults.add(Telling())
    seen: dict[str, str | bytes] = {}
    flows = small_flows("price", runs=4, lines=4)
    with told(
        tmp_path, owned, flows=flows, faults=faults, now=datetime.now(UTC), credentials={USERNAME: canaries.PASSWORD}
    ) as story:
        mark(story.server.api.tokens)
        story.settings["password"] = canaries.PASSWORD
        environment = configured(story, port)
        for status in (400, 401, 500, 302):
            faults.add(Echo(status), path="/logs", rate=0.08)
        daemon = started(story, environment)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: daemon.poll() is not None or requests.get(f"{url}/readyz", timeout=5).ok)
            assert daemon.poll() is None, (tmp_path / "daemon.log").read_text()[-2000:]
            wait_for(lambda: story.query("SELECT count(*) > 3 FROM archive.run") == [(True,)])
            seen |= pages(url)
            seen["processes"] = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, check=True).stdout
            faults.add(LoginRefused(), path="/api/nifi/login")
            faults.add(Echo(400), path="/api/nifi/login")
            story.server.expire_tokens()
            for command in (("status",), ("check",), ("status", "--json"), ("--debug", "sync"), ("--debug", "check")):
                done = story.run(*command, timeout=120, **environment)
                seen[" ".join(command)] = done.stdout + done.stderr
            daemon.send_signal(signal.SIGABRT)  # a crash, with the stacks of all threads
            daemon.wait(30)
            seen["daemon's log and crash"] = said = (tmp_path / "daemon.log").read_text()
            assert "Fatal Python error: Aborted" in said
        finally:
            daemon.kill()
            daemon.wait()
        wrong = tmp_path / "wrong.yaml"
        wrong.write_text((tmp_path / "config.yaml").read_text().replace(canaries.DATABASE, f"no-{canaries.DATABASE}"))
        done = story.run("--debug", "status", timeout=120, **environment, ARCHIVER_CONFIG=str(wrong))
        seen["wrong password"] = done.stdout + done.stderr
        seen["core"] = reprs(tmp_path / "config.yaml", environment)
    seen |= {f"{table} {number}": row for number, (table, row) in enumerate(canaries.stored(owned))}
    assert len(seen) > 40
    assert [(where, who) for where, text in seen.items() for who in canaries.found(text)] == []


def pages(url: str) -> dict[str, str | bytes]:
    """What the web server shows, to those that have a token and to those that have not."""
    found: dict[str, str | bytes] = {}
    basic = base64.b64encode(f"user:{canaries.WEB_TOKEN}".encode()).decode()
    ways: list[dict[str, str]] = [
        {},
        {"Authorization": f"Bearer {canaries.WEB_TOKEN}"},
        {"Authorization": f"Basic {basic}"},
        {"Cookie": f"session={canaries.COOKIE}", "X-Api-Key": canaries.HEADER},
    ]
    for path in ("/", "/healthz", "/readyz", "/metrics", "/logs?limit=x", "/nowhere", "/search?q=x", "/errors"):
        for number, headers in enumerate(ways):
            answer = requests.get(url + path, headers=headers, timeout=20)
            found[f"{path} {number}"] = f"{answer.status_code} {dict(answer.headers)}".encode() + answer.content
    return found


def reprs(path: Path, environment: dict[str, str]) -> str:
    """The core's objects as a debugger prints them."""
    loaded = config.load(path, environment)
    engine = connect(str(loaded.database.libpq_url()))
    store = Store(engine, "repr")
    words = [repr(loaded), str(loaded), repr(engine), repr(engine.url), repr(store), repr(vars(loaded))]
    for integrator in loaded.integrators.values():
        with Client(integrator, store.hold) as client:
            words += [repr(client), repr(integrator), str(integrator), repr(vars(client))]
    store.close()
    return "\n".join(words)
