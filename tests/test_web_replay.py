"""The replayed Logs API, beyond the vendor's page: exact rows, exact counts, deep pages, files, and the archive that
comes of archiving it."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from archiver.demo.flows import BRAND
from archiver.logs import load_exact
from archiver.queries.replay import lines, searching
from archiver.store import Policy, Retention, connect, migrate
from tests.conftest import new_database
from tests.replay import TOKEN, replaying
from tests.system.story import Story, small_flows, told

NOW = datetime.now(UTC).replace(minute=30)


@dataclass
class Archived:
    """A world, the archive of it, and the replay of that."""

    story: Story
    url: str

    def page(self, log_type: int, flow: int = 0, **more: Any) -> requests.Response:
        params = {
            "projectid": BRAND.project_id,
            "flowId": self.story.flows[flow].flow_id,
            "log_type": str(log_type),
            **{name: str(value) for name, value in more.items()},
        }
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return requests.get(f"{self.url}/logs", params=params, headers=headers, timeout=20)

    def rows(self, log_type: int, flow: int = 0, **more: Any) -> list[dict[str, Any]]:
        """All pages, page by page, as long as there are any."""
        rows: list[dict[str, Any]] = []
        for number in range(1, 10_000):
            answer = self.page(log_type, flow, page=number, **more)
            if answer.status_code == 404:
                return rows
            assert answer.status_code == 200, answer.text
            rows += answer.json()["results"]
            assert bool(answer.json()["next"]) == (len(rows) < answer.json()["count"])
        raise AssertionError("it never ends")


@pytest.fixture(scope="module")
def archived(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    folder = tmp_path_factory.mktemp("replay")
    flows = [replace(one, runs=60, lines=20, spread=0.9) for one in small_flows("price", "stock")]
    with new_database(postgres) as database, told(folder, database, now=NOW, flows=flows) as story:
        done = story.run("sync")
        assert done.returncode == 0, done.stderr
        with replaying(database) as url:
            yield Archived(story, url)


# --- lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_main_logs_page_by_page_are_all_of_them_newest_first(archived: Archived, limit: int) -> None:
    truth = archived.story.world.main_logs(archived.story.flows[0].flow_id)
    rows = archived.rows(1, limit=limit)
    assert rows == sorted(truth, key=lambda row: (int(row["created"]), row["id"]), reverse=True)
    assert archived.page(1, limit=limit).json()["count"] == len(truth)


@pytest.mark.parametrize("limit", [13, 100])
@pytest.mark.parametrize("short", [3000, 5], ids=["sorted", "by places"])
def test_line_logs_of_a_flow_are_all_of_them(
    archived: Archived, limit: int, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "SHORT", short)
    world, flow = archived.story.world, archived.story.flows[0]
    runs = sorted(world.main_logs(flow.flow_id), key=lambda row: int(row["created"]), reverse=True)
    truth = []
    for run in runs:
        of_run = world.line_logs(flow.flow_id, run["filename_uuid"]) if run["state"] == 3 else []
        truth += sorted(of_run, key=lambda row: (datetime.fromisoformat(row["created"]), row["id"]), reverse=True)
    assert archived.rows(3, limit=limit) == truth
    assert archived.page(3).json()["count"] == len(truth) > 500


def test_pages_may_be_asked_for_in_any_order(archived: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "SHORT", 5)
    whole = archived.rows(3, limit=100)
    for page in (30, 3, 31, 1, len(whole) // 10 + 1, 12):
        assert archived.page(3, limit=10, page=page).json()["results"] == whole[page * 10 - 10 : page * 10]


def test_places_within_a_long_run(archived: Archived, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of thousands of lines, many of them of one moment."""
    long_run(database, 4000)
    monkeypatch.setattr(lines, "SHORT", 100)
    with replaying(database) as url, psycopg.connect(database) as connection:
        truth = [
            row[0]
            for row in connection.execute(
                "SELECT log_id FROM archive.line ORDER BY created DESC, log_id DESC"
            ).fetchall()
        ]
        one = replace(archived, url=url)
        for page in (1, 2, 40, 17, 5, 6, 39, 25):
            runs: list[dict[str, Any]] = [{}, {"original_filename_uuid": "long"}]
            for run in runs:
                answer = one.page(3, projectid="p", flowId="f", limit=100, page=page, **run).json()
                assert answer["count"] == 4000
                assert [row["id"] for row in answer["results"]] == truth[page * 100 - 100 : page * 100], (page, run)
        assert one.page(3, projectid="p", flowId="f", limit=100, page=41).status_code == 404


def test_a_page_about_where_a_smallint_ends(archived: Archived, database: str) -> None:
    """Behind 32,700 rows: psycopg sends that and the 100 of the page as smallints, whose sum is none."""
    long_run(database, 33_000)
    with replaying(database) as url, psycopg.connect(database) as connection:
        found = connection.execute("SELECT log_id FROM archive.line ORDER BY created DESC, log_id DESC").fetchall()
        one = replace(archived, url=url)
        runs: list[dict[str, Any]] = [{}, {"original_filename_uuid": "long"}]
        for page in (327, 328, 330):
            for run in runs:
                answer = one.page(3, projectid="p", flowId="f", limit=100, page=page, **run)
                assert answer.status_code == 200, (page, run, answer.text)
                rows = [(row["id"],) for row in answer.json()["results"]]
                assert rows == found[page * 100 - 100 : page * 100], (page, run)
            for log_type in (1, 2):
                assert one.page(log_type, projectid="p", flowId="f", limit=100, page=page).status_code == 404


@pytest.mark.parametrize("odd", ["log_id % 10 = 3", "true"], ids=["some", "all"])
def test_lines_that_are_older_than_their_run_are_where_they_belong(archived: Archived, database: str, odd: str) -> None:
    """Lines are looked for around their run first."""
    long_run(database, 120)
    with psycopg.connect(database) as connection:
        connection.execute(f"UPDATE archive.line SET created = created - interval '10 years' WHERE {odd}".encode())
        truth = connection.execute("SELECT log_id FROM archive.line ORDER BY created DESC, log_id DESC").fetchall()
    runs: list[dict[str, Any]] = [{}, {"original_filename_uuid": "long"}]
    with replaying(database) as url:
        for run in runs:
            have = replace(archived, url=url).rows(3, projectid="p", flowId="f", limit=50, **run)
            assert [row["id"] for row in have] == [log_id for (log_id,) in truth], run


def long_run(database: str, size: int) -> None:
    engine = connect(database)
    migrate(engine)
    engine.dispose()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)"
            " VALUES ('prod', 'p', 'brand', 'f', 'price')"
        )
        connection.execute("INSERT INTO archive.checkpoint (flow_key) VALUES (1)")
        connection.execute(
            "INSERT INTO archive.run (flow_key, log_id, created, filename_uuid, state, form, src_hash, archive_state,"
            " seen_at, line_count) VALUES (1, 1, '2026-01-01 00:00Z', 'long', 3, 0, 0, 'sealed', now(), %s)",
            (size,),
        )
        connection.execute(
            "INSERT INTO archive.flow_day (flow_key, day, runs, succeeded, failed, empty, lines, failed_lines)"
            " VALUES (1, '2026-01-01', 1, 1, 0, 0, %s, 0)",
            (size,),
        )
        connection.execute(
            "INSERT INTO archive.line (flow_key, log_id, created, original_filename_uuid, form, src_hash, fields)"
            " SELECT 1, i, timestamptz '2026-01-01 00:00Z' + least(i, 1000) * interval '1 s', 'long', 0, 0,"
            " jsonb_build_object('sku', 'S' || i %% 10) FROM generate_series(1, %s) i",
            (size,),
        )


def test_sub_logs_of_a_flow(archived: Archived) -> None:
    truth = [
        step for run in archived.story.world.main_logs(archived.story.flows[0].flow_id) for step in run["sub_flows"]
    ]
    rows = archived.rows(2, limit=50)
    assert [row["id"] for row in rows] == sorted((row["id"] for row in truth), reverse=True)
    assert archived.page(2, limit=50, page=3).json()["results"] == rows[100:150]
    one = truth[7]
    assert archived.rows(2, filename_uuid=one["filename_uuid"]) == [one]


def test_a_flow_of_two_integrators_has_to_be_told_apart(archived: Archived, database: str) -> None:
    long_run(database, 10)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)"
            " VALUES ('dev', 'p', 'brand', 'f', 'price')"
        )
    with replaying(database) as url:
        one = replace(archived, url=url)
        refused = one.page(3, projectid="p", flowId="f")
        assert (refused.status_code, "dev, prod" in refused.json()["message"]) == (400, True)
        assert one.page(3, projectid="p", flowId="f", integrator="prod").json()["count"] == 10
        assert one.page(3, projectid="p", flowId="f", integrator="dev").status_code == 404


# --- what is kept, and what has gone --------------------------------------------------------------------------------


def test_counts_are_exact_after_a_prune(tmp_path: Path, postgres: str) -> None:
    night = NOW.replace(hour=2) - timedelta(days=1)  # some of the runs began on the day before
    flows = [replace(one, runs=80, lines=10) for one in small_flows("price")]
    with new_database(postgres) as database, told(tmp_path, database, now=night, flows=flows) as story:
        assert story.run("sync").returncode == 0
        engine = connect(database)
        with replaying(engine) as url:
            one = Archived(story, url)
            all_runs, all_lines = one.rows(1, limit=50), one.rows(3, limit=50)
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("UPDATE archive.run SET visit_at = NULL")  # a day later
                # One old run is not done with, so that it stays, with its lines.
                connection.execute(
                    "UPDATE archive.run SET archive_state = 'stuck' WHERE line_count > 0 AND log_id = (SELECT log_id"
                    " FROM archive.run WHERE line_count > 0 ORDER BY created LIMIT 1)"
                )
            for runs in (None, night):
                Retention(engine).prune([Policy(1, lines=night, details=night, runs=runs)])
                left_runs, left_lines = one.rows(1, limit=7), one.rows(3, limit=7)
                have = story.query("SELECT (SELECT count(*) FROM archive.run), (SELECT count(*) FROM archive.line)")
                assert have == [(len(left_runs), len(left_lines))]
                assert left_runs == [run for run in all_runs if run in left_runs]
                assert left_lines == [line for line in all_lines if line in left_lines]
                assert one.page(1).json()["count"] == len(left_runs)
                assert one.page(3).json()["count"] == len(left_lines)
            assert 0 < len(left_runs) < len(all_runs)
            assert 0 < len(left_lines) < len(all_lines)
        engine.dispose()


# --- searching ------------------------------------------------------------------------------------------------------


def sought(field: str, value: str) -> dict[str, Any]:
    return {"search_field.1": field, "search_value.1": value}


def matching(rows: list[dict[str, Any]], **fields: Any) -> list[int]:
    return [row["id"] for row in rows if all(row.get(name) == value for name, value in fields.items())]


@pytest.mark.parametrize(
    ("largest", "few"), [(500, 10_000), (2, 10_000), (2, 3)], ids=["few hits", "some hits", "many hits"]
)
def test_any_number_of_fields_of_any_type(
    archived: Archived, largest: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "WHOLE", largest)
    monkeypatch.setattr(searching, "FEW", few)
    whole = sorted(
        archived.rows(3, flow=1, limit=100),
        key=lambda row: (datetime.fromisoformat(row["created"]), row["id"]),
        reverse=True,
    )
    some = next(row for row in whole if row["status"] == 2)
    asks: list[dict[str, Any]] = [
        {"sku": some["sku"]},
        {"status": 3},
        {"id": some["id"]},
        {"created": some["created"]},
        {"triggered_by": some["triggered_by"]},
        {"is_triggered": some["is_triggered"]},
        {"log_type": 3, "sku": some["sku"], "status": some["status"]},
    ]
    asks += [{name: value} for name, value in some.items() if name != "message" and isinstance(value, str | bool | int)]
    for ask in asks:
        pairs: dict[str, object] = {}
        for number, (name, value) in enumerate(ask.items(), 1):
            pairs[f"search_field.{number}"] = name
            pairs[f"search_value.{number}"] = value if isinstance(value, str) else json.dumps(value)
        assert [row["id"] for row in archived.rows(3, flow=1, limit=9, **pairs)] == matching(whole, **ask), ask
    run = some["original_filename_uuid"]
    within = archived.rows(3, flow=1, original_filename_uuid=run, **{"search_field.1": "status", "search_value.1": 2})
    assert [row["id"] for row in within] == matching(whole, status=2, original_filename_uuid=run)
    own = archived.rows(3, flow=1, filename_uuid=some["filename_uuid"], original_filename_uuid=run)
    assert [row["id"] for row in own] == [some["id"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"search_field.1": "sku"},
        {"search_value.1": "x"},
        {"search_field.0": "sku", "search_value.0": "x"},
        {"search_field": "sku", "search_value": "x"},
        {"search_field.1": "", "search_value.1": "x"},
        {"search_field.1": "sku", "search_value.1": "a\0b"},
        {"filename_uuid": "a\0b"},
        {"page": "10000000000"},
        {"page": "²"},
        {"limit": "1e1"},
        {f"search_field.{number}": "sku" for number in range(1, 30)} | {f"search_value.{n}": "x" for n in range(1, 30)},
    ],
)
def test_what_is_no_question_is_400(archived: Archived, wrong: dict[str, Any]) -> None:
    answer = archived.page(3, **wrong)
    assert (answer.status_code, answer.json()["status"]) == (400, 400)


@pytest.mark.parametrize(
    "value", ["1e99", "9" * 400, "-0", "1.5", "[1]", '{"a":1}', "NaN", '"', "\\", "%", "\ud7ff", "'"]
)
@pytest.mark.parametrize("field", ["sku", "id", "created", "status", "in_bound", "'; DROP TABLE x; --", '"}'])
def test_hostile_searches_find_nothing(archived: Archived, field: str, value: str) -> None:
    assert archived.page(3, **sought(field, value)).status_code == 404


def test_a_question_that_takes_too_long_is_not_answered_for_ever(
    archived: Archived, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archiver.web import room

    monkeypatch.setattr(room, "STATEMENT", 0.001)
    monkeypatch.setattr(searching, "_WHOLE", "SELECT 1, 2, 3 FROM pg_sleep(5) -- {found} {few}")
    answer = archived.page(3, **sought("sku", "x"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


# --- exactly what came ----------------------------------------------------------------------------------------------


def test_rows_come_back_to_the_last_digit(archived: Archived, database: str) -> None:
    from archiver.config import Flow
    from archiver.logs import parse_line, parse_run
    from archiver.store import Store

    line = load_exact(
        '{"id": 7, "created": "2026-01-01 10:00:00,123456789+0300", "original_filename_uuid": "r", "log_type": 3,'
        ' "sku": "S\\u0000", "half": "\\ud800", "long": 123456789012345678901234567890, "status": 3, "tiny": 1e-400,'
        ' "digits": 1.10000000000000000001, "deep": {"a": [1, 2.50, null]}, "is_send_S3": "yes", "text": "<b>\\u202e"}'
    )
    run = {
        "id": 3,
        "created": "1767225600123",
        "filename_uuid": "r",
        "state": 3,
        "sub_flows": [],
        "price": Decimal("0.10000000000000000001"),
    }
    engine = connect(database)
    migrate(engine)
    store = Store(engine, "test")
    flow = Flow("prod", "p", "brand", "f", "price")
    key = store.register([flow])[flow]
    lease = store.leases.claim(key)
    assert lease is not None
    with store.writing(lease) as writer:
        writer.put_runs([parse_run(run)])
        writer.put_lines([parse_line(line)], (3, "r", "2026-01-01T00:00:00.123+00:00"))
    store.close()
    with replaying(database) as url:
        one = replace(archived, url=url)
        (back,) = load_exact(one.page(3, projectid="p", flowId="f").text)["results"]
        assert back == line
        assert json.dumps(back, default=str, sort_keys=True) == json.dumps(line, default=str, sort_keys=True)
        (main,) = load_exact(one.page(1, projectid="p", flowId="f").text)["results"]
        assert main == run
        answer = one.page(3, projectid="p", flowId="f", original_filename_uuid="r")
        assert answer.json()["count"] == 1


def vendors_example(base: str, token: str, log_id: int, project: str, flow: str, slug: str) -> Any:
    """What the vendor's page shows to do, in its own steps; only the host is another one."""
    params: dict[str, Any] = {"id": log_id, "projectId": project, "flowId": flow, "projectslug": slug}
    headers = {"Authorization": f"Bearer {token}"}
    response = requests.request("GET", f"{base}/logs/download", headers=headers, params=params, timeout=5)
    file = zipfile.ZipFile(io.BytesIO(base64.b64decode(response.text)), "r")
    return json.loads(file.read(file.filelist[0].filename))


def test_the_vendors_example_works_with_another_host(archived: Archived) -> None:
    story = archived.story
    flow = story.flows[0].flow_id
    stored = [
        row[0] for row in story.query("SELECT log_id FROM archive.detail WHERE flow_key = 1 AND outcome = 'stored'")
    ]
    assert len(stored) > 3
    for log_id in stored:
        log = vendors_example(archived.url, TOKEN, log_id, BRAND.project_id, flow, BRAND.slug)
        truth = base64.b64decode(story.world.download(log_id))
        (name,) = zipfile.ZipFile(io.BytesIO(truth)).namelist()
        assert log == json.loads(zipfile.ZipFile(io.BytesIO(truth)).read(name))


def test_files_of_any_size_come_as_they_were_stored(archived: Archived, database: str) -> None:
    long_run(database, 1)
    zipped, answer = bytes(range(256)) * 9000 + b"x", "<script>ö".encode() * 200_000
    with psycopg.connect(database, autocommit=True) as connection:
        for log_id, body, form in ((1, zipped, "zip"), (2, answer, "response"), (3, b"", "response")):
            connection.execute(
                "INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome, body,"
                " body_form, sha256) VALUES (1, 3, %s, 1, now(), 'stored', %s, %s, %s)",
                (log_id, body, form, sha256(body).hexdigest()),
            )
    with replaying(database) as url:

        def get(log_id: object, slug: str = "brand") -> requests.Response:
            params = {"id": str(log_id), "flowId": "f", "projectid": "p", "projectslug": slug}
            headers = {"Authorization": f"Bearer {TOKEN}"}
            return requests.get(f"{url}/logs/download", params=params, headers=headers, timeout=20)

        assert base64.b64decode(get(1).content, validate=True) == zipped
        assert get(2).content == answer
        assert get(2).headers["Content-Type"] == "text/plain; charset=utf-8"
        assert (get(3).status_code, get(3).content) == (200, b"")
        assert get(1, slug="another").status_code == 404
        assert [get(one).status_code for one in (4, -1, 2**63 - 1, 2**63, "x", "1.0", "")] == [
            404,
            404,
            404,
            *[400] * 4,
        ]


# --- the archive of the archive -------------------------------------------------------------------------------------

SAME = {
    "flow": "project_id, project_slug, flow_id, flow_name",
    "run": "f.flow_id, r.log_id, r.created, r.finished, r.extra, r.form, r.src_hash, r.line_count, r.triggered_by",
    "step": "f.flow_id, r.*",
    "line": "f.flow_id, r.*",
    "detail": "f.flow_id, r.log_type, r.log_id, r.outcome, r.body, r.body_form, r.sha256, r.document",
}


def contents(story: Story) -> dict[str, list[tuple[Any, ...]]]:
    """All that came from outside, without keys and times of the archive's own."""
    found = {}
    for table, columns in SAME.items():
        if table == "flow":
            found[table] = story.query(f"SELECT {columns} FROM archive.flow ORDER BY flow_id")
            continue
        rows = story.query(
            f"SELECT to_jsonb(x) - 'flow_key' - 'seen_at' FROM (SELECT {columns} FROM archive.{table} r"
            " JOIN archive.flow f USING (flow_key)) x"
        )
        found[table] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
    return found


def test_archiving_the_replay_gives_the_same_archive(archived: Archived, postgres: str, tmp_path: Path) -> None:
    with new_database(postgres) as database:
        again = Story(archived.story.world, archived.story.server, tmp_path, database, archived.story.flows)
        path = again.configure()
        config = json.loads(path.read_text())
        config["integrators"]["make-believe"] |= {
            "base_url": archived.url,
            "username": "any@body.example",
            "password": TOKEN,
        }
        path.write_text(json.dumps(config))
        done = again.run("sync")
        assert done.returncode == 0, done.stderr
        first, second = contents(archived.story), contents(again)
        for table in SAME:
            assert second[table] == first[table], table
        assert len(first["line"]) > 1000
        assert len(first["detail"]) > 5
        assert again.differences() == []


# --- the description ------------------------------------------------------------------------------------------------


def test_the_description_names_what_the_server_takes(archived: Archived) -> None:
    document = requests.get(f"{archived.url}/openapi.json", timeout=5).json()
    assert document["openapi"].startswith("3.1")
    names = {one["name"] for one in document["paths"]["/logs"]["get"]["parameters"]}
    assert names >= {"projectid", "flowId", "log_type", "limit", "page", "filename_uuid", "original_filename_uuid"}
    row = archived.page(1, limit=1).json()["results"][0]
    assert set(row) <= set(document["components"]["schemas"]["Log"]["properties"])


def test_schemathesis_finds_nothing(archived: Archived) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema = schemathesis.openapi.from_url(f"{archived.url}/openapi.json")
    flow = archived.story.flows[0].flow_id
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]

        @settings(
            max_examples=60,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def probe(case: Any) -> None:
            if ("search_field.1" in case.query) != ("search_value.1" in case.query):
                return  # they belong together, which no schema can say
            for real in (False, True):
                if real and case.query:  # a flow that is there, so that more than its absence is looked at
                    case.query |= {"flowId": flow, "projectid": BRAND.project_id, "projectslug": BRAND.slug}
                case.call_and_validate(
                    headers={"Authorization": f"Bearer {TOKEN}"},
                    timeout=20,
                    # A password that is no token is refused with 400, as the Integrator does it.
                    excluded_checks=[positive_data_acceptance] if case.path.endswith("login") else [],
                )

        probe()
