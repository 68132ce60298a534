"""A local broker that speaks Kafka, without Docker: for the demo, tests and development."""

from streamapp.broker.errors import BrokerError
from streamapp.broker.kinds import BrokerKind
from streamapp.broker.local import LocalBroker

__all__ = ["BrokerError", "BrokerKind", "LocalBroker"]
