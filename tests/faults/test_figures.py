"""What is counted over many seeds. Here a little of it; `make soak` sets the environment for all of it.

A failure names its seed, and `pytest tests/faults/test_figures.py -k NAME` with the same numbers lives it again.
"""

from __future__ import annotations

import base64
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from archiver.archive import archive_flow
from archiver.detail import unpack
from archiver.errors import ArchiverError, DatabaseUnavailable
from archiver.postgres import DatabaseInterrupted
from archiver.store import Store, connect
from tests.faults.crashes import POINTS, killed_at_each_point, side_by_side
from tests.faults.mortal import Mortals
from tests.faults.proxy import UP, BlackHole, CommitCut, Cut, Delay, Drip, Proxy, Refuse, Reset, Toxic
from tests.faults.scene import Scene
from tests.test_archive import FLOW, line_log, main_log, zipped
from tests.test_detail import BASE64, READABLE, UNREADABLE, WRAPPED
from tests.test_detail_documents import CHANGED, NO_JSON, WITHOUT
from tests.wire import PAGE, Bench, always, answer, opened, read


def number(name: str, usual: int) -> int:
    return int(os.environ.get(f"ARCHIVER_{name}", usual))


LIVES, KILLS, PAIRS, ROUNDS = number("LIVES", 1), number("KILLS", 16), number("PAIRS", 3), number("ROUNDS", 1)
MUTATIONS = number("MUTATIONS", 2_000)


@pytest.mark.parametrize("seed", range(LIVES))
def test_killed_at_48_points(scene: Scene, seed: int) -> None:
    """Each of the first sixteen commits of a turn, before, during and after it, in any order: some of them here, as row
    17 goes through all of them side by side."""
    assert len(POINTS) == 48
    points = random.Random(f"points {seed}").sample(POINTS, KILLS)
    with Mortals(scene.folder / "scene.yaml", scene.database) as mortals:
        assert killed_at_each_point(scene, mortals, points, f"life {seed}") == KILLS


@pytest.mark.parametrize("seed", range(PAIRS))
def test_two_daemons_side_by_side(scene: Scene, seed: int) -> None:
    side_by_side(scene, f"pair {seed}")


def test_a_killed_walk_reads_one_window_again(scene: Scene) -> None:
    """However often it is killed, each kill costs one window at the most."""
    scene.world.insert(FLOW, 1, *(main_log(n, age=60.0 * n) for n in range(1, 900)))

    def lists() -> int:
        return sum(one.params.get("log_type") == "1" for one in list(scene.server.requests))

    whole = scene.poll().requests
    with scene.store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM archive.run")
        connection.exec_driver_sql("UPDATE archive.checkpoint SET frontier = NULL, intervals = '[]', walk = NULL,"
                                   " backfill = NULL, source = '{}'")  # fmt: skip
    before, kills = lists(), 0
    with Mortals(scene.folder / "main-alone.yaml", scene.database) as mortals:
        for nth in (1, 1, 2, 1, 3):
            kills += mortals.live("before", nth)
        assert kills == 5
    with scene.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE archive.checkpoint SET lease_until = NULL")
    scene.poll()
    assert scene.stored() == scene.shown()
    assert lists() - before <= whole + kills


# --- the network ---

HTTP: dict[str, Toxic] = {
    "refused": Refuse(),
    "late": Delay(0.2),
    "too late": Delay(2.0),
    "question late": Delay(0.2, UP),
    "question too late": Delay(2.0, UP),
    "drip": Drip(0.05, 1),
    "fast drip": Drip(0.01, 20),
    "question drips": Drip(0.05, 1, UP),
    **{f"reset after {n}": Reset(n) for n in (0, 1, 40, 120)},
    **{f"question reset after {n}": Reset(n, UP) for n in (0, 30)},
    **{f"cut after {n}": Cut(n) for n in (0, 1, 40, 120)},
    **{f"question cut after {n}": Cut(n, UP) for n in (0, 30)},
    **{f"silence after {n}": BlackHole(n) for n in (0, 40, 120)},
    "question swallowed": BlackHole(0, UP),
}
TIMEOUT, GRACE = 0.5, 2.0


@pytest.fixture
def bench() -> Iterator[Bench]:
    with opened() as bench:
        yield bench


@pytest.mark.parametrize("name", HTTP)
def test_a_toxic_network(bench: Bench, name: str) -> None:
    """A call ends in time, with the page or with an error of ours; and works when the network does."""
    assert len(HTTP) == 24
    server = bench.server(always(answer(200, PAGE)))
    for _ in range(ROUNDS):
        with Proxy(("127.0.0.1", server.port), HTTP[name]) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            client = bench.client(url, fixed=True, hurried=True, timeout=timedelta(seconds=TIMEOUT))
            started = time.monotonic()
            with suppress(ArchiverError):
                assert read(client).rows
            # The last try may begin just before the time is up.
            assert time.monotonic() - started < 2 * TIMEOUT + GRACE
            proxy.toxic = Toxic()
            proxy.drop()
            assert read(client).rows


POSTGRES: dict[str, Any] = {
    "refused": Refuse,
    "late": lambda: Delay(0.01),
    "question late": lambda: Delay(0.01, UP),
    "drip": lambda: Drip(0.0005, 200),
    **{f"reset after {n}": partial(Reset, n) for n in (0, 500, 5_000)},
    "question reset after 9,000": lambda: Reset(9_000, UP),
    **{f"cut after {n}": partial(Cut, n) for n in (0, 3_000)},
    "question cut after 20,000": lambda: Cut(20_000, UP),
    "commit lost": lambda: CommitCut(5, arrives=False),
    "answer to a commit lost": lambda: CommitCut(5, arrives=True),
}


@pytest.mark.parametrize("name", POSTGRES)
def test_a_toxic_way_to_the_database(scene: Scene, name: str) -> None:
    """A turn ends, in an error of ours where it fails; the next one, on a good way, makes everything whole."""
    assert len(POSTGRES) >= 12
    where = urlsplit(scene.database)
    for turn in range(ROUNDS):
        scene.world.insert(FLOW, 1, *(main_log(100 * turn + n, age=60.0 * n - turn) for n in range(1, 12)))
        scene.world.insert(FLOW, 3, *(line_log(1000 * turn + n, 100 * turn + 1) for n in range(120)))
        with Proxy((str(where.hostname), where.port or 5432), POSTGRES[name]()) as proxy:
            dsn = where._replace(netloc=where.netloc.rpartition(":")[0] + f":{proxy.port}").geturl()
            store = Store(connect(dsn), "toxic")
            started = time.monotonic()
            with suppress(DatabaseInterrupted, DatabaseUnavailable):
                lease = store.leases.claim(scene.key)
                assert lease is not None
                archive_flow(scene.flow, scene.client, store, lease, eager=True)
            assert time.monotonic() - started < 60, "it hangs"
            store.close()
        with scene.store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE archive.checkpoint SET lease_until = NULL")
        scene.turn()
        assert scene.differences() == []


# --- documents ---


def corpus() -> dict[str, bytes]:
    """Answers of every class of bad file."""
    files = {f"zip: {name}": base64.b64encode(data) for name, (data, _) in (READABLE | UNREADABLE).items()}
    contents = [*(one for one, *_ in CHANGED), *(one for one, *_ in WITHOUT if len(one) < 1 << 20), *NO_JSON]
    files |= {f"content: {n}": zipped(content) for n, content in enumerate(contents)}
    return files


def test_bad_documents(archive: str) -> None:
    """Every class in ten wrappings, and mutations of them: no crash, no byte lost, every document one that Postgres
    takes, and no memory that stays."""
    classes = corpus()
    assert len(classes) >= 60
    chance = random.Random("bad documents")
    before = resident()
    outcomes: Counter[str] = Counter()
    with psycopg.connect(archive, autocommit=True) as connection:

        def check(body: bytes) -> None:
            detail = unpack(body)
            outcomes[detail.outcome] += 1
            assert detail.body in (body, detail.body)
            assert detail.body_form == "zip" or detail.body == body
            if detail.document is not None and len(detail.document) < 1 << 16:
                connection.execute("SELECT %s::jsonb IS NULL", (detail.document,))

        for body in classes.values():
            for form in wrapped(body):
                check(form)
        seeds = [body for body in (*classes.values(), BASE64, WRAPPED) if len(body) < 20_000]
        for _ in range(MUTATIONS):
            check(mutated(chance, chance.choice(seeds)))
    assert outcomes.total() == 10 * len(classes) + MUTATIONS
    assert resident() - before < 256
    print(f"{len(classes)} classes x 10, {MUTATIONS} mutations: {dict(outcomes)}")


def wrapped(body: bytes) -> list[bytes]:
    breaks = b"\r\n".join(body[n : n + 76] for n in range(0, len(body), 76))
    raw = base64.b64decode(body)
    return [
        body, breaks, b'"' + body + b'"', b"'" + body + b"'", b" " + body + b"\n", b"\xef\xbb\xbf" + body,
        body.rstrip(b"="), raw, body[:-5], base64.urlsafe_b64encode(raw),
    ]  # fmt: skip


def mutated(chance: random.Random, body: bytes) -> bytes:
    data = bytearray(base64.b64decode(body) if chance.random() < 0.7 else body)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(len(data) + 1)
        data[place : place + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
    return base64.b64encode(data) if chance.random() < 0.8 else bytes(data)


def resident() -> float:
    """MiB of this process; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
