"""docker-compose.yml runs the same stack with public images.

What can be read of the file is checked everywhere. Whether docker accepts it is asked where there
is a docker client; starting it, with its images, is no part of the tests.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("authz", "ratelimit", "accesslog", "admin")
UNJUDGED = "docker-compose.yml was not shown to docker, and never ran here"
SECRET = {
    "TOLLKEEPER_TICKET_SECRET": "t" * 32,
    "TOLLKEEPER_GATEWAY_SECRET": "g" * 32,
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as YAML says it, merges applied."""
    document: dict[str, Any] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
    return document


def compose_client() -> list[str]:
    """``docker compose``; skips the test where the client cannot do that."""
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip(f"{UNJUDGED}: no docker client on this machine")
    version = subprocess.run([docker, "compose", "version"], check=False, capture_output=True)
    if version.returncode != 0:
        pytest.skip(f"{UNJUDGED}: the docker client here has no compose plugin")
    return [docker, "compose"]


def test_docker_accepts_the_file() -> None:
    """`docker compose config` finds nothing to complain about."""
    command = [*compose_client(), "-f", str(ROOT / "docker-compose.yml"), "config", "-q"]
    done = subprocess.run(command, check=False, env=SECRET, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_every_role_is_a_service_that_is_watched(compose: dict[str, Any]) -> None:
    """Each role is served after the migration, and each long-lived service has a health check."""
    services = compose["services"]
    assert [services[role]["command"] for role in ROLES] == [["serve", role] for role in ROLES]
    for role in ROLES:
        assert services[role]["depends_on"]["migrate"] == {
            "condition": "service_completed_successfully"
        }
    unwatched = {name for name, service in services.items() if "healthcheck" not in service}
    assert unwatched == {"migrate", "render"}


def test_only_loopback_is_published(compose: dict[str, Any]) -> None:
    """No port is open to other machines unless somebody changes the file."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_mounted_or_copied_is_in_the_tree(compose: dict[str, Any]) -> None:
    """Every file that the compose file mounts or the Dockerfile copies exists."""
    volumes = [v for service in compose["services"].values() for v in service.get("volumes", [])]
    mounted = {volume.partition(":")[0] for volume in volumes if volume.startswith("./")}
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if re.match(r"COPY (?!--from)", line)]
    copied = {name for names in copies for name in names}
    assert mounted
    assert copied
    assert {name for name in mounted | copied if not (ROOT / name).exists()} == set()
