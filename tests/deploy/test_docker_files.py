"""Dockerfile and compose file name only what exists: files, commands, settings, metrics.

No Docker engine is asked, so these hold on every machine.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamapp.cli.main import app
from streamapp.cli.settings import known_variables
from tests.deploy.cli_tree import unknown_word

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: s for name, s in SERVICES.items() if s.get("image", "").startswith("streamapp:")}
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PASSWORDS = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)


def _instructions(keyword: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{keyword} (.+)$", joined, re.MULTILINE)


def test_there_is_something_to_check() -> None:
    """The lists the tests below run over are not empty."""
    sinks = {"sink-alerts", "sink-postgres", "sink-parquet", "sink-redis"}
    assert {"api", "severity", "worker"} | sinks == set(OURS)
    assert {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD"} <= set(PASSWORDS)


def test_dockerfile_passes_its_linter() -> None:
    """hadolint, pinned with the other tools, finds nothing."""
    hadolint = Path(sys.executable).with_name("hadolint")
    outcome = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("copy", [c for c in _instructions("COPY") if "--from" not in c])
def test_copied_files_exist_and_are_sent(copy: str) -> None:
    """Whatever the Dockerfile copies is in the tree and let through by .dockerignore."""
    let_through = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for source in copy.split()[:-1]:
        assert (ROOT / source).exists()
        assert f"!{source}" in let_through


def test_image_does_not_run_as_root() -> None:
    """The last USER of the image is a number other than 0."""
    assert _instructions("USER")[-1] == "10001:10001"


@pytest.mark.parametrize("name", sorted(OURS))
def test_commands_exist(name: str) -> None:
    """Each of our services runs a command that `streamapp --help` knows."""
    assert unknown_word(app, SERVICES[name]["command"]) is None


@pytest.mark.parametrize("name", sorted(OURS))
def test_settings_exist(name: str) -> None:
    """Each STREAMAPP_ variable of a service is a setting; none is silently ignored."""
    given = {v for v in SERVICES[name]["environment"] if v.startswith("STREAMAPP_")}
    assert given
    assert set() == given - set(known_variables())


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_are_confined(name: str) -> None:
    """No root, no writable image, no capabilities, and a bounded log."""
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OURS)))
def test_other_images_are_pinned(name: str) -> None:
    """Third-party images name an exact version, so that a pull next year gets the same."""
    assert re.search(r":v?\d+\.\d+\.\d+|:\d+\.\d+-", SERVICES[name]["image"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_on_loopback(name: str) -> None:
    """Nothing is opened to the network without someone asking for it."""
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_volumes_exist(name: str) -> None:
    """Mounted files are in the tree, named volumes are declared."""
    for volume in SERVICES[name].get("volumes", []):
        source, colon, _ = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists()
        elif colon:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_dependencies_are_waited_for(name: str) -> None:
    """A service that others wait for can be seen to be healthy."""
    for other, rule in SERVICES[name].get("depends_on", {}).items():
        assert rule == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


def test_passwords_come_from_the_environment() -> None:
    """Every variable the file asks for is in .env.example, and it gives no default."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    asked = re.findall(r"(?<!\$)\$\{(\w+)(:\?)?", text)
    assert {(name, ":?") for name in PASSWORDS} == set(asked)


def test_compose_itself_accepts_the_file() -> None:
    """Where a compose command is installed, it reads the file."""
    standalone = shutil.which("docker-compose")
    command = [standalone] if standalone else ["docker", "compose"]
    plugin = shutil.which("docker") and subprocess.run(
        [*command, "version"], capture_output=True, check=False, timeout=60
    )
    if not (standalone or (plugin and plugin.returncode == 0)):
        assert set(COMPOSE) >= {"services", "volumes"}
        return
    outcome = subprocess.run(
        [*command, "--file", ROOT / "docker-compose.yml", "config", "--quiet"],
        env=os.environ | dict.fromkeys(PASSWORDS, "secret"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert outcome.returncode == 0, outcome.stderr
