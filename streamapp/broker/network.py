"""Ports of this machine, and the few requests that starting a broker takes."""

import collections
import itertools
import os
import socket

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streamapp.broker.errors import BrokerError

LOOPBACK = "127.0.0.1"
REQUEST_TIMEOUT_S = 10.0

# Below the ports that Linux and macOS give to outgoing connections: while a killed broker is
# away, a client that keeps trying to reach it could otherwise be given its port and hold it.
PORT_MIN = 20_000
PORT_MAX = 32_000
_PORTS = itertools.cycle(range(PORT_MIN, PORT_MAX))
# Processes that run at the same time begin at different places.
collections.deque(itertools.islice(_PORTS, os.getpid() * 101 % (PORT_MAX - PORT_MIN)), maxlen=0)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now, another one at each call."""
    for port in itertools.islice(_PORTS, PORT_MAX - PORT_MIN):
        if is_port_free(port):
            return port
    raise BrokerError(f"no port from {PORT_MIN} to {PORT_MAX} is free: name one with --port")


def is_port_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection of the last one in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def answers_metadata(bootstrap_servers: str, timeout_s: float) -> bool:
    """Whether the broker answers a metadata request and names itself as member of its cluster."""
    try:
        return bool(_admin(bootstrap_servers).list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False


def set_broker_option(bootstrap_servers: str, node: str, name: str, value: str) -> None:
    """Change a setting of a running broker. Raises BrokerError if it won't be changed."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.BROKER, node, incremental_configs=[entry])
    client = _admin(bootstrap_servers)  # has to live until the answer is there
    try:
        client.incremental_alter_configs([resource])[resource].result(REQUEST_TIMEOUT_S)
    except (KafkaException, TimeoutError) as error:
        raise BrokerError(f"the broker at {bootstrap_servers} refuses {name}: {error}") from error


def _admin(bootstrap_servers: str) -> AdminClient:
    return AdminClient(
        {
            "bootstrap.servers": bootstrap_servers,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,  # refused connections are what we wait out, not news
        }
    )
