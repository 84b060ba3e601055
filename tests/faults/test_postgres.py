"""Rows 44 to 52 of the catalogue: what happens to a database under those that write into it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.exc import IntegrityError, OperationalError

from archiver.access import address, grant_writer
from archiver.archive import archive_flow
from archiver.demo.faults import Call
from archiver.errors import ArchiverError, DatabaseUnavailable, LeaseLost, SchemaMismatch
from archiver.logs import LogType, parse_run
from archiver.postgres import DatabaseFull, DatabaseInterrupted
from archiver.schema import newest
from archiver.store import Store, connect, migrate, require
from archiver.store.engine import translated
from archiver.store.schema import current
from tests.faults.proxy import BlackHole, Proxy
from tests.faults.scene import Scene
from tests.faults.server import Postgres, server
from tests.system.story import small_flows, told
from tests.test_archive import FLOW, line_log, main_log
from tests.test_daemon import daemon, is_polling, said, wait_for


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that a test may stop; it has the newest schema."""
    folder = Path(tempfile.mkdtemp(prefix="archiver-fault-"))
    folder.chmod(0o711)
    with server(folder / "postgres") as one:
        engine = connect(one.dsn)
        migrate(engine)
        engine.dispose()
        yield one
    shutil.rmtree(folder)


def ended(client: psycopg.Connection[Any]) -> bool:
    try:
        client.execute("SELECT 1")
    except psycopg.Error:
        return True
    return False


@pytest.mark.parametrize("way", ["fast", "immediate", "killed"])
def test_44_a_restart_during_a_transaction(own: Postgres, tmp_path: Path, way: str) -> None:
    """The server goes while a window is being written: the turn fails, the next one does the window again.

    Naive: `pool_pre_ping` looks at a connection when it is taken, and does not help the transaction under way.
    """
    with Scene.opened(own.dsn, tmp_path) as scene:
        number = 10_000 * (1 + own.restarts)
        scene.world.insert(FLOW, 1, *(main_log(number + n, age=60.0 * n) for n in range(1, 150)))
        with scene.store.engine.connect() as naive:
            naive.exec_driver_sql("SELECT 1")
            lease = scene.store.leases.claim(scene.key)
            assert lease is not None
            rows = [parse_run(row) for row in scene.world.rows(FLOW, 1)]
            with pytest.raises(DatabaseInterrupted), scene.store.writing(lease) as writer:  # noqa: PT012 - its COMMIT
                writer.put_runs(rows)
                own.restart(way)
            with pytest.raises(OperationalError):
                naive.exec_driver_sql("SELECT 1")
        assert scene.one(f"SELECT count(*) FROM archive.run WHERE log_id > {number}") == 0
        with scene.store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE archive.checkpoint SET lease_until = NULL")
        assert scene.poll().errors == []
        assert scene.shown() <= scene.stored()
        assert scene.falsely_complete() == set()


def test_45_the_network_goes_silent(archive: str) -> None:
    """Nobody answers any more, and nobody says so: a connection has ten seconds, silence on one thirty, and the
    system's keep-alives are ours.

    Naive: libpq waits for a connection as long as the system does, about two minutes, and two hours on one that is
    idle.
    """
    where = urlsplit(archive)
    with Proxy((str(where.hostname), where.port or 5432), BlackHole()) as proxy:
        dsn = where._replace(netloc=where.netloc.rpartition(":")[0] + f":{proxy.port}").geturl()
        silent = connect(f"{dsn}?connect_timeout=2")
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable), translated(), silent.connect():
            pass
        assert time.monotonic() - started < 4 + 2
        silent.dispose()
    engine = connect(archive)
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        ours = _options(raw.fileno())
    engine.dispose()
    with psycopg.connect(archive) as plain:
        naive = _options(plain.fileno())
    assert ours == {"TCP_USER_TIMEOUT": 30_000, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
    assert naive["TCP_USER_TIMEOUT"] == 0
    assert naive["TCP_KEEPIDLE"] >= 7200


def _options(fileno: int) -> dict[str, int]:
    names = ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    with socket.socket(fileno=fileno) as found:
        values = {name: found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names}
        found.detach()
    return values


def test_45_silence_behind_something_that_still_answers(tmp_path: Path, archive: str) -> None:
    """A balancer that hangs answers for the network, so that no option of a socket helps: the watchdog ends the
    process, and the next one goes on.

    Naive: the daemon lives and waits, for ever.
    """
    where = urlsplit(archive)
    with Proxy((str(where.hostname), where.port or 5432)) as proxy:
        dsn = where._replace(netloc=where.netloc.rpartition(":")[0] + f":{proxy.port}").geturl()
        with told(tmp_path, dsn, flows=small_flows("price", runs=3, lines=3)) as story:
            # Silence may meet a turn, or a tick while nothing else is at work.
            with daemon(story, inject="run.STALLED, run.DEAD = 3.0, 10.0") as process:
                wait_for(is_polling(story))
                proxy.toxic = BlackHole()
                proxy.silence()
                assert process.wait(60) == 1
            assert "no progress" in said(story) or "stopped ticking" in said(story)


def test_46_no_request_within_a_transaction(scene: Scene) -> None:
    """No transaction of the archiver waits for a request: none is idle from before it came until it is answered.

    Naive: a transaction around the request is idle for as long as the Integrator takes, and keeps vacuum away.
    """
    idle: list[int] = []
    # Pages are read ahead while another thread writes, and is between two statements now and then.
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tran%%'"
        " AND state_change < %s"
    )

    with psycopg.connect(scene.database, autocommit=True) as other:

        def look(_: object) -> None:
            began = other.execute("SELECT clock_timestamp()").fetchone()
            assert began is not None
            time.sleep(0.3)
            row = other.execute(count, began).fetchone()
            idle.append(row[0] if row else -1)

        scene.faults.add(Call(look))
        scene.world.insert(FLOW, 1, *(main_log(n, age=60.0 * n) for n in range(1, 12)))
        scene.world.insert(FLOW, 1, main_log(500, status=3, is_send_S3=1, age=30), main_log(501, state=2, status=1))
        scene.world.insert(FLOW, 3, *(line_log(n, 500) for n in range(130)))
        scene.world.keep_file(FLOW, 500, {"a": 1})
        assert scene.turn().errors == []
        assert len(idle) > 10
        assert set(idle) == {0}
        with scene.store.engine.begin() as naive:
            naive.exec_driver_sql("SELECT 1")
            scene.client.list_logs(scene.flow, LogType.MAIN, limit=10, page=1)
        assert idle[-1] == 1


def test_47_two_writers_in_opposite_order(scene: Scene) -> None:
    """Batches are sorted by their key, and a flow's writers wait for one another at its checkpoint.

    Naive: two transactions that touch the same rows in opposite order: one of them is rolled back (40P01).
    """
    rows = [parse_run(main_log(n, age=60.0 * n)) for n in range(1, 200)]
    lease = scene.store.leases.claim(scene.key)
    assert lease is not None
    faults: list[BaseException] = []

    def write(order: int) -> None:
        try:
            for n in range(10):
                changed = [row._replace(process_count=2 * n + (order > 0), src_hash=row.src_hash + n) for row in rows]
                with scene.store.writing(lease) as writer:
                    writer.put_runs(changed[::order])
        except BaseException as exc:
            faults.append(exc)

    threads = [threading.Thread(target=write, args=(order,)) for order in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    with psycopg.connect(scene.database) as one, psycopg.connect(scene.database) as two:
        touch = "UPDATE archive.run SET seen_at = now() WHERE log_id = %s"
        one.execute(touch, (1,))
        two.execute(touch, (2,))
        results: list[str | None] = []

        def wait() -> None:
            try:
                two.execute(touch, (1,))
                results.append(None)
            except psycopg.Error as exc:
                results.append(exc.sqlstate)

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            one.execute(touch, (2,))
            results.append(None)
        except psycopg.Error as exc:
            results.append(exc.sqlstate)
        thread.join(30)
        assert sorted(map(str, results)) == ["40P01", "None"]


def test_48_the_connection_of_a_lock_is_lost(scene: Scene) -> None:
    """A lease is a row with an end: no connection holds it. Whoever takes it over gets a higher fence, and the late
    owner writes nothing.

    Naive: an advisory lock goes with its connection: two hold it, and the first does not know.
    """
    other = Store(connect(scene.database), "other")
    lease = scene.store.leases.claim(scene.key)
    assert lease is not None
    with psycopg.connect(scene.database, autocommit=True) as admin:
        holder = psycopg.connect(scene.database, autocommit=True)
        rival = psycopg.connect(scene.database, autocommit=True)
        assert holder.execute("SELECT pg_try_advisory_lock(7)").fetchone() == (True,)
        assert rival.execute("SELECT pg_try_advisory_lock(7)").fetchone() == (False,)
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), %s)",
            (rival.info.backend_pid,),
        )
        assert other.leases.claim(scene.key) is None, "the lease outlives every connection"
        assert rival.execute("SELECT pg_try_advisory_lock(7)").fetchone() == (True,)
        assert ended(holder)
        rival.close()
        admin.execute("UPDATE archive.checkpoint SET lease_until = now() - interval '1 s'")
    taken = other.leases.claim(scene.key)
    assert taken is not None
    assert taken.fence > lease.fence
    with pytest.raises(LeaseLost), scene.store.writing(lease) as writer:
        writer.put_runs([parse_run(main_log(1))])
    assert scene.stored() == set()
    other.close()


def test_49_several_upgrade_at_once(database: str) -> None:
    """Four processes migrate an empty database at once; a database of a newer version is left alone.

    Naive: `CREATE TABLE IF NOT EXISTS` of two transactions: the second fails on the catalog's own index.
    """
    script = "import sys; from archiver.store import connect, migrate; migrate(connect(sys.argv[1]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", script, database], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert [(one.communicate(timeout=120)[1], one.returncode) for one in processes] == [("", 0)] * 4
    engine = connect(database)
    assert current(engine) == newest()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE archive.alembic_version SET version_num = '9999'")
    for refused in (lambda: migrate(engine), lambda: require(engine)):
        with pytest.raises(SchemaMismatch, match=r"9999.*does not know"):
            refused()
    assert current(engine) == "9999"
    engine.dispose()
    with psycopg.connect(database) as one, psycopg.connect(database) as two:
        one.execute("CREATE TABLE IF NOT EXISTS public.naive ()")
        told: list[str | None] = []

        def second() -> None:
            try:
                two.execute("CREATE TABLE IF NOT EXISTS public.naive ()")
            except psycopg.Error as exc:
                told.append(exc.sqlstate)

        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        one.commit()
        thread.join(30)
        assert told == ["23505"]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 60 MB."""
    folder = Path(tempfile.mkdtemp(prefix="archiver-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("only root may mount a small file system")
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def test_50_the_disk_is_full(own: Postgres, small_disk: Path, tmp_path: Path) -> None:
    """The turn fails with what it is (class 53), nothing is certified, and with room again the next turn goes on. What
    is wrong can be seen (`status`), though there is no room to write down that the turn has failed.

    Naive: the page that could not be written is skipped, and the checkpoint passes it.
    """
    space = small_disk / "space"
    space.mkdir()
    space.chmod(0o777)
    owner = urlsplit(own.dsn).username or ""
    shutil.chown(space, own.place.data.stat().st_uid)
    with psycopg.connect(own.superuser, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(space))))
        admin.execute(sql.SQL("CREATE DATABASE small OWNER {} TABLESPACE small").format(sql.Identifier(owner)))
    dsn = urlsplit(own.dsn)._replace(path="/small").geturl()
    try:
        engine = connect(dsn)
        migrate(engine)
        engine.dispose()
        with Scene.opened(dsn, tmp_path) as scene:
            text = "x" * 3000
            scene.world.insert(FLOW, 1, *(main_log(n, age=60.0 * n, blob=f"{n}{text}") for n in range(1, 800)))
            ballast = small_disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            report = scene.poll()
            assert any("out of disk" in error and "53100" in error for error in report.errors), report.errors
            assert scene.falsely_complete() == set()
            assert len(scene.stored()) < 799
            lease = scene.store.leases.claim(scene.key)
            assert lease is not None
            with pytest.raises(DatabaseFull):
                archive_flow(scene.flow, scene.client, scene.store, lease, eager=True, next_due=lambda: 0.0)
            failure = "SELECT last_error LIKE '%out of disk%', failures_in_a_row, lease_until FROM archive.checkpoint"
            assert scene.all(f"{failure} WHERE flow_key = {scene.key}") == [(True, 1, None)]
            assert 5 < scene.store.due([scene.key])[scene.key] <= 15  # a pause, though it was due at once
            ballast.unlink()
            while any("depth" in error or "disk" in error for error in scene.poll().errors):
                pass
            assert scene.stored() == scene.shown()
    finally:
        with psycopg.connect(own.superuser, autocommit=True) as admin:
            admin.execute("DROP DATABASE small WITH (FORCE)")
            admin.execute("DROP TABLESPACE small")


def test_51_rows_and_secrets_in_error_texts(scene: Scene) -> None:
    """An error of the database is told by its class and its code alone.

    Naive: `hide_parameters` hides what was bound; the server's own words repeat the row.
    """
    secret = "customer@example.com"
    with scene.store.engine.begin() as connection:
        connection.exec_driver_sql(
            "ALTER TABLE archive.line ADD CONSTRAINT hostile CHECK (row_num IS DISTINCT FROM 13)"
        )
    scene.world.insert(FLOW, 1, main_log(1))
    scene.world.insert(FLOW, 3, *(line_log(n, 1, row_num=n, sku=secret) for n in range(1, 30)))
    report = scene.turn()
    reason = scene.one("SELECT reason FROM archive.quarantine")
    assert reason == "CheckViolation (SQLSTATE 23514)"
    assert secret not in repr(report)
    with scene.store.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE public.naive (mail text UNIQUE)")

    def twice() -> None:
        with scene.store.engine.begin() as connection:
            for _ in range(2):
                connection.exec_driver_sql("INSERT INTO public.naive VALUES (%s)", (secret,))

    with pytest.raises(IntegrityError) as naive:
        twice()
    assert secret in str(naive.value)
    with pytest.raises(ArchiverError) as ours, translated():
        twice()
    assert secret not in str(ours.value)
    assert "23505" in str(ours.value)


def test_52_the_writer_deletes_nothing(scene: Scene) -> None:
    """The role that archives can neither delete nor change what the archive is made of.

    Naive: the daemon runs as the owner, and one statement wipes the archive.
    """
    scene.world.insert(FLOW, 1, main_log(1), main_log(2, age=7200))
    assert scene.turn().errors == []
    granted = grant_writer(scene.store.engine, "fault_writer")
    dsn = address(scene.store.engine, "fault_writer", granted.password)
    try:
        writer = Store(connect(dsn), "writer")
        lease = writer.leases.claim(scene.key)
        assert lease is not None
        scene.world.insert(FLOW, 1, main_log(3, age=10))
        assert archive_flow(scene.flow, scene.client, writer, lease, eager=True).errors == []
        assert scene.stored() == {1, 2, 3}
        writer.close()
        with psycopg.connect(dsn, autocommit=True) as connection:
            for table in ("run", "step", "line", "detail", "checkpoint", "flow", "quarantine"):
                for statement in ("DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} ADD x int"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(sql.SQL(statement).format(sql.Identifier("archive", table)))
        with psycopg.connect(scene.database) as naive:
            assert naive.execute("DELETE FROM archive.run").rowcount == 3
            naive.rollback()
    finally:
        with psycopg.connect(scene.database, autocommit=True) as admin:
            admin.execute("GRANT fault_writer TO CURRENT_USER")
            admin.execute("DROP OWNED BY fault_writer")
            admin.execute("DROP ROLE fault_writer")
