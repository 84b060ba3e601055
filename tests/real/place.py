"""What every probe stands on: a filled archive, a reader's address, and ways to install what others made."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Packages newer than this were never seen to work with Superset 6.1 or with each other.
NEWEST = "2026-07-01"


class Skipped(Exception):
    """Something cannot be had on this machine; its text says what."""


class Failed(Exception):
    """Software that is not ours did not read what is there."""


@dataclass(frozen=True, slots=True)
class Place:
    """`home`: a folder that stays from run to run, for what is installed; `config`: the archive's configuration."""

    home: Path
    config: Path
    owner: str
    reader: str

    def parts(self) -> dict[str, str]:
        """The reader's address in pieces, for software that takes no address."""
        url = urlsplit(self.reader)
        return {
            "host": url.hostname or "",
            "port": str(url.port),
            "dbname": url.path.removeprefix("/"),
            "user": unquote(url.username or ""),
            "password": unquote(url.password or ""),
        }

    def archiver(self, *arguments: str) -> bytes:
        """Run the archiver on this archive; its standard output."""
        return run([sys.executable, "-m", "archiver", "--config", str(self.config), *arguments])

    def venv(self, name: str, *packages: str, newest: str = NEWEST) -> Path:
        """A virtual environment of its own with these packages; its python. Made once, kept in `home`."""
        folder = self.home / f"venv-{name}"
        python = folder / "bin" / "python"
        wanted = folder / "packages.json"
        if wanted.exists() and json.loads(wanted.read_text()) == list(packages):
            return python
        shutil.rmtree(folder, ignore_errors=True)
        base = shutil.which("python3.11") or sys.executable
        environ = {"SSL_CERT_FILE": os.environ["PIP_CERT"]} if "PIP_CERT" in os.environ else {}
        try:
            run([base, "-m", "venv", str(folder)])
            run([str(python), "-m", "pip", "install", "--quiet", "uv"])
            uv = [str(folder / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(python)]
            run([*uv, "--exclude-newer", newest, *packages], environ=environ)
        except Failed as exc:
            raise Skipped(f"{' '.join(packages)} cannot be installed: {exc}") from exc
        wanted.write_text(json.dumps(list(packages)))
        return python


def apt(*packages: str) -> None:
    """Debian's packages, installed where they are not. Raises Skipped on other systems and for other users."""
    if shutil.which("dpkg-query") is None:
        raise Skipped(f"{' '.join(packages)}: this is no Debian")
    missing = [one for one in packages if not _installed(one)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise Skipped(f"{' '.join(missing)} are not installed, and only root can: apt-get install {' '.join(missing)}")
    environ = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update", "-qq"], environ=environ)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], environ=environ)
    except Failed as exc:
        raise Skipped(f"{' '.join(missing)} cannot be installed: {exc}") from exc


def _installed(package: str) -> bool:
    asked = subprocess.run(["dpkg-query", "-W", "-f=${Status}", package], capture_output=True, text=True, check=False)
    return "install ok installed" in asked.stdout


def run(command: Sequence[str], *, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> bytes:
    """A program's standard output. Raises Failed with the last it said."""
    done = subprocess.run(
        command, capture_output=True, check=False, cwd=cwd, env={**os.environ, **(environ or {})}, timeout=1800
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise Failed(f"{Path(command[0]).name} ended with {done.returncode}: {' | '.join(said[-8:])}")
    return done.stdout


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def must(condition: object, what: str) -> None:
    """Raises Failed where something does not hold."""
    if not condition:
        raise Failed(what)
