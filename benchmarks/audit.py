"""The audit, tried at length: planted defects that it has to find, and clean worlds in which it must not complain.

    python -m benchmarks.audit --defects 200 --worlds 50 --seed 7

Exit status 1 where a defect is missed, or anything is said of a clean world.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from archiver import embedded
from archiver.cli.log import no_logging
from archiver.demo.listing import Order
from tests.audit.defects import KINDS, missed, plant
from tests.audit.worlds import alarms_of_a_moving_world
from tests.conftest import new_database
from tests.system.story import small_flows, told

AT_ONCE = 2 * len(KINDS)  # defects in one archive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defects", type=int, default=200)
    parser.add_argument("--worlds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    no_logging()
    with tempfile.TemporaryDirectory(prefix="archiver-audit-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with embedded.running(folder / "postgres") as dsn:
            wrong = defects(folder, dsn, asked.defects, asked.seed) + worlds(folder, dsn, asked.worlds, asked.seed)
    return 1 if wrong else 0


def defects(folder: Path, dsn: str, count: int, seed: int) -> list[str]:
    """Plant so many defects, some in each archive; what was missed, and what was said of others."""
    wrong: list[str] = []
    planted = 0
    habits = {"runs": 32, "lines": 12, "failed": 0.4, "partial": 0.3, "empty": 0.0}
    while planted < count:
        some = min(AT_ONCE, count - planted)
        flows = small_flows("price", "stock", **habits)
        with new_database(dsn) as database, told(folder, database, flows=flows, now=datetime.now(UTC)) as story:
            story.run("sync", timeout=600)
            expected = plant(database, some, seed + planted)
            said = json.loads(story.run("verify", "--json", timeout=600).stdout)
        known = {one[1:] for one in expected}
        found = [(one["level"], one["log_id"], one["verdict"]) for flow in said["flows"] for one in flow["findings"]]
        bad = [f"seed {seed + planted}: missed {one}" for one in missed(expected, said)]
        bad += [f"seed {seed + planted}: false alarm {one}" for one in found if one not in known]
        wrong += told_of(bad)
        planted += some
        print(f"{planted} defects planted, {len(wrong)} missed or said in vain", flush=True)
    return wrong


def worlds(folder: Path, dsn: str, count: int, seed: int) -> list[str]:
    """Audit so many clean worlds while their sources move; everything that is said of them."""
    wrong: list[str] = []
    orders = list(Order)
    for number in range(count):
        order = orders[number % len(orders)]
        with new_database(dsn) as database:
            alarms = alarms_of_a_moving_world(folder, database, order, seed=seed + number, audits=2)
        wrong += told_of([f"{order}: {alarm}" for alarm in alarms])
        if (number + 1) % 10 == 0 or number + 1 == count:
            print(f"{number + 1} clean worlds audited twice, {len(wrong)} false alarms", flush=True)
    return wrong


def told_of(wrong: list[str]) -> list[str]:
    """The same, printed as soon as it is known."""
    for one in wrong:
        print(" ", one, flush=True)
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
