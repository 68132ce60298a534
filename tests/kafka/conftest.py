"""Connection and fresh topics for the tests of replay and dead letters."""

from typing import Protocol

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streamapp.kafka.settings import KafkaSettings, TopicSettings

PARTITIONS = 4


class Broker(Protocol):
    """What the shared broker fixture tells of itself."""

    @property
    def bootstrap_servers(self) -> str:
        """Where it answers."""


@pytest.fixture
def kafka(kafka_broker: Broker) -> KafkaSettings:
    """How to reach the session's broker."""
    return KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)


@pytest.fixture
def topics(kafka: KafkaSettings, topic_prefix: str) -> TopicSettings:
    """Names of topics that no other test uses; those of transactions and dead letters exist."""
    names = TopicSettings(prefix=topic_prefix, partitions=PARTITIONS)
    admin = AdminClient(kafka.librdkafka())
    roles = (names.name("transactions"), names.name("dead_letters"))
    for future in admin.create_topics([NewTopic(role, PARTITIONS, 1) for role in roles]).values():
        future.result(timeout=30)
    return names
