"""The image without an engine: the Dockerfile's own steps in a clean Debian, and then the daemon in what they made.

The steps run in a root file system of debootstrap's (Debian's Python instead of the Python image's). The daemon runs
there as the image's user, without capabilities, on a file system that is mounted read-only, in namespaces of its own
for mounts, processes and network, with `deploy/config.yaml`; the archive is compared with the truth. Needs root.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from archiver import embedded
from archiver.demo.flows import BRAND
from archiver.demo.server import PASSWORD, USERNAME
from tests.real.place import Failed, Place, Skipped, apt, must, run
from tests.system.story import Story, small_flows, told

ROOT = Path(__file__).parent.parent.parent
SUITE = "trixie"
PACKAGES = "ca-certificates,python3,python3-venv,python3-pip,python-is-python3"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass
class Image:
    """What a Dockerfile's last stage comes to."""

    root: Path
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def inside(self, *command: str) -> list[str]:
        """A command line that runs a command in the image as its user, who can gain no rights."""
        user, group = self.user.split(":")
        environ = [f"{name}={value}" for name, value in self.environ.items()]
        rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        rights += [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        return [
            "chroot",
            str(self.root),
            "setpriv",
            *rights,
            "env",
            "-i",
            f"--chdir={self.workdir}",
            *environ,
            *command,
        ]


def probe(place: Place) -> str:
    """Build, and run what was built."""
    if os.geteuid() != 0:
        raise Skipped("only root can change a root directory")
    apt("debootstrap", "iproute2", "util-linux")
    folder = place.home / "image"
    base = _debian(folder / SUITE)
    image = build(ROOT / "Dockerfile", ROOT, base, folder / "stages")
    size = _size(image.root) - _size(base)
    (folder / "image.json").write_text(json.dumps(vars(image) | {"root": str(image.root)}))
    own = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    said = run([*own, sys.executable, "-m", "tests.real.image", str(folder / "image.json")], cwd=ROOT)
    return f"the image adds {size} MB to Debian's Python; {said.decode().strip()}"


def _debian(root: Path) -> Path:
    if not (root / "usr/bin/python").exists():
        shutil.rmtree(root, ignore_errors=True)
        try:
            run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)])
        except Failed as exc:
            raise Skipped(f"no Debian to build in: {exc}") from exc
    return root


def _size(root: Path) -> int:
    return int(run(["du", "-sxm", "--exclude=./proc", str(root)]).split()[0])


# --- the Dockerfile's steps ---


def build(dockerfile: Path, context: Path, base: Path, folder: Path) -> Image:
    """Do what the instructions say; any that is not known here is a failure."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stages: dict[str, Image] = {}
    image = Image(base)
    for word, text in _instructions(dockerfile):
        if word == "FROM":
            name = text.split()[2] if " AS " in text else str(len(stages))
            image = stages[name] = Image(folder / name)
            run(["cp", "--archive", "--reflink=auto", str(base), str(image.root)])
            if CERTIFICATES.exists():  # those that this machine reaches its package index with
                shutil.copy(CERTIFICATES, image.root / CERTIFICATES.relative_to("/"))
            shutil.copy("/etc/resolv.conf", image.root / "etc/resolv.conf")
        else:
            _step(image, word, text, stages, context)
    return image


def _instructions(dockerfile: Path) -> list[tuple[str, str]]:
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(one.split(None, 1)[0], one.split(None, 1)[1].strip()) for one in joined.splitlines() if one.strip()]


def _step(image: Image, word: str, text: str, stages: dict[str, Image], context: Path) -> None:
    match word:
        case "ARG" | "ENV":
            for pair in shlex.split(text):
                name, value = pair.split("=", 1)
                image.environ[name] = Template(value).safe_substitute(image.environ)
        case "WORKDIR":
            image.workdir = text
            (image.root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        case "COPY":
            _copy(image, text.split(), stages, context)
        case "RUN":
            environ = [f"{name}={value}" for name, value in image.environ.items()]
            in_root = ["chroot", str(image.root), "env", "-i", f"--chdir={image.workdir}", *environ]
            run([*in_root, f"PIP_CERT={CERTIFICATES}", "sh", "-c", text])
        case "USER":
            image.user = text
        case "ENTRYPOINT":
            image.entrypoint = json.loads(text)
        case "CMD":
            image.command = json.loads(text)
        case "HEALTHCHECK":
            image.health = json.loads(text.split(" CMD ", 1)[1])
        case "VOLUME" | "EXPOSE" | "STOPSIGNAL":
            pass
        case _:
            raise Failed(f"the Dockerfile has an instruction that is not known here: {word}")


def _copy(image: Image, words: list[str], stages: dict[str, Image], context: Path) -> None:
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
    origin = context if stage is None else stages[stage].root
    *sources, to = words
    target = image.root / (to if to.startswith("/") else f"{image.workdir}/{to}").lstrip("/")
    for source in sources:
        path = origin / source.lstrip("/")
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


# --- in namespaces of its own ---


def _inside(image: Image) -> str:
    run(["ip", "link", "set", "lo", "up"])
    with tempfile.TemporaryDirectory(prefix="archiver-image-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with embedded.running(folder / "postgres") as dsn, told(folder, dsn, flows=small_flows()) as story:
            _mount(image, folder / "state")
            _deploy(image, story, dsn)
            seconds = _daemon(image, story)
        once = run(image.inside(*image.entrypoint, "demo", "--once", "--days", "1")).decode()
    must("price" in once, f"the demo says: {once[-300:]}")
    return f"the daemon archived a world on it, equal to the truth, ended {seconds:.1f} s after SIGTERM; the demo works"


def _mount(image: Image, state: Path) -> None:
    """The image's files read-only; what may be written is one folder and two file systems in memory."""
    root = image.root
    user, group = (int(one) for one in image.user.split(":"))
    state.mkdir()
    os.chown(state, user, group)
    (root / "etc/archiver/config.yaml").touch()
    run(["mount", "--bind", str(root), str(root)])
    run(["mount", "-o", "remount,bind,ro", str(root)])
    run(["mount", "--bind", str(state), str(root / "var/lib/archiver")])
    run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(root / "tmp")])
    run(["mount", "-t", "tmpfs", "tmpfs", str(root / "run")])
    run(["mount", "-t", "proc", "proc", str(root / "proc")])


def _deploy(image: Image, story: Story, dsn: str) -> None:
    """deploy/config.yaml as it is, but for where the Integrator is and which flows it has."""
    text = (ROOT / "deploy/config.yaml").read_text().replace("environment: prod", f"base_url: {story.server.base_url}")
    text = (
        text.replace("98765-9876-9875", BRAND.project_id)
        .replace("my-brand", BRAND.slug)
        .replace("every: 5m", "every: 1s")
    )
    for there, flow in zip(("123456-12345-1234", "123456-12345-1235"), story.flows, strict=True):
        text = text.replace(there, flow.flow_id)
    config = story.folder / "deployed.yaml"
    config.write_text(text + "\ndefaults: {settle: 0s, since: 2000-01-01}\n")
    config.chmod(0o644)
    run(["mount", "--bind", str(config), str(image.root / "etc/archiver/config.yaml")])
    secrets = image.root / "run/secrets"
    secrets.mkdir()
    for name, secret in {
        "database_url": dsn,
        "integrator_password": PASSWORD,
        "web_tokens": "0123456789abcdef",
    }.items():
        (secrets / name).write_text(secret + "\n")
    image.environ["INTEGRATOR_USERNAME"] = USERNAME


def _daemon(image: Image, story: Story) -> float:
    """Run it until the archive equals the truth; answers how long it took to end."""
    must(not _succeeds(image, image.health), "healthy before it was started")
    must(not _succeeds(image, ["touch", "/opt/archiver/there"]), "the file system can be written to")
    must(not _succeeds(image, ["touch", "/there"]), "the file system can be written to")
    process = subprocess.Popen(
        image.inside(*image.entrypoint, *image.command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        _wait(lambda: _succeeds(image, image.health), 120, process, "healthy")
        status = Path(f"/proc/{process.pid}/status").read_text()
        for line in (f"Uid:\t{image.user.split(':')[0]}\t", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000"):
            must(line in status, f"the process itself: {line!r} is not in its status")
        _wait(lambda: not story.differences(), 300, process, "equal to the truth")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        must(process.wait(20) == 0, f"SIGTERM: status {process.returncode}")
        return time.monotonic() - began
    finally:
        process.kill()


def _succeeds(image: Image, command: Sequence[str]) -> bool:
    return subprocess.run(image.inside(*command), capture_output=True, check=False).returncode == 0


def _wait(done: Callable[[], bool], seconds: float, process: subprocess.Popen[bytes], what: str) -> None:
    until = time.monotonic() + seconds
    while not _quietly(done):
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            said = process.stdout.read().decode(errors="replace") if process.stdout else ""
            raise Failed(f"the daemon was never {what}: {said[-1500:]}")
        time.sleep(0.5)


def _quietly(done: Callable[[], bool]) -> bool:
    try:
        return done()
    except Exception:  # nothing is there yet
        return False


if __name__ == "__main__":
    print(_inside(Image(**{**(kept := json.loads(Path(sys.argv[1]).read_text())), "root": Path(kept["root"])})))
