"""What tests of alerts need: a mail server and a webhook on loopback, and an archive whose rows somebody writes."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from pydantic import SecretStr

from archiver.alerts import Rounds
from archiver.config import Alerts, Config, Flow, Integrator, Web
from archiver.logs import parse_line, parse_run
from archiver.store import Store, connect, migrate
from tests.test_views import run

CANARY = "canary-p4ss"
FLOW = Flow("prod", "p-1", "brand", "f-1", "price")


# --- what receives ---


@dataclass
class Inbox:
    """A mail server or a webhook on loopback, and what came."""

    url: str
    came: list[tuple[str, str]] = field(default_factory=list)
    beats: int = 0
    status: int = 200

    @property
    def titles(self) -> list[str]:
        return [title for title, _ in self.came]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def mail_server() -> Iterator[Inbox]:
    """It wants a user and a password, as those of the world do."""
    port = free_port()
    inbox = Inbox(f"mailto://user:{CANARY}@127.0.0.1:{port}?from=archiver@example.com&to=ops@example.com&mode=insecure")

    class Handler:
        async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
            message = email.message_from_bytes(envelope.content, policy=email.policy.default)
            body = message.get_body(("plain", "html"))
            inbox.came.append((str(message["subject"]), "" if body is None else body.get_content()))
            return "250 OK"

    def login(*given: Any) -> AuthResult:
        return AuthResult(success=given[-1].password == CANARY.encode())

    class Mail(Controller):
        def factory(self) -> SMTP:
            return SMTP(self.handler, authenticator=login, auth_required=True, auth_require_tls=False)

    server = Mail(Handler(), "127.0.0.1", port)
    server.start()
    try:
        yield inbox
    finally:
        server.stop()


@contextmanager
def webhook() -> Iterator[Inbox]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if inbox.status == 200:
                inbox.came.append((document["title"], document["message"]))
            self.send_response(inbox.status)
            self.end_headers()

        def do_GET(self) -> None:
            inbox.beats += 1
            self.send_response(inbox.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox = Inbox(f"json://user:{CANARY}@127.0.0.1:{server.server_port}/hook")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()


# --- rounds on an archive whose rows somebody writes by hand ---


class Archive:
    """One flow, polled up to now and known since long ago."""

    def __init__(self, database: str, inbox: Inbox) -> None:
        self.dsn = database
        self.engine = connect(database)
        migrate(self.engine)
        self.store = Store(self.engine, "test")
        self.key = self.store.register([FLOW])[FLOW]
        self.inbox = inbox
        self.ids = iter(range(1, 1000))
        self.sql("UPDATE archive.flow SET added_at = now() - interval '90 days'")
        self.runs(3, 2, ago=timedelta(days=20))  # so its kind of error is none that is new
        self.polled()

    def sql(self, statement: str) -> list[Any]:
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def polled(self) -> None:
        self.sql(
            "UPDATE archive.checkpoint SET frontier = now(), checked_at = now(), next_due_at = now(),"
            " intervals = jsonb_build_array(jsonb_build_array(now() - interval '60 days', now()))"
        )

    def runs(
        self,
        *statuses: int,
        ago: timedelta = timedelta(0),
        line: int | None = None,
        message: str = "ERP: connection refused",
    ) -> None:
        """Finished runs, a minute after each other, the last one `ago`; a failed one has a failed line."""
        for place, status in enumerate(statuses):
            number = next(self.ids)
            began = datetime.now(UTC) - ago - timedelta(seconds=60 * (len(statuses) - place))
            lease = self.store.leases.claim(self.key)
            assert lease is not None
            row = run(number, began, status, 30.0)
            with self.store.writing(lease) as writer:
                parsed = parse_run(row)
                writer.put_runs([parsed])
                written = {
                    "id": number,
                    "created": began.isoformat(),
                    "original_filename_uuid": f"run-{number}",
                    "state": 3,
                    "status": line or status,
                    "message": message if 3 in (line, status) else "ok",
                }
                writer.put_lines([parse_line(written)], (number, f"run-{number}", parsed.created or ""))
            self.store.leases.release(lease)
        self.sql("UPDATE archive.run SET archive_state = 'sealed', visit_at = NULL")

    def config(self, **settings: Any) -> Config:
        alerts = Alerts(**{"to": (SecretStr(self.inbox.url),), **settings})
        return Config(
            None,
            Path("unused"),
            integrators={"prod": Integrator("prod", "http://127.0.0.1:9")},
            alerts=alerts,
            flows=(FLOW,),
            web=Web(public_url="https://logs.example.com/archive"),
        )

    def rounds(self, **settings: Any) -> Rounds:
        config = self.config(**settings)
        return Rounds(self.engine, lambda: config, lambda: {self.key: FLOW})

    def round(self, **settings: Any) -> list[str]:
        """A restart, a round; the titles of what came of it."""
        before = len(self.inbox.came)
        rounds = self.rounds(**settings)
        rounds.decide()
        rounds.send()
        return self.inbox.titles[before:]

    def later(self, span: str) -> None:
        """So much time goes by for what was told."""
        self.sql(f"UPDATE archive.alert SET told_at = told_at - interval '{span}'")
