"""The kinds of local broker, and the rooms that each of them has."""

from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Protocol

from streamapp.broker.container import Container
from streamapp.broker.process import Process


class BrokerKind(StrEnum):
    """What can be started as a local broker."""

    NOIDA = "noida"
    KAFKA = "kafka"
    REDPANDA = "redpanda"


class Server(Protocol):
    """How to start one kind of broker on this machine."""

    kind: ClassVar[BrokerKind]
    start_timeout_s: ClassVar[float]
    """From start until it answers: many times what was measured, for busy machines."""
    acks_survive_kill: ClassVar[bool]
    """Whether a record is there after SIGKILL from the moment it was acknowledged."""

    def version(self) -> str:
        """The version that would be started. Raises BrokerError if the kind is missing."""

    def start(self, port: int, data_dir: Path, log: Path) -> Process | Container:
        """Start it detached on the loopback; it may not answer yet.

        Raises BrokerError if something it needs is missing.
        """

    def configure(self, bootstrap_servers: str) -> None:
        """Once it answers: set what its kind can't be told at start."""

    def discard(self, data_dir: Path) -> None:
        """Delete its data."""
