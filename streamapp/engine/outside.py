"""What the checkpoint protocol touches of the world: broker clients and the local store.

Real unless told otherwise. The simulator puts its own in their place, so that the very code that
runs on Kafka runs there too; time it gets from the event loop.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from streamapp.engine.local_state import condemn, open_or_begin_anew
from streamapp.engine.producer import Producer
from streamapp.engine.store import Store


async def no_topic_ids(_topics: Sequence[str]) -> Mapping[str, str]:
    """The ids of topics at a broker that gives none."""
    return {}


@dataclass(frozen=True, slots=True)
class Outside:
    """How to get a client (its options by name), the store of a directory, the ids of topics.

    open_store: from the directory and the name of the changelog it must be a copy of. condemn: has
    the next one set aside what stands in the directory, for a reason.
    """

    producer: Callable[..., Producer] = Producer
    consumer: Callable[..., AIOKafkaConsumer] = AIOKafkaConsumer
    open_store: Callable[[Path, str], Store] = open_or_begin_anew
    condemn: Callable[[Path, str], None] = condemn
    topic_ids: Callable[[Sequence[str]], Awaitable[Mapping[str, str]]] = no_topic_ids
