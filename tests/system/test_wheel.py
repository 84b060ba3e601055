"""The wheel alone: built, installed into an empty environment, used outside of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from archiver import __file__ as package

CHECKOUT = Path(package).parents[1]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ARCHIVER_", "PYTHON", "PIP_"))}
    env |= environment
    done = subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment that has the wheel, and beside it only what the wheel depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT)
    run(*build, cwd=folder)
    (wheel,) = folder.glob("archiver-*.whl")
    venv.create(folder / "venv", with_pip=True)
    bin_ = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(bin_ / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    # The dependencies come from the environment that runs the tests; it comes last, so the archiver is the wheel's.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(bin_ / "python", "-c", "import archiver; print(archiver.__file__)", cwd=folder)
    assert Path(where.strip()).is_relative_to(site)
    return bin_ / "archiver"


@pytest.mark.slow
def test_it_migrates_and_shows_itself(installed: Path, tmp_path: Path, database: str) -> None:
    url = {"ARCHIVER_DATABASE_URL": database, "HOME": str(tmp_path)}
    assert "none →" in run(installed, "migrate", cwd=tmp_path, **url)
    assert "up to date" in run(installed, "migrate", cwd=tmp_path, **url)
    assert "CREATE TABLE archive.run" in run(installed, "migrate", "--sql", cwd=tmp_path)
    assert "config.yaml is written" in run(installed, "init", cwd=tmp_path)
    login = {"INTEGRATOR_USERNAME": "me@example.com", "INTEGRATOR_PASSWORD": "canary"}
    assert "price" in run(installed, "status", cwd=tmp_path, **url, **login)
    assert run(installed, "--version", cwd=tmp_path).startswith("archiver ")
