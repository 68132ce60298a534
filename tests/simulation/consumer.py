"""A consumer with the part of aiokafka's surface that recovery uses, on the simulated network."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.structs import ConsumerRecord

from tests.simulation.broker import Broker
from tests.simulation.network import Network
from tests.simulation.producer import RETRIABLE
from tests.simulation.world import Process

_BACKOFF_S = 0.1
_OFFSETS_TIMEOUT_S = 40.0

#: Some records of a partition at most in one answer, so that recovery takes several.
_ANSWER_RECORDS_MAX = 50


class SimulatedConsumer:
    """Reads assigned partitions from where it is told to."""

    def __init__(
        self,
        process: Process,
        network: Network,
        broker: Broker,
        *,
        isolation_level: str = "read_uncommitted",
        group_id: str | None = None,
        **_options: Any,
    ) -> None:
        self._process = process
        self._network = network
        self._broker = broker
        self._group = group_id
        self._is_committed_only = isolation_level == "read_committed"
        self._positions: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Connect. Raises KafkaConnectionError."""
        await self._request("connect", lambda: None)

    async def stop(self) -> None:
        """Nothing to release."""

    def assign(self, places: Sequence[TopicPartition]) -> None:
        """Read these."""
        self._positions = {TopicPartition(*place): 0 for place in places}

    async def beginning_offsets(
        self, places: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """First offset of each. Raises KafkaTimeoutError."""
        return await self._offsets(lambda: {p: self._broker.log(*p).start for p in places})

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Offset after the last record of each, by isolation level. Raises KafkaTimeoutError."""
        return await self._offsets(lambda: {p: self._end(p) for p in places})

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Go on from an offset."""
        self._positions[place] = offset

    async def position(self, place: TopicPartition) -> int:
        """Offset of the next record."""
        return self._positions[place]

    async def committed(self, place: TopicPartition) -> int | None:
        """What the group has committed, after as many attempts as it takes."""
        assert self._group is not None
        key = (self._group, place.topic, place.partition)
        while True:
            try:
                found: int | None = await self._request(
                    "fetch_offset", lambda: self._broker.offsets.get(key)
                )
            except RETRIABLE:
                await asyncio.sleep(_BACKOFF_S)
            else:
                return found

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What there is of each; nothing when it does not arrive in time."""
        records_max = min(max_records, _ANSWER_RECORDS_MAX)
        positions = {place: self._positions[place] for place in places}

        def fetch() -> dict[TopicPartition, tuple[list[ConsumerRecord], int]]:
            return {
                place: self._broker.log(*place).read(
                    positions[place], records_max, committed=self._is_committed_only
                )
                for place in places
            }

        try:
            fetched = await asyncio.wait_for(self._request("fetch", fetch), timeout_ms / 1000)
        except (TimeoutError, KafkaError):
            await asyncio.sleep(_BACKOFF_S)
            return {}
        found = {}
        for place, (records, position) in fetched.items():
            self._positions[place] = position
            if records:
                found[place] = records
        return found

    def _end(self, place: TopicPartition) -> int:
        log = self._broker.log(*place)
        return log.stable_end if self._is_committed_only else log.end

    async def _offsets(
        self, action: Callable[[], dict[TopicPartition, int]]
    ) -> dict[TopicPartition, int]:
        deadline = self._process.world.now + _OFFSETS_TIMEOUT_S
        while True:
            try:
                found: dict[TopicPartition, int] = await self._request("list_offsets", action)
            except RETRIABLE as error:
                if self._process.world.now > deadline:
                    raise KafkaTimeoutError from error
                await asyncio.sleep(_BACKOFF_S)
            else:
                return found

    async def _request(self, name: str, action: Callable[[], Any]) -> Any:
        return await self._network.request(self._process, name, action)
