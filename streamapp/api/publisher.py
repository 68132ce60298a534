"""Records into topics, each acknowledged: an awaitable face on one idempotent producer."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings

log = structlog.get_logger()

#: Records that wait for the broker at most; callers wait with them, so more would only time out.
_QUEUE_MESSAGES_MAX: Final = 20_000
_DELIVERY_TIMEOUT_MS: Final = 10_000
_POLL_S: Final = 0.1
_FLUSH_S: Final = 5.0

Headers = Sequence[tuple[str, str | bytes | None]]


class PublishError(Exception):
    """The broker did not take a record."""


class Publisher:
    """Publishes for one event loop; a thread of its own hands acknowledgements back to it."""

    def __init__(self, kafka: KafkaSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._producer = Producer(
            {
                **kafka.librdkafka(),
                **QUIET,
                "client.id": "streamapp-api",
                "enable.idempotence": True,
                # As Java's producers do: another partitioner would split a user's history.
                "partitioner": "murmur2_random",
                # A caller waits for each record; what comes together still travels together.
                "linger.ms": 1,
                "queue.buffering.max.messages": _QUEUE_MESSAGES_MAX,
                "delivery.timeout.ms": _DELIVERY_TIMEOUT_MS,
            }
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._thread.start()

    async def publish(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        """Return when the broker has it. Raises PublishError."""
        done: asyncio.Future[None] = self._loop.create_future()

        def delivered(error: KafkaError | None, _message: Message) -> None:
            self._loop.call_soon_threadsafe(_settle, done, error)

        try:
            self._producer.produce(topic, value, key, headers=list(headers), on_delivery=delivered)
        except (BufferError, KafkaException) as error:
            raise PublishError("the broker takes no more for now") from error
        await done

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        self._producer.flush(_FLUSH_S)
        self._stop.set()
        self._thread.join(_FLUSH_S)

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(_POLL_S)


def _settle(done: asyncio.Future[None], error: KafkaError | None) -> None:
    if done.done():  # its caller has gone
        return
    if error is None:
        done.set_result(None)
    else:
        log.warning("record_not_taken", error=error.name())
        done.set_exception(PublishError(f"the broker did not take it: {error.name()}"))
