"""What the checkpoint protocol touches of the world: broker clients and the local store.

Real unless told otherwise. The simulator puts its own in their place, so that the very code that
runs on Kafka runs there too; time it gets from the event loop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streamapp.engine.store import StateStore, Store


@dataclass(frozen=True, slots=True)
class Outside:
    """How to get a client (its options by name) and the store of a directory."""

    producer: Callable[..., AIOKafkaProducer] = AIOKafkaProducer
    consumer: Callable[..., AIOKafkaConsumer] = AIOKafkaConsumer
    open_store: Callable[[Path], Store] = StateStore
