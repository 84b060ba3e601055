"""Retention on a real Postgres: only what is sealed and old goes, all of it, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from archiver import store as stores
from archiver.cli import main
from archiver.store import Policy, Retention, connect, migrate

NOW = datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
FLOWS = 3


@dataclass
class Made:
    """A run as the test made it; `lines` and `details` by log id."""

    flow_key: int
    log_id: int
    run_id: str
    created: datetime
    is_done: bool
    steps: int
    lines: dict[int, datetime] = field(default_factory=dict)
    details: dict[int, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def engine(postgres: str) -> Iterator[Engine]:
    """One database for all examples: each begins with empty tables."""
    import uuid
    from urllib.parse import urlsplit

    import psycopg

    name = f"retention_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
        engine = connect(urlsplit(postgres)._replace(path=f"/{name}").geturl())
        migrate(engine)
        yield engine
        engine.dispose()
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def empty(engine: Engine, frontier: datetime | None = NOW) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE archive.flow, archive.line RESTART IDENTITY CASCADE"))
        for number in range(1, FLOWS + 1):
            connection.execute(
                text(
                    "INSERT INTO archive.flow (integrator, project_id, project_slug, flow_id, flow_name)"
                    " VALUES ('here', 'p', 's', :id, :id)"
                ),
                {"id": f"f{number}"},
            )
        connection.execute(
            text(
                "INSERT INTO archive.checkpoint (flow_key, frontier, intervals) SELECT flow_key, :frontier,"
                " jsonb_build_array(jsonb_build_array('2020-01-01T00:00:00+00:00', '2026-06-15T13:30:00+00:00'))"
                " FROM archive.flow"
            ),
            {"frontier": frontier},
        )
        for month in range(1, 7):
            connection.execute(text("SELECT archive.make_partition(make_date(2026, :month, 1))"), {"month": month})


def put(engine: Engine, runs: list[Made]) -> None:
    with engine.begin() as connection:
        for run in runs:
            key = {"key": run.flow_key, "id": run.log_id}
            connection.execute(
                text(
                    "INSERT INTO archive.run (flow_key, log_id, created, filename_uuid, state, status, form, src_hash,"
                    " archive_state, visit_at, seen_at, line_count) VALUES (:key, :id, :created, :run_id, 3, 2, 0, 1,"
                    " :state, :visit, now(), :lines)"
                ),
                key
                | {
                    "created": run.created,
                    "run_id": run.run_id,
                    "state": "sealed" if run.is_done or run.log_id % 2 else random.choice(["open", "settling", "lost"]),
                    "visit": None if run.is_done else NOW,
                    "lines": len(run.lines),
                },
            )
            for step in range(run.steps):
                connection.execute(
                    text(
                        "INSERT INTO archive.step (flow_key, log_id, created, run_log_id, form, src_hash, seen_at)"
                        " VALUES (:key, :step, :created, :id, 0, 1, now())"
                    ),
                    key | {"step": run.log_id * 100 + step, "created": run.created},
                )
            for log_id, created in run.lines.items():
                connection.execute(
                    text(
                        "INSERT INTO archive.line (flow_key, log_id, created, original_filename_uuid, form, src_hash)"
                        " VALUES (:key, :line, :created, :run_id, 0, 1)"
                    ),
                    key | {"line": log_id, "created": created, "run_id": run.run_id},
                )
            for log_id, outcome in run.details.items():
                connection.execute(
                    text(
                        "INSERT INTO archive.detail (flow_key, log_type, log_id, run_log_id, run_created, outcome)"
                        " VALUES (:key, 3, :detail, :id, :created, :outcome)"
                    ),
                    key | {"detail": log_id, "created": run.created, "outcome": outcome},
                )


def there(engine: Engine) -> dict[str, set[tuple[int, int]]]:
    with engine.connect() as connection:
        return {
            table: {tuple(row) for row in connection.execute(text(f"SELECT flow_key, log_id FROM archive.{table}"))}
            for table in ("run", "step", "line", "detail")
        }


moments = st.integers(0, 165 * 24 * 6).map(lambda tens: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=10 * tens))


@st.composite
def archives(draw: st.DrawFn) -> list[Made]:
    made: list[Made] = []
    for number in range(1, draw(st.integers(0, 12)) + 1):
        created = draw(moments)
        run = Made(
            flow_key=draw(st.integers(1, FLOWS)),
            log_id=number,
            run_id=f"r{draw(st.integers(1, 9))}" if draw(st.booleans()) else f"own-{number}",
            created=created,
            is_done=draw(st.integers(0, 3)) > 0,
            steps=draw(st.integers(0, 2)),
        )
        for line in range(draw(st.integers(0, 4))):
            run.lines[number * 100 + line] = created + timedelta(hours=draw(st.integers(0, 100)))
        for detail in range(draw(st.integers(0, 2))):
            run.details[number * 100 + detail] = draw(st.sampled_from(["stored", "stored", "missing", "wanted"]))
        made.append(run)
    return made


keeping = st.none() | st.integers(1, 170).map(lambda days: timedelta(days=days))


@st.composite
def policies(draw: st.DrawFn) -> list[Policy]:
    found = []
    for key in range(1, FLOWS + 1):
        keep = draw(keeping)
        parts = []
        for part in (draw(keeping), draw(keeping)):
            parts.append(keep if part is None or (keep is not None and part > keep) else part)
        moments = [None if one is None else NOW - one for one in (keep, *parts)]
        found.append(Policy(key, *moments))
    return found


def expected(runs: list[Made], policies: list[Policy], frontier: datetime) -> dict[str, set[tuple[int, int]]]:
    """The rules, said again in Python: what has to be there after a prune."""
    by_key = {policy.flow_key: policy for policy in policies}

    def old(run: Made, moment: datetime | None) -> bool:
        if moment is None:
            return False
        cut = min(moment.replace(hour=0, minute=0, second=0, microsecond=0), frontier)
        return run.is_done and "wanted" not in run.details.values() and run.created < cut

    def alone(run: Made, moment: datetime | None) -> bool:
        twins = [one for one in runs if (one.flow_key, one.run_id) == (run.flow_key, run.run_id)]
        return all(old(one, moment) for one in twins)

    left: dict[str, set[tuple[int, int]]] = {"run": set(), "step": set(), "line": set(), "detail": set()}
    for run in runs:
        policy = by_key[run.flow_key]
        if not alone(run, policy.lines):
            left["line"] |= {(run.flow_key, one) for one in run.lines}
        if not old(run, policy.details):
            left["detail"] |= {(run.flow_key, one) for one in run.details}
        if not alone(run, policy.runs):
            left["run"].add((run.flow_key, run.log_id))
            left["step"] |= {(run.flow_key, run.log_id * 100 + step) for step in range(run.steps)}
    return left


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=archives(), kept=policies(), behind=st.integers(0, 100))
def test_what_is_sealed_and_old_goes_and_nothing_else(
    engine: Engine, runs: list[Made], kept: list[Policy], behind: int
) -> None:
    frontier = NOW - timedelta(days=behind)
    empty(engine, frontier)
    put(engine, runs)
    before = there(engine)
    room = Retention(engine)
    plan = room.plan(kept)
    assert there(engine) == before
    done = room.prune(kept)
    after = there(engine)
    assert after == expected(runs, kept, frontier)
    for view, name in (("run", "runs"), ("step", "steps"), ("line", "lines"), ("detail", "details")):
        assert sum(getattr(one, name) for one in done.flows) == len(before[view]) - len(after[view])
    assert (plan.flows, plan.partitions) == (done.flows, done.partitions)
    # Nothing unsealed went, and nothing is left without its run.
    open_runs = [run for run in runs if not run.is_done or "wanted" in run.details.values()]
    assert {(run.flow_key, run.log_id) for run in open_runs} <= after["run"]
    assert {(run.flow_key, one) for run in open_runs for one in run.lines} <= after["line"]
    with engine.connect() as connection:
        orphans = connection.execute(
            text(
                "SELECT l.log_id FROM archive.line l WHERE NOT EXISTS (SELECT FROM archive.run r"
                " WHERE r.flow_key = l.flow_key AND r.filename_uuid = l.original_filename_uuid)"
                " UNION ALL SELECT d.log_id FROM archive.detail d WHERE NOT EXISTS (SELECT FROM archive.run r"
                " WHERE r.flow_key = d.flow_key AND r.log_id = d.run_log_id)"
            )
        ).all()
        assert orphans == []
        # What is covered begins where runs are kept from.
        for policy in kept:
            (start, end), kept_from = connection.execute(
                text("SELECT intervals -> -1, kept_from FROM archive.checkpoint WHERE flow_key = :key"),
                {"key": policy.flow_key},
            ).one()
            assert (kept_from is None) == (policy.runs is None)
            assert policy.runs is None or datetime.fromisoformat(start) >= kept_from
            assert datetime.fromisoformat(end) == NOW
    again = room.prune(kept)
    assert all((one.runs, one.steps, one.lines, one.details) == (0, 0, 0, 0) for one in again.flows)
    assert there(engine) == after


def simple(engine: Engine) -> None:
    empty(engine)
    put(
        engine,
        [
            Made(1, 1, "a", datetime(2026, 1, 5, tzinfo=UTC), True, 1, {100: datetime(2026, 1, 5, tzinfo=UTC)}),
            Made(1, 2, "b", datetime(2026, 5, 5, tzinfo=UTC), True, 1, {200: datetime(2026, 5, 5, tzinfo=UTC)}),
        ],
    )


def partitions(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(
            connection.scalars(
                text("SELECT relname FROM pg_class WHERE relname ~ '^line_[0-9]{6}$' AND relispartition")
            ).all()
        )


def test_whole_months_go_as_a_whole(engine: Engine) -> None:
    simple(engine)
    done = Retention(engine).prune([Policy(1, lines=NOW - timedelta(days=60))])
    assert set(done.partitions) == {"line_202601", "line_202602", "line_202603"}
    assert not partitions(engine) & set(done.partitions)
    assert done.flows[0].lines == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT log_id, line_count FROM archive.run ORDER BY 1")).all() == [
            (1, 1),
            (2, 1),
        ]


def test_a_month_in_which_another_flow_has_lines_loses_rows_only(engine: Engine) -> None:
    simple(engine)
    put(engine, [Made(2, 3, "c", datetime(2026, 1, 6, tzinfo=UTC), True, 0, {300: datetime(2026, 1, 6, tzinfo=UTC)})])
    done = Retention(engine).prune([Policy(1, lines=NOW - timedelta(days=60))])
    assert "line_202601" not in done.partitions
    assert there(engine)["line"] == {(1, 200), (2, 300)}


def test_a_partition_that_is_read_is_left_for_the_next_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    simple(engine)
    monkeypatch.setattr(stores.retention, "PATIENCE", "100ms")
    policy = Policy(1, lines=NOW - timedelta(days=60))
    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM archive.line"))
        done = Retention(engine).prune([policy])
    assert "line_202601" in done.busy
    assert there(engine)["line"] == {(1, 200)}  # its rows went one by one
    assert Retention(engine).prune([policy]).busy == []
    assert "line_202601" not in partitions(engine)


def test_a_prune_that_was_killed_goes_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    empty(engine)
    created = datetime(2026, 1, 5, tzinfo=UTC)
    lines = dict.fromkeys(range(100, 160), created)
    put(engine, [Made(1, 1, "a", created, True, 1, lines, {1: "stored", 2: "stored"})])
    put(engine, [Made(2, 2, "b", created, False, 0, {200: created})])  # keeps the month
    monkeypatch.setattr(stores.retention, "ROWS", 25)
    policy = Policy(1, *(NOW - timedelta(days=60) for _ in range(3)))

    class Killed(Exception):
        pass

    def kill(_: object) -> None:
        raise Killed

    killed = 0
    while True:
        try:
            Retention(engine, progress=kill).prune([policy])
        except Killed:
            killed += 1
            continue
        break
    assert killed == 5  # three times lines, details, the run
    assert there(engine) == {"run": {(2, 2)}, "step": set(), "line": {(2, 200)}, "detail": set()}


def test_without_a_policy_nothing_goes(engine: Engine) -> None:
    simple(engine)
    before = there(engine)
    Retention(engine).prune([Policy(1), Policy(2)])
    assert there(engine) == before
    empty(engine, None)
    put(engine, [Made(1, 1, "a", datetime(2026, 1, 5, tzinfo=UTC), True, 1)])
    Retention(engine).prune([Policy(1, NOW, NOW, NOW)])  # nothing is certified yet
    assert there(engine)["run"] == {(1, 1)}


# --- the command ---


def configured(engine: Engine, tmp_path: Path, flows: Sequence[str] = ("f1", "f9"), **defaults: Any) -> Path:
    path = tmp_path / "config.yaml"
    document = {
        "database": {"url": engine.url.set(drivername="postgresql").render_as_string(hide_password=False)},
        "integrators": {"here": {"base_url": "http://127.0.0.1:9", "token": "${NOT_NEEDED_FOR_THIS}"}},
        "projects": [{"id": "p", "slug": "s", "flows": [{"id": flow, "name": flow} for flow in flows]}],
        "defaults": defaults,
    }
    path.write_text(json.dumps(document))
    return path


def test_the_command_says_what_would_go_and_then_lets_it_go(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simple(engine)
    days = (datetime.now(UTC) - datetime(2026, 4, 1, tzinfo=UTC)).days
    path = configured(engine, tmp_path, keep=f"{days}d")
    before = there(engine)
    assert main(["--config", str(path), "prune", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["dry_run"] is True
    assert plan["flows"] == [
        {"flow_name": "f1", "flow_key": 1, "runs": 1, "steps": 1, "lines": 1, "details": 0, "waiting": 0}
    ]
    assert there(engine) == before
    assert main(["--config", str(path), "prune", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done == {**plan, "dry_run": False}
    assert there(engine)["run"] == {(1, 2)}
    assert main(["--config", str(path), "prune"]) == 0
    assert "has gone" in capsys.readouterr().out


def test_it_says_how_many_are_old_and_stay_for_now(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simple(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE archive.run SET archive_state = 'settling' WHERE log_id = 1"))
    path = configured(engine, tmp_path, keep="1d")
    for options, status in ((["--dry-run"], 0), ([], 0)):
        assert main(["--config", str(path), "prune", *options]) == status
        assert "1 run of that age stays: not sealed yet" in " ".join(capsys.readouterr().out.split())
    assert there(engine)["run"] == {(1, 1)}


def test_without_settings_everything_is_kept(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simple(engine)
    before = there(engine)
    assert main(["--config", str(configured(engine, tmp_path)), "prune"]) == 0
    assert "kept for ever" in capsys.readouterr().out
    assert there(engine) == before


def test_what_goes_is_exported_before_and_stays_in_later_exports(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ds = pytest.importorskip("pyarrow.dataset")
    empty(engine)
    may = [datetime(2026, 5, day, 12, tzinfo=UTC) for day in range(1, 29)]
    put(engine, [Made(1, n, f"r{n}", at, True, 1, {n * 10: at, n * 10 + 1: at}) for n, at in enumerate(may, 1)])
    put(engine, [Made(1, 99, "open", may[0], False, 1, {990: may[0]})])
    before = there(engine)
    out = tmp_path / "out"

    def logs(view: str) -> list[int]:
        return sorted(ds.dataset(out / view, format="parquet").to_table(columns=["log_id"])["log_id"].to_pylist())

    for day in (10, 20):
        days = (datetime.now(UTC) - datetime(2026, 5, day, 13, tzinfo=UTC)).days
        path = configured(engine, tmp_path, keep=f"{days}d")
        assert main(["--config", str(path), "prune", "--export-to", str(out)]) == 0
    left = there(engine)
    assert 10 < len(before["run"] - left["run"]) < 28
    assert main(["--config", str(path), "export", "--to", str(out)]) == 0
    assert logs("run") == sorted(one for _, one in before["run"])
    assert logs("line") == sorted(one for _, one in before["line"])
    capsys.readouterr()


def test_what_grows_old_while_others_are_exported_stays(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    from archiver import export

    empty(engine)
    old = datetime(2026, 1, 5, 12, tzinfo=UTC)
    put(engine, [Made(1, 1, "a", old, True, 1, {10: old}), Made(2, 3, "b", old, False, 1, {30: old})])
    exporting = export.export

    def exported(*arguments: Any, **more: Any) -> Any:
        done = exporting(*arguments, **more)
        with engine.begin() as connection:  # a pass of the other flow
            connection.execute(text("UPDATE archive.run SET archive_state = 'sealed', visit_at = NULL"))
        return done

    monkeypatch.setattr(export, "export", exported)
    path = configured(engine, tmp_path, ("f1", "f2"), keep="1d")
    assert main(["--config", str(path), "prune", "--json", "--export-to", str(tmp_path / "out")]) == 0
    assert there(engine)["run"] == {(2, 3)}
    assert there(engine)["line"] == {(2, 30)}
    gone = {one["flow_name"]: one["runs"] for one in json.loads(capsys.readouterr().out)["flows"]}
    assert gone == {"f1": 1, "f2": 0}


def test_a_run_is_known_by_the_one_id_that_it_has(engine: Engine) -> None:
    """An old one without a `filename_uuid` shares its lines with a young one of that very id."""
    empty(engine)
    old, young = datetime(2026, 1, 5, 12, tzinfo=UTC), NOW - timedelta(hours=1)
    put(engine, [Made(1, 1, "a", old, True, 0), Made(1, 2, "a", young, True, 0, {20: young})])
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE archive.run SET filename_uuid = NULL, original_filename_uuid = 'a' WHERE log_id = 1")
        )
    Retention(engine).prune([Policy(1, *(NOW - timedelta(days=60) for _ in range(3)))])
    assert there(engine)["line"] == {(1, 20)}
