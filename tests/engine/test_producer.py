"""How long the engine's producer waits for a broker, on a real one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from streamapp.engine.producer import Producer
from streamapp.engine.record_batch import Messages, RecordBatch
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics
from tests.engine.running import run_async, until
from tests.kafka.conftest import Broker

pytestmark = pytest.mark.integration

PARTITIONS = 5


@pytest.fixture
def kafka(kafka_broker: Broker) -> KafkaSettings:
    """How to reach the session's broker."""
    return KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)


@pytest.fixture
def topic(kafka: KafkaSettings, topic_prefix: str) -> str:
    """A topic that no other test uses."""
    ensure_topics(kafka, [TopicPlan(f"{topic_prefix}out", PARTITIONS)], 1)
    return f"{topic_prefix}out"


class SlowAnswers:
    """Between a producer and its broker: answers to what was produced come when they may."""

    def __init__(self, producer: Producer) -> None:
        self.asked = 0
        self.may_come = asyncio.Event()
        self._send: Callable[..., Awaitable[Any]] = producer.client.send
        producer.client.send = self.send

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        """Pass a request on."""
        self.asked += 1
        answer = await self._send(node, request, **options)
        await self.may_come.wait()
        return answer


async def send(producer: Producer, topic: str, partition: int, value: bytes) -> Any:
    """Hand over a record; the future of its confirmation."""
    messages = Messages.of([(b"key", value, ())])
    batch = RecordBatch([messages], 0, is_transactional=False)
    return await producer.send_batch(batch, topic, partition=partition)


async def sent(
    kafka: KafkaSettings, topic: str, values: Sequence[tuple[int, bytes]], requests: int
) -> list[tuple[int, int]]:
    """Where records went, one by one, behind each partition's first; so many requests wait."""
    producer = Producer(**kafka.aiokafka(), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        # A topic just made may have no leaders yet; what is sent a second time would be counted.
        for partition in range(PARTITIONS):
            await (await send(producer, topic, partition, b"first"))
        answers, confirmations = SlowAnswers(producer), []
        for partition, value in values:
            sending = asyncio.ensure_future(send(producer, topic, partition, value))
            confirmations.append(sending)
            await asyncio.sleep(0.05)
        await until(lambda: answers.asked == requests)
        answers.may_come.set()
        places = [await (await one) for one in confirmations]
    finally:
        await producer.stop()
    assert answers.asked < len(places), "what waited for an answer goes with the next request"
    return [(place.partition, place.offset) for place in places]


def test_partitions_do_not_wait_for_each_others_answers(kafka: KafkaSettings, topic: str) -> None:
    """Three requests are on their way, of one partition never two; in the end all has arrived."""
    values = [(partition, b"value") for partition in (0, 0, 1, 2, 3, 4)]
    places = run_async(sent(kafka, topic, values, requests=3))
    assert [(0, 1), (0, 2), (1, 1), (2, 1), (3, 1), (4, 1)] == places


def test_what_comes_while_much_is_under_way_is_sent_together(
    kafka: KafkaSettings, topic: str
) -> None:
    """One request at a time then."""
    values = [(0, bytes(600_000)), (1, b"value"), (2, b"value")]
    places = run_async(sent(kafka, topic, values, requests=1))
    assert [(0, 1), (1, 1), (2, 1)] == places
