"""Who owns which partition, and where to ask: read from the workers' group at the broker.

A worker's client id carries the port (and host, where it is set) of its HTTP server; the broker
knows the host it connects from. So there is no register to keep.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from streamapp.engine.settings import WorkerSettings

CLIENT: Final = "streamapp-worker"


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the broker describes it; its assignment in the protocol's bytes."""

    client_id: str
    host: str
    assignment: bytes


def member_name(settings: WorkerSettings, port: int | None) -> str:
    """The client id of a worker that serves HTTP on this port, if on any."""
    if port is None or settings.api_secret is None:
        return CLIENT
    return f"{CLIENT}@{settings.advertised_host or ''}@{port}"


def owners(members: Iterable[Member], topic: str) -> dict[int, str]:
    """Address (`http://host:port`) of the owner of each partition that says where to ask."""
    found: dict[int, str] = {}
    for member in members:
        client, _, address = member.client_id.partition("@")
        host, _, port = address.rpartition("@")
        if client == CLIENT and port.isdigit():
            url = f"http://{_bracketed(host or member.host.lstrip('/'))}:{port}"
            found |= dict.fromkeys(_partitions(member.assignment, topic), url)
    return found


def _partitions(assignment: bytes, topic: str) -> list[int]:
    if not assignment:  # while the group rebalances
        return []
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return [tp.partition for tp in decoded.partitions() if tp.topic == topic]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
