"""`archiver bi` and `migrate --writer`: addresses, bundles and dashboards, on a real Postgres."""

from __future__ import annotations

import io
import json
import re
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml
from psycopg import sql

from archiver import cli
from archiver.bi import board
from archiver.store import connect, migrate


class Said:
    def __init__(self, status: int, out: bytes, err: str) -> None:
        self.status, self.body, self.err = status, out, err

    @property
    def out(self) -> str:
        return self.body.decode()


class Archiver:
    """Runs command lines in this process."""

    def __init__(self, capture: pytest.CaptureFixture[bytes]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str) -> Said:
        self._capture.readouterr()
        status = cli.main(arguments)
        out, err = self._capture.readouterr()
        return Said(status, out, err.decode())


@pytest.fixture
def archiver(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Archiver:
    """Commands on an archive with the newest schema and nothing in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("ARCHIVER_CONFIG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ARCHIVER_DATABASE_URL", database)
    engine = connect(database)
    migrate(engine)
    engine.dispose()
    return Archiver(capsysbinary)


@pytest.fixture
def role(database: str) -> Iterator[str]:
    """A name of its own, and another that begins like it; both go with the test."""
    name = f"bi_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(database, autocommit=True) as connection:
        names = connection.execute("SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", (name,)).fetchall()
        for (one,) in names:
            for statement in ("GRANT {} TO CURRENT_USER", "DROP OWNED BY {}", "DROP ROLE {}"):
                connection.execute(sql.SQL(statement).format(sql.Identifier(one)))


def test_the_password_is_shown_once(archiver: Archiver, role: str) -> None:
    first = archiver("bi", "grant", role)
    assert first.status == 0
    with psycopg.connect(first.out.strip()) as connection:
        assert connection.execute("SELECT current_user, count(*) FROM flow").fetchone() == (role, 0)
    again = archiver("bi", "grant", role)
    assert again.status == 0
    assert "keeps its password" in again.err
    address = urlsplit(again.out.strip())
    assert (address.username, address.password) == (role, None)
    assert archiver("bi", "revoke", role).status == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first.out.strip())


def test_a_password_from_a_file_is_never_shown(archiver: Archiver, role: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret canary/@:\nsecond line\n")
    said = archiver("bi", "grant", role, "--password-file", str(file))
    assert said.status == 0
    assert "canary" not in said.out + said.err
    address = said.out.strip().replace("@", ":s3cret%20canary%2F%40%3A@", 1)
    with psycopg.connect(address) as connection:
        connection.execute("SELECT FROM run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("grant", "public"), "keeps for itself"),
        (("grant", ""), "no name of a role"),
        (("grant", "x", "--timeout", "60"), "needs a unit"),
        (("grant", "x", "--timeout", "30d"), "at most 24d"),
        (("grant", "x", "--password-file", "nowhere"), "cannot be read"),
        (("grant", "x", "--password-file", "/dev/null"), "holds no password"),
        (("grant", "x", "--connections", "0"), "connections"),
        (("revoke", "nobody_of_that_name"), "no role"),
        (("superset", "--to", "x.zip"), "archiver bi grant"),
        (("superset", "--role", "nobody", "--to", "x.zip"), "no reader"),
    ],
)
def test_mistakes_are_explained(archiver: Archiver, arguments: tuple[str, ...], words: str) -> None:
    said = archiver("bi", *arguments)
    assert (said.status, said.out) == (2, "")
    assert words in said.err
    assert not Path("x.zip").exists()


def test_a_writer_is_made_by_migrate(archiver: Archiver, role: str) -> None:
    said = archiver("migrate", "--writer", role)
    assert said.status == 0
    with psycopg.connect(said.out.strip()) as connection:
        connection.execute(
            "INSERT INTO archive.flow (integrator, project_id, flow_id, flow_name) VALUES ('i', 'p', 'f', 'n')"
        )
    assert archiver("bi", "grant", role).status == 2
    assert archiver("migrate", "--sql", "--writer", role).status == 2
    assert archiver("migrate", "--password-file", "x").status == 2


def documents(bundle: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name.split("/", 1)[1]: yaml.safe_load(archive.read(name)) for name in archive.namelist()}


COLUMNS = ("message", "status", "log_id", "is_failed", "created_at", "fields")  # fields that are called as columns are


@pytest.mark.parametrize("fields", [(), COLUMNS], ids=["sku", "called as columns"])
def test_the_bundle_is_whole_and_holds_no_password(
    archiver: Archiver, role: str, database: str, fields: tuple[str, ...]
) -> None:
    searched_by(fields)
    password = urlsplit(archiver("bi", "grant", role).out.strip()).password
    assert archiver("bi", "superset", "--to", "bundle.zip").status == 0
    bundle = Path("bundle.zip").read_bytes()
    assert archiver("bi", "superset", "--role", role).status == 0
    files = documents(bundle)
    text = json.dumps(files, default=str)
    assert password is not None
    assert password not in text
    assert f":{urlsplit(database).password}@" not in text
    uri = files["databases/akinon_archive.yaml"]["sqlalchemy_uri"]
    assert uri.startswith(f"postgresql+psycopg2://{role}:XXXXXXXXXX@")
    datasets = {one["uuid"]: one for name, one in files.items() if name.startswith("datasets/")}
    for dataset in datasets.values():
        names = [column["column_name"] for column in dataset["columns"]]
        assert len(names) == len(set(names))
    charts = {one["uuid"]: one for name, one in files.items() if name.startswith("charts/")}
    shown = [
        one["meta"]["uuid"]
        for key, one in files["dashboards/akinon_archive.yaml"]["position"].items()
        if "CHART-" in key
    ]
    assert sorted(shown) == sorted(charts)
    for chart in charts.values():
        dataset = datasets[chart["dataset_uuid"]]
        columns = {column["column_name"] for column in dataset["columns"]}
        metrics = {metric["metric_name"] for metric in dataset["metrics"]}
        form = chart["params"]
        assert len(form.get("all_columns", [])) == len(set(form.get("all_columns", [])))
        used = {*form.get("all_columns", []), *form.get("groupby", []), *([form["x_axis"]] if "x_axis" in form else [])}
        assert used <= columns, chart["slice_name"]
        assert {*form.get("metrics", []), *([form["metric"]] if "metric" in form else [])} <= metrics
    for one in files["dashboards/akinon_archive.yaml"]["metadata"]["native_filter_configuration"]:
        for target in one["targets"]:
            if target:
                assert target["column"]["name"] in {
                    column["column_name"] for column in datasets[target["datasetUuid"]]["columns"]
                }


def test_several_readers_have_to_be_chosen_from(archiver: Archiver, role: str) -> None:
    for name in (role, f"{role}_2"):
        assert archiver("bi", "grant", name).status == 0
    said = archiver("bi", "superset", "--to", "bundle.zip")
    assert said.status == 2
    assert f"--role ({role}, {role}_2)" in said.err
    assert archiver("bi", "superset", "--role", f"{role}_2", "--to", "bundle.zip").status == 0
    assert archiver("bi", "superset", "--role", role, "--to", "nowhere/bundle.zip").status == 2


FIELDS = ("sku", 'Ürün "kod"', *COLUMNS)


def test_every_measure_and_dataset_can_be_asked_for(archiver: Archiver, role: str) -> None:
    reader = archiver("bi", "grant", role).out.strip()
    with psycopg.connect(reader) as connection:
        for view, measures in board.MEASURES.items():
            source = f"({board.history_sql(FIELDS)}) h" if view == board.HISTORY else f"reporting.{view}"
            for measure in measures:
                connection.execute(f"SELECT {measure.sql} FROM {source}".encode())


@pytest.mark.parametrize("fields", [("sku",), COLUMNS], ids=["sku", "called as columns"])
def test_every_query_of_the_grafana_dashboard_runs_as_the_reader(
    archiver: Archiver, role: str, database: str, fields: tuple[str, ...]
) -> None:
    searched_by(fields)
    reader = archiver("bi", "grant", role).out.strip()
    document = json.loads(archiver("bi", "grafana").out)
    assert f":{urlsplit(database).password}@" not in json.dumps(document)
    assert [one["name"] for one in document["templating"]["list"]] == [
        "flow",
        *(f"field_{number}" for number in range(len(fields))),
    ]
    panels = document["panels"]
    assert len(panels) == len(board.panels())
    assert all(one["gridPos"]["x"] + one["gridPos"]["w"] <= 24 for one in panels)
    with psycopg.connect(reader) as connection:
        for panel in panels:
            (target,) = panel["targets"]
            connection.execute(as_grafana_would(target["rawSql"]).encode())


def test_a_dashboard_to_be_provisioned_names_its_data_source_and_asks_for_nothing(archiver: Archiver) -> None:
    imported, provisioned = (archiver("bi", "grafana", *more).out for more in ((), ("--source", "archive")))
    assert "__inputs" in json.loads(imported)
    assert "__inputs" not in json.loads(provisioned)
    assert imported.count("${DS_ARCHIVE}") == provisioned.count('"uid": "archive"') > 10
    assert "DS_ARCHIVE" not in provisioned


def searched_by(fields: tuple[str, ...]) -> None:
    """A configuration whose flow names these."""
    flow = {"id": "f", "name": "price", "search_fields": list(fields)}
    project = {"id": "p", "slug": "brand", "flows": [flow]}
    integrator = {"environment": "prod", "token": "t"}
    document = {"integrators": {"prod": integrator}, "projects": [project]}
    Path("config.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


def as_grafana_would(query: str) -> str:
    """The query with Grafana's macros and variables put in."""
    times = {"$__timeFrom()": "'2026-01-01T00:00:00Z'", "$__timeTo()": "'2026-02-01T00:00:00Z'"}
    for macro, value in times.items():
        query = query.replace(macro, value)
    query = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN '2026-01-01T00:00:00Z' AND '2026-02-01T00:00:00Z'", query)
    query = query.replace("${flow:sqlstring}", "'price','it''s'")
    query = re.sub(r"\$\{field_\d:sqlstring\}", "'A''1'", query)
    assert "$" not in query
    return query
