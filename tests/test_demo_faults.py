"""Every fault really happens, to the requests in its scope and to no other, and happens again with the same seed."""

from __future__ import annotations

import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
import requests

from archiver.demo.faults import (
    ABSENT,
    Body,
    Call,
    Cut,
    DepthLimit,
    Drip,
    Fault,
    Faults,
    Field,
    Gzip,
    GzipBomb,
    Hang,
    Huge,
    Latency,
    LimitCapped,
    LimitIgnored,
    LoginRefused,
    NoDate,
    PageIgnored,
    Redirect,
    Reset,
    Shape,
    Spelling,
    Status,
    WrongDate,
)
from archiver.demo.flows import BRAND
from archiver.demo.server import PASSWORD, USERNAME, Server, serve
from archiver.demo.table import TableWorld

NOW = datetime(2026, 3, 12, 14, 27, 31, tzinfo=UTC)
LOGIN = "/api/nifi/login"


class Client:
    """A client without patience or tricks: one session, no retries, no redirects followed."""

    def __init__(self, server: Server, table: TableWorld) -> None:
        self.server = server
        self.table = table
        self.faults = server.faults
        self.session = requests.Session()
        self.session.trust_env = False
        self.token = self.login().text

    def login(self) -> requests.Response:
        form = {"username": USERNAME, "password": PASSWORD}
        return self.session.post(self.server.base_url + LOGIN, data=form, timeout=2, allow_redirects=False)

    def logs(self, *, timeout: float = 2, log_type: int = 1, flow: str = "f", **more: object) -> requests.Response:
        params = {"projectid": BRAND.project_id, "flowId": flow, "log_type": log_type, "limit": 10, **more}
        text = {name: str(value) for name, value in params.items()}
        return self.session.get(
            f"{self.server.base_url}/logs",
            params=text,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=timeout,
            allow_redirects=False,
        )

    def ids(self, page: int) -> list[int]:
        return [row["id"] for row in self.logs(page=page).json()["results"]]


@contextmanager
def client_of(seed: int = 1) -> Iterator[Client]:
    table = TableWorld(lambda: NOW)
    table.insert("f", 1, *({"id": number, "filename_uuid": f"run-{number}", "text": "ş" * 200} for number in range(30)))
    table.insert("f", 3, {"id": 5})
    table.insert("g", 1, {"id": 6})
    with serve(table, Faults(seed=seed)) as server:
        client = Client(server, table)
        with client.session:
            yield client


@pytest.fixture
def client() -> Iterator[Client]:
    with client_of() as one:
        yield one


# --- scope and schedule ---------------------------------------------------------------------------------------------


def test_scope_by_path_type_flow_and_page(client: Client) -> None:
    client.faults.add(Status(500), path="/logs", log_type=3)
    client.faults.add(Status(501), flow_id="g")
    client.faults.add(Status(404), log_type=1, page=2)
    client.faults.add(Status(502), path="/logs/download")
    assert client.logs().status_code == 200
    assert client.logs(log_type=3).status_code == 500
    assert client.logs(flow="g").status_code == 501
    assert client.logs(page=2).status_code == 404
    assert client.login().status_code == 200


def test_schedule_by_nth_and_times(client: Client) -> None:
    client.faults.add(Status(503), path="/logs", nth=[2, 4])
    limited = client.faults.add(Status(429), path="/logs", nth=range(5, 100), times=2)
    assert [client.logs().status_code for _ in range(8)] == [200, 503, 200, 503, 429, 429, 200, 200]
    assert (limited.seen, limited.fired) == (8, 2)
    client.faults.remove(limited)
    client.faults.clear()
    assert client.logs().status_code == 200


def test_rates_are_replayed_by_their_seed() -> None:
    def statuses(seed: int) -> list[int]:
        with client_of(seed) as client:
            client.faults.add(Status(500), path="/logs", rate=0.3)
            return [client.logs().status_code for _ in range(60)]

    first = statuses(7)
    assert first == statuses(7) != statuses(8)
    assert 8 <= first.count(500) <= 30


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [None, "3", "Thu, 12 Mar 2026 14:28:00 GMT", "9999999999"])
def test_status_with_retry_after(client: Client, after: str | None) -> None:
    client.faults.add(Status(503, retry_after=after), path="/logs")
    answer = client.logs()
    assert (answer.status_code, answer.headers.get("Retry-After")) == (503, after)


def test_login_refused(client: Client) -> None:
    client.faults.add(LoginRefused(), path=LOGIN, times=1)
    assert client.login().text == "The supplied username and password are not valid."
    assert client.login().status_code == 200
    assert client.server.logins == 3


def test_login_with_html(client: Client) -> None:
    client.faults.add(Body(), path=LOGIN)
    answer = client.login()
    assert (answer.status_code, answer.text[:9]) == (200, "<!doctype")
    assert answer.headers["Content-Type"].startswith("text/html")


def test_redirect_of_a_login(client: Client) -> None:
    client.faults.add(Redirect("http://127.0.0.1:9/elsewhere", status=307), path=LOGIN)
    answer = client.login()
    assert (answer.status_code, answer.headers["Location"]) == (307, "http://127.0.0.1:9/elsewhere")


def test_bodies_that_are_no_pages(client: Client) -> None:
    client.faults.add(Body(b"upstream said {", "application/json"), nth=[1])
    client.faults.add(Shape(["a", "list"]), nth=[2])
    with pytest.raises(requests.exceptions.JSONDecodeError):
        client.logs().json()
    assert client.logs().json() == ["a", "list"]


@pytest.mark.parametrize("value", [None, 7, "many", -1])
def test_fields_that_lie(client: Client, value: object) -> None:
    client.faults.add(Field("count", value))
    assert client.logs().json()["count"] == value


def test_fields_that_are_absent_or_lead_away(client: Client) -> None:
    client.faults.add(Field("count", ABSENT))
    client.faults.add(Field("next", "http://198.51.100.7/logs?page=2"))
    page = client.logs().json()
    assert "count" not in page
    assert page["next"] == "http://198.51.100.7/logs?page=2"
    assert len(page["results"]) == 10


@pytest.mark.parametrize(
    ("fault", "page", "expected"),
    [
        (PageIgnored(), 3, range(10)),
        (LimitIgnored(25), 1, range(25)),
        (LimitCapped(4), 2, range(4, 8)),
        (LimitCapped(50), 2, range(10, 20)),
    ],
)
def test_paging_that_does_not_listen(client: Client, fault: Fault, page: int, expected: range) -> None:
    client.faults.add(fault)
    assert client.ids(page=page) == list(expected)


@pytest.mark.parametrize("status", [400, 500])
def test_depth_limit(client: Client, status: int) -> None:
    client.faults.add(DepthLimit(20, status))
    assert [client.logs(page=page).status_code for page in (1, 2, 3)] == [200, 200, status]


@pytest.mark.parametrize(("only", "status"), [("projectid", 200), ("projectId", 400)])
def test_one_spelling_alone(client: Client, only: str, status: int) -> None:
    client.faults.add(Spelling(only))
    assert client.logs().status_code == status
    assert client.logs(projectId=BRAND.project_id).status_code == 200


def test_date_header(client: Client) -> None:
    assert parsedate_to_datetime(client.logs().headers["Date"]) == NOW
    client.faults.add(NoDate(), nth=[1])
    client.faults.add(WrongDate(timedelta(days=-400)), nth=[2])
    client.faults.add(WrongDate("yesterday"), nth=[3])
    assert "Date" not in client.logs().headers
    assert parsedate_to_datetime(client.logs().headers["Date"]) == NOW - timedelta(days=400)
    assert client.logs().headers["Date"] == "yesterday"


def test_gzip_bodies(client: Client) -> None:
    client.faults.add(Gzip(), nth=[1])
    client.faults.add(GzipBomb(8), nth=[2])
    honest, bomb = client.logs(), client.logs()
    assert honest.headers["Content-Encoding"] == bomb.headers["Content-Encoding"] == "gzip"
    assert len(honest.json()["results"]) == 10
    assert int(bomb.headers["Content-Length"]) < 20_000
    assert len(bomb.content) == 8 * 2**20


def test_huge_body_does_not_burden_the_server(client: Client) -> None:
    client.faults.add(Huge(64))
    tracemalloc.start()
    answer = client.session.get(f"{client.server.base_url}/logs", stream=True, timeout=2)
    length = sum(len(piece) for piece in answer.iter_content(2**20))
    assert length == int(answer.headers["Content-Length"]) == 64 * 2**20
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_rows_change_between_two_pages(client: Client) -> None:
    def insert(request: object) -> None:
        client.table.insert("f", 1, {"id": 100})

    client.faults.add(Call(insert), path="/logs", nth=[2])
    first, second = client.ids(page=1), client.ids(page=2)
    assert first[-1] == second[0] == 9
    assert client.ids(page=1)[0] == 100


# --- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [-1.0, 0.0, 0.5])
def test_reset(client: Client, share: float) -> None:
    client.faults.add(Reset(share), path="/logs", times=1)
    broken = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
    with pytest.raises(broken, match=r"(?i)reset by peer"):
        client.logs()
    assert client.logs().status_code == 200


def test_declared_cut_is_noticed_and_undeclared_is_not(client: Client) -> None:
    whole = client.logs().content
    client.faults.add(Cut(0.5), nth=[1])
    client.faults.add(Cut(0.5, declared=False), nth=[2])
    client.faults.add(Cut(bytes=3, declared=False), nth=[3])
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        client.logs()
    cut = client.logs()
    assert cut.status_code == 200
    assert "Content-Length" not in cut.headers
    assert cut.content == whole[: len(whole) // 2]
    assert client.logs().content == whole[:3]


@pytest.mark.parametrize("head", [False, True])
def test_drip_defeats_a_plain_timeout(client: Client, head: bool) -> None:
    client.faults.add(Shape({"count": 0}))
    client.faults.add(Drip(size=40 if head else 2, pause=0.1, head=head))
    begun = time.monotonic()
    assert client.logs(timeout=0.25).json() == {"count": 0}
    assert time.monotonic() - begun > 0.25


@pytest.mark.parametrize("head_first", [False, True])
def test_hang(client: Client, head_first: bool) -> None:
    client.faults.add(Hang(head_first), times=1)
    with pytest.raises((requests.ReadTimeout, requests.ConnectionError), match="timed out"):
        client.logs(timeout=0.2)
    assert client.logs().status_code == 200


def test_latency(client: Client) -> None:
    client.faults.add(Latency(0.15))
    begun = time.monotonic()
    assert client.logs().status_code == 200
    assert 0.15 <= time.monotonic() - begun < 1


def test_server_stops_quickly_and_quietly_whatever_hangs(capfd: pytest.CaptureFixture[str]) -> None:
    with client_of() as client:
        client.faults.add(Hang(), nth=[1])
        client.faults.add(Reset(), nth=[2])
        for _ in range(2):
            with pytest.raises(requests.RequestException):
                client.logs(timeout=0.1)
        begun = time.monotonic()
    assert time.monotonic() - begun < 1
    assert capfd.readouterr() == ("", "")
    with pytest.raises(requests.ConnectionError):
        client.logs(timeout=1)


def test_client_resets_and_nonsense_do_not_hurt(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    for nonsense in (b"", b"GET", b"\x16\x03\x01 TLS?\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", client.server.port)) as wild:
            wild.sendall(nonsense)
            wild.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert client.logs().status_code == 200
    assert capfd.readouterr().err == ""
