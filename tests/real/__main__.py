"""`python -m tests.real [NAME…]`: fill an archive from the make-believe Integrator, and let others read it.

Exit status 1 where something failed. What cannot be installed here is skipped, with its reason.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

from archiver import embedded
from tests.real.place import Failed, Place, Skipped, run

PROBES = (
    *("psql", "pgbouncer", "jdbc", "odbc", "frames", "dbt", "duckdb", "s3", "superset", "browser"),
    *("image", "hosts", "manifests"),
)
HOME = Path(os.environ.get("ARCHIVER_REAL_HOME", "build/real")).absolute()
ROLE = "bi_reader"
DAYS = "7"


def main() -> int:
    """Run the probes that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(PROBES)}; else all of them")
    names: list[str] = parser.parse_args().names
    if unknown := set(names).difference(PROBES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PROBES)}")
    HOME.mkdir(parents=True, exist_ok=True)
    archive = HOME / "archive"
    if not (archive / "config.yaml").exists():
        print(f"filling an archive with {DAYS} days of the make-believe Integrator …", flush=True)
        run([sys.executable, "-m", "archiver", "demo", "--once", "--days", DAYS, "--dir", str(archive)])
    password = HOME / "password"
    password.write_text("p@ss:w/o rd?#\n")  # one that a careless address would break
    failed = 0
    with embedded.running(archive / "data") as owner:
        place = Place(HOME, archive / "config.yaml", owner, "")
        place.archiver("migrate")
        address = place.archiver("bi", "grant", ROLE, "--password-file", str(password)).decode().strip()
        reader = address.replace("@", ":p%40ss%3Aw%2Fo%20rd%3F%23@", 1)
        place = Place(HOME, place.config, owner, reader)
        for name in names or PROBES:
            failed += not _probe(name, place)
    print(f"{len(names or PROBES) - failed} passed or skipped, {failed} failed")
    return 1 if failed else 0


def _probe(name: str, place: Place) -> bool:
    began = time.monotonic()
    try:
        said = importlib.import_module(f"tests.real.{name}").probe(place)
    except Skipped as exc:
        print(f"skipped  {name}: {exc}", flush=True)
    except Failed as exc:
        print(f"FAILED   {name}: {exc}", flush=True)
        return False
    else:
        print(f"ok       {name} ({time.monotonic() - began:.0f} s): {said}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
