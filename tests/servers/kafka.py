"""Which broker integration tests talk to."""

import os
import shutil
from dataclasses import dataclass

from streamapp.broker import BrokerKind, LocalBroker
from streamapp.broker.network import answers_metadata
from tests.servers.docker import docker_answers

VARIABLE = "STREAMAPP_TEST_BROKER"
ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class GivenBroker:
    """A broker that somebody else runs: to be used, not to be stopped."""

    bootstrap_servers: str
    kind: str = "given"
    version: str = "unknown"
    acks_survive_kill: bool = True

    def kill(self) -> None:
        """Refused."""
        raise RuntimeError(f"this test kills its broker: unset {VARIABLE} or name a kind in it")

    def restart(self) -> None:
        """Refused."""
        self.kill()

    def stop(self) -> None:
        """Leaves it alone."""


def start_broker() -> LocalBroker | GivenBroker:
    """The broker that STREAMAPP_TEST_BROKER names, else the nearest to production there is.

    The variable holds noida, kafka, redpanda or host:port. Raises if that one can't be had.
    """
    wanted = os.environ.get(VARIABLE) or nearest_kind()
    if ":" in wanted:
        if not answers_metadata(wanted, ANSWER_TIMEOUT_S):
            raise RuntimeError(f"no broker answers at {wanted}: mend or unset {VARIABLE}")
        return GivenBroker(wanted)
    if wanted not in list(BrokerKind):
        raise RuntimeError(f"{VARIABLE}={wanted}: say noida, kafka, redpanda or host:port")
    return LocalBroker.start(wanted)


def nearest_kind() -> BrokerKind:
    """Apache Kafka where Java and Maven are, else Redpanda where Docker is, else noida-db."""
    if shutil.which("java") and shutil.which("mvn"):
        return BrokerKind.KAFKA
    return BrokerKind.REDPANDA if docker_answers() else BrokerKind.NOIDA
