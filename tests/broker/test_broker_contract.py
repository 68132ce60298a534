"""What every kind of local broker must do: one suite, run against each that needs no Docker."""

import asyncio
import uuid
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streamapp.broker import BrokerError, BrokerKind, LocalBroker
from streamapp.broker.network import is_port_free
from streamapp.broker.waiting import wait_until

pytestmark = pytest.mark.integration
TIMEOUT_S = 30.0


@pytest.fixture(scope="module", params=[BrokerKind.NOIDA, BrokerKind.KAFKA])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalBroker]:
    with LocalBroker.start(request.param, directory=tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def topic(broker: LocalBroker) -> str:
    return create_topic(broker)


def create_topic(
    broker: LocalBroker, replicas: int = 1, config: dict[str, str] | None = None
) -> str:
    name = f"topic-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(name, 1, replicas, config=config or {})])[name].result(TIMEOUT_S)
    return name


def produce(broker: LocalBroker, topic: str, values: list[bytes]) -> None:
    """Returns when all are acknowledged."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "enable.idempotence": True})
    failed = []
    for value in values:
        producer.produce(
            topic, value, callback=lambda error, _: failed.append(error) if error else None
        )
    assert producer.flush(TIMEOUT_S) == 0
    assert failed == []


def read(broker: LocalBroker, topic: str, isolation: str = "read_committed") -> list[bytes]:
    """All that partition 0 shows now, from its begin to its end."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "reader",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes] = []
    try:
        while True:
            message = consumer.poll(TIMEOUT_S)
            assert message, "neither a record nor the end of the partition came in time"
            error = message.error()
            if error is not None:
                assert KafkaError._PARTITION_EOF == error.code()
                return values
            values.append(message.value() or b"")
    finally:
        consumer.close()


def numbers(count: int, begin: int = 0) -> list[bytes]:
    return [str(number).encode() for number in range(begin, begin + count)]


def transactional(broker: LocalBroker, transactional_id: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers, transactional_id=transactional_id
    )


def test_acknowledged_records_are_read_in_order(broker: LocalBroker, topic: str) -> None:
    """What an idempotent librdkafka producer was promised is read once each, in its order."""
    produce(broker, topic, numbers(5000))
    assert numbers(5000) == read(broker, topic)


def test_aiokafka_idempotent_records_are_read_in_order(broker: LocalBroker, topic: str) -> None:
    """The same for aiokafka's idempotent producer."""

    async def send() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap_servers, enable_idempotence=True
        ) as producer:
            sent = [await producer.send(topic, value) for value in numbers(500)]
            await asyncio.wait_for(asyncio.gather(*sent), TIMEOUT_S)

    asyncio.run(send())
    assert numbers(500) == read(broker, topic)


def test_orderly_restart_keeps_all(broker: LocalBroker, topic: str) -> None:
    """After stop and start: same address, all records, and producing goes on."""
    produce(broker, topic, numbers(100))
    address = broker.bootstrap_servers
    broker.restart()
    produce(broker, topic, numbers(100, 100))
    assert address == broker.bootstrap_servers
    assert numbers(200) == read(broker, topic)


def test_kill_keeps_what_was_saved(broker: LocalBroker, topic: str) -> None:
    """SIGKILL loses nothing that was acknowledged; on noida-db, nothing it had saved."""
    produce(broker, topic, numbers(777))
    await_saved(broker, 777)
    broker.kill()
    assert not broker.is_alive()
    broker.restart()
    assert numbers(777) == read(broker, topic)


def await_saved(broker: LocalBroker, records: int) -> None:
    """Until a partition of this many records is in the snapshot of a broker that needs one."""
    if not broker.acks_survive_kill:
        snapshot = broker.state.data_dir / "kafka.json"
        sign = f'"high_watermark":{records},'.encode()
        assert wait_until(lambda: snapshot.exists() and sign in snapshot.read_bytes(), TIMEOUT_S), (
            "noida-db saved nothing"
        )


def test_aborted_transaction_is_hidden_from_read_committed(broker: LocalBroker, topic: str) -> None:
    """Only committed records are shown to read_committed, whether sent singly or as a batch."""

    async def send() -> None:
        async with transactional(broker, f"{topic}-id") as producer:
            await producer.begin_transaction()
            await send_single_and_batch(producer, topic, b"aborted")
            await producer.abort_transaction()
            async with producer.transaction():
                await send_single_and_batch(producer, topic, b"committed")

    asyncio.run(asyncio.wait_for(send(), TIMEOUT_S))
    assert [b"committed", b"committed in batch"] == read(broker, topic)


async def send_single_and_batch(producer: AIOKafkaProducer, topic: str, value: bytes) -> None:
    await producer.send_and_wait(topic, value)
    batch = producer.create_batch()
    batch.append(key=None, value=value + b" in batch", timestamp=None)
    batch.close()
    await (await producer.send_batch(batch, topic, partition=0))


def test_open_transaction_is_shown_to_read_uncommitted_only(
    broker: LocalBroker, topic: str
) -> None:
    """Before the commit read_committed sees nothing, read_uncommitted all."""
    seen: dict[str, list[bytes]] = {}

    async def send() -> None:
        async with transactional(broker, f"{topic}-id") as producer, producer.transaction():
            await producer.send_and_wait(topic, b"open")
            for level in ("read_committed", "read_uncommitted"):
                seen[level] = await asyncio.to_thread(read, broker, topic, level)

    asyncio.run(asyncio.wait_for(send(), TIMEOUT_S))
    assert {"read_committed": [], "read_uncommitted": [b"open"]} == seen
    assert [b"open"] == read(broker, topic)


def test_second_producer_of_a_transactional_id_fences_the_first(
    broker: LocalBroker, topic: str
) -> None:
    """The first can't commit any more, and what it sent stays hidden."""

    async def send() -> None:
        first, second = (transactional(broker, f"{topic}-id") for _ in range(2))
        await first.start()
        await first.begin_transaction()
        await first.send_and_wait(topic, b"from the first")
        await second.start()
        async with second.transaction():
            await second.send_and_wait(topic, b"from the second")
        with pytest.raises(ProducerFenced):
            await commit_late(first, topic)
        await second.stop()
        await first.stop()

    asyncio.run(asyncio.wait_for(send(), TIMEOUT_S))
    assert [b"from the second"] == read(broker, topic)


async def commit_late(producer: AIOKafkaProducer, topic: str) -> None:
    await producer.send_and_wait(topic, b"too late")
    await producer.commit_transaction()


def test_offsets_of_a_transaction_are_committed_with_it(broker: LocalBroker, topic: str) -> None:
    """An abort leaves the group where it was, a commit moves it."""
    from aiokafka import TopicPartition as Partition

    group, place = f"{topic}-group", Partition(topic, 0)

    async def send(producer: AIOKafkaProducer, offset: int) -> None:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"output")
        await producer.send_offsets_to_transaction({place: offset}, group)

    async def both() -> None:
        async with transactional(broker, f"{topic}-id") as producer:
            await send(producer, 1)
            await producer.commit_transaction()
            await send(producer, 2)
            await producer.abort_transaction()

    asyncio.run(asyncio.wait_for(both(), TIMEOUT_S))
    assert 1 == committed(broker, topic, group)


def committed(broker: LocalBroker, topic: str, group: str) -> int:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": group})
    try:
        return consumer.committed([TopicPartition(topic, 0)], timeout=TIMEOUT_S)[0].offset
    finally:
        consumer.close()


def test_topic_configuration_is_read_back(broker: LocalBroker) -> None:
    """The settings that the engine checks at start are told as they were made."""
    made = {"cleanup.policy": "compact", "retention.ms": "86400000", "max.message.bytes": "2000000"}
    name = create_topic(broker, config=made)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    resource = ConfigResource(ResourceType.TOPIC, name)
    told = admin.describe_configs([resource])[resource].result(TIMEOUT_S)
    assert made == {key: told[key].value for key in made}


def test_more_replicas_than_brokers_are_refused(broker: LocalBroker) -> None:
    """One node can't hold three replicas and says so."""
    with pytest.raises(KafkaException, match="INVALID_REPLICATION_FACTOR"):
        create_topic(broker, replicas=3)


def test_unknown_topic_is_not_made(broker: LocalBroker) -> None:
    """A mistyped topic is an error to its producer, not a new topic."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    name = f"mistyped-{uuid.uuid4().hex[:8]}"
    failed: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 2000})
    producer.produce(name, b"lost", callback=lambda error, _: failed.append(error))
    producer.flush(TIMEOUT_S)
    assert [True] == [error is not None for error in failed]
    assert name not in admin.list_topics(timeout=TIMEOUT_S).topics


def test_second_start_finds_the_first(broker: LocalBroker) -> None:
    """Starting the same again returns what runs; another kind or port in its place is refused."""
    again = LocalBroker.start(broker.kind, directory=broker.directory)
    assert (True, broker.state) == (again.was_running, again.state)
    other = BrokerKind.KAFKA if broker.kind == BrokerKind.NOIDA else BrokerKind.NOIDA
    with pytest.raises(BrokerError, match=r"already runs here .*streamapp broker stop"):
        LocalBroker.start(other, directory=broker.directory)
    with pytest.raises(BrokerError, match="already runs here"):
        LocalBroker.start(broker.kind, port=broker.state.port + 1, directory=broker.directory)


def test_stopped_broker_leaves_nothing_running(broker: LocalBroker) -> None:
    """A temporary broker takes its process, port and directory with it."""
    with LocalBroker.start(broker.kind) as temporary:
        assert temporary.answers()
    assert not temporary.is_alive()
    assert is_port_free(temporary.state.port)
    assert not temporary.directory.exists()
