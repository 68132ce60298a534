"""What a partition writes to Kafka: verdicts and dead letters at once, state at checkpoints.

The narrow protocol between the checkpoint and the broker, and its at-least-once form.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaProducer

Header = tuple[str, bytes]

#: A batch is sent before it grows past this: a broker's default limit is 1,048,588 bytes.
BATCH_BYTES: Final = 1_000_000

#: One record may be larger: a refused message of the broker's largest size, with our headers.
#: Topics that take such records are created with this limit.
RECORD_BYTES_MAX: Final = 2 * 1024 * 1024


class LogError(Exception):
    """The broker did not take what must not be lost; the partition can't go on."""


class PartitionLog(Protocol):
    """Where one source partition's output goes, in the order it is appended."""

    async def append(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes | None, list[Header]]]
    ) -> None:
        """Send (key, value, headers) to the topic's partition of the same number."""

    async def flush(self) -> None:
        """Return when the broker has everything appended before. Raises LogError."""

    async def append_state(self, items: Sequence[tuple[bytes, bytes]]) -> int:
        """Append (key, value) to the changelog, all or nothing; the last one's offset."""


class AtLeastOnceLog:
    """An idempotent producer without transactions."""

    def __init__(
        self, producer: AIOKafkaProducer, partition: int, changelog: str, timeout_s: float
    ) -> None:
        self._producer = producer
        self._partition = partition
        self._changelog = changelog
        self._timeout_s = timeout_s
        self._unconfirmed: list[asyncio.Future[Any]] = []

    async def append(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes | None, list[Header]]]
    ) -> None:
        """Send (key, value, headers), in as few record batches as their size allows."""
        now_ms = int(time.time() * 1000)
        builder = self._producer.create_batch()
        for key, value, headers in records:
            if builder.size() + len(value or b"") > BATCH_BYTES and builder.record_count():
                await self._send(builder, topic)
                builder = self._producer.create_batch()
            if builder.append(timestamp=now_ms, key=key, value=value, headers=headers) is None:
                raise LogError(f"a record for {topic} is over {RECORD_BYTES_MAX} bytes")
        if builder.record_count():
            await self._send(builder, topic)

    async def _send(self, builder: Any, topic: str) -> None:
        future = await self._producer.send_batch(builder, topic, partition=self._partition)
        self._unconfirmed.append(future)

    async def flush(self) -> None:
        """Wait for the broker to confirm what was appended before. Raises LogError."""
        waiting, self._unconfirmed = self._unconfirmed, []
        if not waiting:
            return
        done, pending = await asyncio.wait(waiting, timeout=self._timeout_s)
        if pending:
            raise LogError(f"the broker has not confirmed output for {self._timeout_s:.0f} s")
        for future in done:
            if error := future.exception():
                raise LogError(f"the broker refused output: {error}") from error

    async def append_state(self, items: Sequence[tuple[bytes, bytes]]) -> int:
        """Append the items as one record batch, which Kafka stores whole or not at all."""
        builder = self._producer.create_batch()
        now_ms = int(time.time() * 1000)
        for key, value in items:
            if builder.append(timestamp=now_ms, key=key, value=value) is None:
                raise LogError(f"{len(items)} state records do not fit {RECORD_BYTES_MAX} bytes")
        future = await self._producer.send_batch(
            builder, self._changelog, partition=self._partition
        )
        try:
            metadata = await asyncio.wait_for(future, self._timeout_s)
        except Exception as error:
            raise LogError(f"the broker refused state: {error}") from error
        return int(metadata.offset) + len(items) - 1
