"""Three hosts share the flows: one is cut off and comes back, one is moved; nothing is lost.

Each host is a network namespace with a cable of its own to a switch, behind which the Integrator and Postgres are.
While runs start, go on and finish, the cable of one host is pulled for longer than a lease lasts and put back;
another's daemon is ended and goes on elsewhere. Then the archive is compared with the truth. Needs root.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from archiver import embedded
from archiver.demo.flows import FlowShape, flow_named
from archiver.demo.world import World
from archiver.store.leases import SECONDS as LEASE
from tests.real.place import Place, Skipped, apt, must, run
from tests.system.story import Story, told

ROOT = Path(__file__).parent.parent.parent
SWITCH = "10.77.0.1"


def probe(place: Place) -> str:
    """In namespaces of its own, so that nothing is left behind."""
    if os.geteuid() != 0:
        raise Skipped("only root can make network namespaces")
    apt("iproute2", "util-linux")
    own = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    return run([*own, sys.executable, "-m", "tests.real.hosts"], cwd=ROOT).decode().strip()


class Host:
    """A namespace with a cable to the switch, and the daemon that works there."""

    def __init__(self, number: int, folder: Path) -> None:
        self.name = f"host{number}"
        self._cable = f"cable{number}"
        self._log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        for command in (
            f"ip netns add {self.name}",
            f"ip link add {self._cable} type veth peer name eth0 netns {self.name}",
            f"ip link set {self._cable} master switch up",
            f"ip -n {self.name} address add 10.77.0.{number + 10}/24 dev eth0",
            f"ip -n {self.name} link set eth0 up",
            f"ip -n {self.name} link set lo up",
        ):
            run(command.split())

    def start(self, config: Path) -> None:
        within = [
            "ip",
            "netns",
            "exec",
            self.name,
            "unshare",
            "--uts",
            "sh",
            "-c",
            f'hostname {self.name}; exec "$0" "$@"',
        ]
        command = [*within, sys.executable, "-m", "archiver", "--config", str(config), "run"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def end(self) -> None:
        """By SIGTERM: status 0, within ten seconds."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(30)
        took = time.monotonic() - began
        must(status == 0 and took < 10, f"{self.name} ended with {status} after {took:.1f} s: {self.tail()}")

    def cut(self) -> None:
        run(["ip", "link", "set", self._cable, "down"])

    def mend(self) -> None:
        run(["ip", "link", "set", self._cable, "up"])

    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def turns(self) -> int:
        """How many turns it has had that archived without an error."""
        found = 0
        for line in self._log.read_text().splitlines() if self._log.exists() else ():
            with suppress(ValueError):
                said = json.loads(line)
                found += said.get("event") == "pass" and not said.get("errors")
        return found

    def tail(self) -> str:
        return self._log.read_text()[-1500:] if self._log.exists() else "never started"


class Forwarder:
    """What the switch shows of a port on its loopback."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server((SWITCH, 0), backlog=256)
        self.address = f"{SWITCH}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._port))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Clock:
    """The world's: it goes on until it is told to stand still."""

    stands: datetime | None = None

    def __call__(self) -> datetime:
        return self.stands or datetime.now(UTC)


def flows() -> list[FlowShape]:
    """Busy ones, more than one for each host."""
    habits = {"price": (20, 60), "stock": (30, 120), "order": (10, 5)}
    return [
        replace(flow_named(f"{kind} {number}", kind), every=timedelta(seconds=every), lines=lines, failed=0.15)
        for kind, (every, lines) in habits.items()
        for number in (1, 2, 3)
    ]


def main() -> str:
    Path("/run/netns").mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"])  # the names of the hosts are nobody else's business
    for command in ("ip link set lo up", "ip link add switch type bridge", f"ip address add {SWITCH}/24 dev switch"):
        run(command.split())
    run(["ip", "link", "set", "switch", "up"])
    clock, shapes = Clock(), flows()
    world = World(clock, start=datetime.now(UTC) - timedelta(minutes=5), flows=shapes, seed=7)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="archiver-hosts-")))
        folder.chmod(0o711)
        dsn = stack.enter_context(embedded.running(folder / "postgres"))
        story = stack.enter_context(told(folder, dsn, flows=shapes, world=world))
        config = _configure(story, dsn)
        hosts = [Host(number, folder) for number in (1, 2, 3, 4)]
        return _story(story, hosts, config, clock)


def _configure(story: Story, dsn: str) -> Path:
    """The addresses as the hosts see them."""
    path = story.configure(every="2s", settle="3s", lateness="30s")
    config = json.loads(path.read_text())
    postgres = urlsplit(dsn)
    integrator = Forwarder(urlsplit(story.server.base_url).port or 0)
    database = Forwarder(postgres.port or 0)
    config["integrators"]["make-believe"]["base_url"] = f"http://{integrator.address}"
    config["database"]["url"] = dsn.replace(f"{postgres.hostname}:{postgres.port}", database.address)
    path.write_text(json.dumps(config))
    return path


def _story(story: Story, hosts: Sequence[Host], config: Path, clock: Clock) -> str:
    cut, moved, calm, spare = hosts
    for host in (cut, moved, calm):
        host.start(config)
    _wait(lambda: all(host.turns() > 3 for host in (cut, moved, calm)), 150, "three hosts at work", hosts)
    cut.cut()
    _wait(lambda: not _held_by(story, cut), LEASE + 15, "the leases of the host that is cut off given up", hosts)
    before = dict(story.query(_PASSES))
    had = cut.turns()
    _wait(
        lambda: all(passes > before.get(key, 0) for key, passes in story.query(_PASSES)), 60, "all flows go on", hosts
    )
    must(cut.turns() == had, "the host that is cut off had a turn")
    must(cut.lives(), f"the daemon that was cut off has ended: {cut.tail()}")
    cut.mend()
    _wait(lambda: cut.turns() > had + 2, 90, "the host that was cut off at work again", hosts)
    moved.end()
    spare.start(config)
    _wait(lambda: spare.turns() > 2, 60, "the daemon at work on another host", hosts)
    clock.stands = datetime.now(UTC)
    _wait(lambda: not story.differences(), 180, "equal to the truth", hosts, pause=3.0)
    shares = {host.name: host.turns() for host in hosts}
    ((runs, lines),) = story.query("SELECT (SELECT count(*) FROM archive.run), (SELECT count(*) FROM archive.line)")
    for host in (cut, calm, spare):
        host.end()
    return f"{runs} runs and {lines} lines equal to the truth; turns by host: {shares}"


_PASSES = "SELECT flow_key, count(*) FILTER (WHERE outcome IS NOT NULL) FROM archive.pass GROUP BY 1"


def _held_by(story: Story, host: Host) -> bool:
    return bool(
        story.query(
            "SELECT 1 FROM archive.checkpoint"
            f" WHERE lease_owner LIKE '{host.name}:%' AND lease_until > clock_timestamp()"
        )
    )


def _wait(done: Callable[[], bool], seconds: float, what: str, hosts: Sequence[Host], pause: float = 0.5) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            logs = "\n".join(f"{host.name}: {host.tail()}" for host in hosts)
            raise SystemExit(f"not within {seconds:.0f} s: {what}\n{logs}")
        time.sleep(pause)


if __name__ == "__main__":
    print(main())
