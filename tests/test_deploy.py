"""What `deploy/` and the Dockerfile say, held against the code: commands, settings, ports, paths, names of secrets."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import termios
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver.config import Config, load
from archiver.web import operations
from tests import commands

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROBES = {route.path for route in operations.routes()}


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def manifests() -> Iterator[tuple[str, Any]]:
    for name in documents(DEPLOY / "kubernetes" / "kustomization.yaml")[0]["resources"]:
        for one in documents(DEPLOY / "kubernetes" / name):
            yield name, one


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, comments and line breaks taken out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(one.split(None, 1)[0], one.split(None, 1)[1].strip()) for one in text.splitlines() if one.strip()]


def of_image(name: str) -> list[str]:
    return [text for one, text in instructions() if one == name]


def as_deployed(path: Path, tmp_path: Path) -> tuple[Config, set[str]]:
    """A configuration as it is read where it is deployed, and the names of the secrets' files that it wants."""
    text = path.read_text()
    secrets = set(re.findall(r"_file: \S*/(\w+)$", text, re.MULTILINE))
    values = {"database_url": "postgresql://me:secret@db/archiver", "web_tokens": "0123456789abcdef"}
    for name in secrets:
        (tmp_path / name).write_text(values.get(name, "secret") + "\n")
    rewritten = tmp_path / "config.yaml"
    rewritten.write_text(re.sub(r"_file: \S*/(\w+)$", rf"_file: {tmp_path}/\1", text, flags=re.MULTILINE))
    return load(rewritten, {"INTEGRATOR_USERNAME": "me@example.com"}), secrets


# --- the image ---


def test_the_image_runs_the_archiver_itself_as_nobody_in_particular() -> None:
    assert of_image("ENTRYPOINT") == ['["archiver"]'], "no shell in between: SIGTERM goes to the process"
    assert commands.problem(yaml.safe_load(of_image("CMD")[0])) is None
    (user,) = of_image("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert f"useradd --uid {user.split(':')[0]}" in " ".join(of_image("RUN"))
    assert of_image("STOPSIGNAL") == ["SIGTERM"]


def test_the_image_asks_a_path_and_a_port_that_there_are() -> None:
    (check,) = of_image("HEALTHCHECK")
    match = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", check)
    assert match is not None
    assert match[1] == of_image("EXPOSE")[0]
    assert match[2] in PROBES


def test_the_image_is_built_from_what_there_is() -> None:
    """Every path that is copied exists, is not kept out by .dockerignore, and every extra is one of the project's."""
    (extras,) = of_image("ARG")
    assert extras.startswith("EXTRAS=")
    assert set(extras.removeprefix("EXTRAS=").split(",")) <= set(PROJECT["optional-dependencies"])
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for copied in of_image("COPY"):
        *sources, _ = copied.split()
        if not sources[0].startswith("--from="):
            assert set(sources) <= let_in
            assert all((ROOT / source).exists() for source in sources)
    assert PROJECT["readme"] in let_in
    assert set(PROJECT["license-files"]) <= let_in


# --- configurations ---


@pytest.mark.parametrize("where", ["config.yaml", "systemd/config.yaml", "kubernetes/config.yaml"])
def test_every_configuration_is_one(where: str, tmp_path: Path) -> None:
    config, _ = as_deployed(DEPLOY / where, tmp_path)
    assert [flow.name for flow in config.flows] == ["price", "stock"]
    assert config.database.url is not None
    assert config.data_dir == Path("/var/lib/archiver")
    assert config.web is not None
    assert str(config.web.port) == of_image("EXPOSE")[0]
    assert "secret" not in repr(config)


def test_init_writes_the_example() -> None:
    template = (ROOT / "archiver" / "config" / "template.yaml").read_text()
    assert (ROOT / "config.example.yaml").read_text() == template


# --- Compose ---


def test_compose_mounts_what_there_is_and_what_the_configuration_wants(tmp_path: Path) -> None:
    _, wanted = as_deployed(DEPLOY / "config.yaml", tmp_path)
    (compose,) = documents(DEPLOY / "compose.yaml")
    services = compose["services"]
    for service in services.values():
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose["volumes"]
        for before in service.get("depends_on", ()):
            assert before in services
    assert wanted <= set(services["archiver"]["secrets"])
    assert wanted <= set(services["dashboard"]["secrets"])
    version = PROJECT["version"]
    assert services["archiver"]["image"] == services["dashboard"]["image"] == f"archiver:{version}"
    assert services["archiver"]["read_only"]
    assert f"uid={of_image('USER')[0].split(':')[0]}" in " ".join(services["archiver"]["tmpfs"])
    (called,) = services["dashboard"]["command"]
    calls = list(commands.in_shell(called))
    assert [call[:2] for call in calls] == [["bi", "grant"], ["bi", "grafana"]]
    assert [commands.problem(call) for call in calls] == [None, None]


def test_grafana_finds_its_data_source_and_its_dashboards() -> None:
    (compose,) = documents(DEPLOY / "compose.yaml")
    (called,) = compose["services"]["dashboard"]["command"]
    grant, grafana = commands.in_shell(called)
    (source,) = documents(DEPLOY / "grafana" / "datasource.yaml")[0]["datasources"]
    assert source["uid"] == grafana[grafana.index("--source") + 1]
    assert source["user"] == grant[2]
    assert source["secureJsonData"]["password"] == "$__file{/run/secrets/grafana_reader}"
    assert source["jsonData"]["database"] == compose["services"]["postgres"]["environment"]["POSTGRES_DB"]
    (folder,) = documents(DEPLOY / "grafana" / "dashboards.yaml")[0]["providers"]
    mounts = [one.split(":") for one in compose["services"]["grafana"]["volumes"]]
    assert folder["options"]["path"] in [mount[1] for mount in mounts]


def test_secrets_are_made_once_and_stay(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "secrets.sh", tmp_path)
    environ = {"PATH": os.environ["PATH"], "INTEGRATOR_PASSWORD": "p@ss word"}
    made = [_secrets(script, environ) for _ in range(2)]
    assert made[0] == made[1]
    (compose,) = documents(DEPLOY / "compose.yaml")
    assert {f"./secrets/{name}" for name in made[0]} == {one["file"] for one in compose["secrets"].values()}
    assert made[0]["integrator_password"] == "p@ss word\n"
    assert made[0]["postgres_password"] in made[0]["database_url"]
    alone = [made[0][name] for name in ("postgres_password", "web_tokens", "grafana_reader", "grafana_admin")]
    assert len(set(alone)) == 4
    assert min(map(len, alone)) >= 40
    folder = tmp_path / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o644}


def _secrets(script: str | Path, environ: dict[str, str]) -> dict[str, str]:
    subprocess.run(["sh", script], env=environ, check=True, capture_output=True)
    return {file.name: file.read_text() for file in (Path(script).parent / "secrets").iterdir()}


def test_secrets_are_not_asked_for_without_a_terminal(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "secrets.sh", tmp_path)
    done = subprocess.run(
        ["sh", script], env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"INTEGRATOR_PASSWORD" in done.stderr


def test_who_leaves_at_the_password_has_a_terminal_that_echoes(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "secrets.sh", tmp_path)
    terminal, line = pty.openpty()
    process = subprocess.Popen(["sh", script], env={"PATH": os.environ["PATH"]}, stdin=line, stderr=subprocess.DEVNULL)
    try:
        _wait_for(lambda: not termios.tcgetattr(line)[3] & termios.ECHO)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert termios.tcgetattr(line)[3] & termios.ECHO
    finally:
        process.kill()
        os.close(terminal)
        os.close(line)
    assert list((tmp_path / "secrets").iterdir()) == []


def _wait_for(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- systemd ---


def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / "archiver.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_starts_what_there_is_with_the_secrets_that_the_configuration_wants(tmp_path: Path) -> None:
    one = unit()
    program, *words = one["ExecStart"][0].split()
    assert Path(program).name in PROJECT["scripts"]
    assert commands.problem(words) is None
    assert one["Type"] == ["notify"]
    assert one["User"] == ["archiver"]
    assert (DEPLOY / "systemd" / "archiver.sysusers").read_text().splitlines()[1].split()[:2] == ["u", "archiver"]
    _, wanted = as_deployed(DEPLOY / "systemd" / "config.yaml", tmp_path)
    assert {one.split(":")[0] for one in one["LoadCredential"]} == wanted
    names = set(re.findall(r"^(\w+)=", (DEPLOY / "systemd" / "environment").read_text(), re.MULTILINE))
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "systemd" / "config.yaml").read_text()))
    assert used - {"CREDENTIALS_DIRECTORY"} == names


def test_by_hand_the_archiver_is_what_the_unit_starts() -> None:
    by_hand = DEPLOY / "systemd" / "archiver-admin"
    text, one = by_hand.read_text(), unit()
    assert os.access(by_hand, os.X_OK)
    assert f'exec {one["ExecStart"][0].split()[0]} "$@"' in text
    assert one["Environment"][0].split()[0] in text.splitlines()
    assert one["EnvironmentFile"][0].removeprefix("-") in text


def test_the_unit_gives_the_daemon_the_time_that_it_needs() -> None:
    from archiver.daemon import signals

    one = unit()
    assert float(one["TimeoutStopSec"][0]) > signals.GRACE
    assert one["TimeoutStartSec"] == ["infinity"], "a migration may take long"
    assert int(one["WatchdogSec"][0]) >= 30


# --- Kubernetes ---


def pod(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    (found,) = [one["spec"]["template"]["spec"] for file, one in manifests() if file == name]
    (container,) = found["containers"]
    return found, container


@pytest.mark.parametrize("name", ["deployment.yaml", "migrate.yaml"])
def test_pods_run_what_there_is_as_the_user_of_the_image(name: str) -> None:
    spec, container = pod(name)
    assert commands.problem(container["args"]) is None
    assert f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" == of_image("USER")[0]
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    volumes = {one["name"] for one in spec["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} == volumes
    paths = {one["mountPath"] for one in container["volumeMounts"]}
    assert {"/tmp", "/var/lib/archiver"} <= paths


def test_probes_ask_paths_and_ports_that_there_are(tmp_path: Path) -> None:
    _, container = pod("deployment.yaml")
    config, wanted = as_deployed(DEPLOY / "kubernetes" / "config.yaml", tmp_path)
    assert config.web is not None
    assert {one["name"]: one["containerPort"] for one in container["ports"]} == {"http": config.web.port}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in PROBES
        assert container[probe]["httpGet"]["port"] == "http"
    assert wanted == {"database_url", "integrator_password", "web_tokens"}


def test_the_job_migrates_as_the_owner_with_the_flows_of_the_daemon(tmp_path: Path) -> None:
    spec, container = pod("migrate.yaml")
    volumes = {one["name"]: one for one in spec["volumes"]}
    owner, daemon = (one["secret"] for one in volumes["secrets"]["projected"]["sources"])
    assert (owner["name"], daemon["name"], "items" in owner) == ("archiver-owner", "archiver", False)
    of_daemon = {one["path"] for one in daemon["items"]}
    mounted = {"database_url", "writer_password"} | of_daemon
    assert "database_url" not in of_daemon
    assert volumes["config"]["configMap"] == {"name": "archiver-migrate"}
    assert "env" not in container
    text = (DEPLOY / "kubernetes" / "config.yaml").read_text()
    folder = next(one["mountPath"] for one in container["volumeMounts"] if one["name"] == "secrets")
    assert f"{folder}/writer_password" in container["args"]
    for name in mounted:
        (tmp_path / name).write_text(
            "postgresql://owner:secret@db/archiver" if name == "database_url" else "0123456789"
        )
    path = tmp_path / "config.yaml"
    path.write_text(text.replace(folder, str(tmp_path)))
    config = load(path, {}, logins=False)
    assert config.database.url is not None
    assert [flow.search_fields for flow in config.flows] == [(), ("sku",)]


def test_selectors_select() -> None:
    kinds = {one["kind"]: one for _, one in manifests()}
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert kinds["Deployment"]["spec"]["replicas"] >= 2
    for selector in (
        kinds["Deployment"]["spec"]["selector"]["matchLabels"],
        kinds["Service"]["spec"]["selector"],
        kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    (kustomization,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    assert kustomization["images"][0]["newTag"] == PROJECT["version"]
    assert kustomization["configMapGenerator"][0]["files"] == ["config.yaml"]
