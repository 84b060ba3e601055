"""Lives that are ended by SIGKILL again and again, on a flow that goes on meanwhile."""

from __future__ import annotations

import random
import threading

from tests.faults.mortal import NEVER, SIDES, Mortals
from tests.faults.scene import Scene
from tests.test_archive import FLOW, line_log, main_log

COMMITS = range(1, 17)
POINTS = [(side, nth) for side in SIDES for nth in COMMITS]


def work(scene: Scene, rng: random.Random, first: int) -> None:
    """More to do: a run that failed, with steps, lines and files, some that go well, and one that goes on."""
    age = 1.0 if rng.random() < 0.7 else rng.uniform(1, 500)
    steps = [main_log(100_000 + 10 * first + n, log_type=2, age=age, is_send_S3=n % 2) for n in range(3)]
    failed = main_log(first, age=age, status=3, is_send_S3=1, sub_flows=steps)
    well = [main_log(first + n, age=age + n) for n in range(3, 7)]
    scene.world.insert(FLOW, 1, failed, *well, at=rng.choice((0, 0, 2)))
    scene.world.insert(FLOW, 1, main_log(first + 2, age=age, state=2, status=1))
    lines = (line_log(100 * first + n, first, status=2 + (n % 5 == 0)) for n in range(rng.randrange(99)))
    scene.world.insert(FLOW, 3, *lines)
    for number in (first, 100_001 + 10 * first):
        scene.world.keep_file(FLOW, number, {"run": first, "error": f"no {number}"})


def finish(scene: Scene) -> None:
    """The runs that go on come to their end."""
    with scene.world.lock:
        for run in scene.world.rows(FLOW, 1):
            if run["state"] != 3:
                run.update(state=3, status=2, finished=run["created"])


def killed_at_each_point(scene: Scene, mortals: Mortals, points: list[tuple[str, int]], seed: str) -> int:
    """One life after the other, each killed at the next point; nothing may ever be believed stored that is not, and in
    the end nothing may differ. Answers how many were killed."""
    rng = random.Random(seed)
    kills = 0
    for place, (side, nth) in enumerate(rng.sample(points, len(points))):
        work(scene, rng, 1 + 10 * place)
        if rng.random() < 0.3:
            finish(scene)
        assert mortals.live(side, nth), f"{seed}: a turn has no commit {nth}"
        kills += 1
        assert scene.falsely_complete() == set(), f"{seed}: believed stored after {side} {nth}"
    finish(scene)
    mortals.live()
    mortals.live()
    differences = scene.differences()
    assert differences == [], f"{seed}: {differences[:5]}"
    return kills


def side_by_side(scene: Scene, seed: str, turns: int = 4) -> int:
    """Two daemons that take the lease from each other in the middle of their work, now and then killed; in the end
    nothing is there twice, nothing is missing, and nothing has gone back."""
    rng = random.Random(seed)
    kills = 0
    with (
        Mortals(scene.folder / "scene.yaml", scene.database) as one,
        Mortals(scene.folder / "scene.yaml", scene.database) as two,
    ):
        frontier = scene.frontier()
        for turn in range(turns):
            work(scene, rng, 1 + 10 * turn)
            fates = [(rng.choice(SIDES), rng.randrange(1, 20)) if rng.random() < 0.3 else (NEVER, 0) for _ in range(2)]
            pair = [
                threading.Thread(target=mortal.live, args=fate) for mortal, fate in zip((one, two), fates, strict=True)
            ]
            for thread in pair:
                thread.start()
            for thread in pair:
                thread.join(120)
                assert not thread.is_alive(), f"{seed}: a daemon hangs"
            assert scene.falsely_complete() == set(), seed
            later = scene.frontier()
            assert frontier is None or (later is not None and later >= frontier), f"{seed}: the frontier went down"
            frontier = later
        finish(scene)
        one.live()
        two.live()
        kills = one.kills + two.kills
    differences = scene.differences()
    assert differences == [], f"{seed}: {differences[:5]}"
    return kills
