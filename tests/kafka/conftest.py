"""A broker and fresh topics for the tests of replay and dead letters."""

from collections.abc import Iterator
from itertools import count

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streamapp.broker.local import LocalBroker
from streamapp.kafka.settings import KafkaSettings, TopicSettings

PARTITIONS = 4

_numbers = count()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaSettings]:
    """Where a broker of this session's own answers."""
    with LocalBroker.start("noida") as broker:
        yield KafkaSettings(bootstrap_servers=broker.bootstrap_servers)


@pytest.fixture
def topics(kafka: KafkaSettings) -> TopicSettings:
    """Names of topics that no other test uses; those of transactions and dead letters exist."""
    names = TopicSettings(prefix=f"test{next(_numbers)}.", partitions=PARTITIONS)
    admin = AdminClient(kafka.librdkafka())
    created = admin.create_topics(
        [
            NewTopic(names.name("transactions"), PARTITIONS, 1),
            NewTopic(names.name("dead_letters"), PARTITIONS, 1),
        ]
    )
    for future in created.values():
        future.result(timeout=30)
    return names
