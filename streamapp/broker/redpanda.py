"""Redpanda in a container, where a Docker engine answers."""

import hashlib
from pathlib import Path
from typing import ClassVar

from streamapp.broker.container import Container, docker_client
from streamapp.broker.kinds import BrokerKind
from streamapp.broker.network import LOOPBACK

IMAGE = "redpandadata/redpanda"
VERSION = "v25.3.9"
DATA_IN_CONTAINER = "/var/lib/redpanda/data"


class Redpanda:
    """Starts Redpanda through Docker."""

    kind: ClassVar[BrokerKind] = BrokerKind.REDPANDA
    start_timeout_s: ClassVar[float] = 90.0
    acks_survive_kill: ClassVar[bool] = True

    def version(self) -> str:
        """The tag of the image."""
        return VERSION

    def start(self, port: int, data_dir: Path, log: Path) -> Container:
        """Run the image; its output stays with Docker and `log` names where."""
        started = docker_client().containers.run(
            f"{IMAGE}:{VERSION}",
            _command(port),
            detach=True,
            remove=True,
            ports={"9092/tcp": (LOOPBACK, port)},
            volumes={_volume(data_dir): {"bind": DATA_IN_CONTAINER, "mode": "rw"}},
        )
        log.write_text(f"see `docker logs {started.short_id}`\n")
        return Container(container=started.id)

    def configure(self, bootstrap_servers: str) -> None:
        """Nothing: all was told at start."""

    def discard(self, data_dir: Path) -> None:
        """Delete its volume."""
        for volume in docker_client().volumes.list(filters={"name": _volume(data_dir)}):
            volume.remove()


def _command(port: int) -> list[str]:
    return [
        *("redpanda", "start", "--mode", "dev-container", "--smp", "1", "--memory", "1G"),
        *("--kafka-addr", "PLAINTEXT://0.0.0.0:9092"),
        *("--advertise-kafka-addr", f"PLAINTEXT://{LOOPBACK}:{port}"),
        *("--set", "redpanda.auto_create_topics_enabled=false"),
    ]


def _volume(data_dir: Path) -> str:
    """The name of the volume that belongs to this directory."""
    return f"streamapp-redpanda-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]}"
