"""Topics a worker needs: made with what they must have, and refused where they can't be used."""

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streamapp.kafka.metadata import TopicError
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics, keep_batches, worker_topics
from tests.kafka.conftest import Broker

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def kafka(kafka_broker: Broker) -> KafkaSettings:
    """How to reach the session's broker."""
    return KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)


@pytest.fixture
def plans(topic_prefix: str) -> list[TopicPlan]:
    """A worker's topics, three partitions each."""
    return worker_topics(
        TopicSettings(prefix=topic_prefix, partitions=3), f"{topic_prefix}streamapp.state"
    )


def make(kafka: KafkaSettings, name: str, partitions: int, **config: str) -> None:
    """Create a topic as somebody else would have."""
    new = NewTopic(name, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})
    admin = AdminClient({**kafka.librdkafka()})  # has to live until the answer is there
    admin.create_topics([new])[name].result(30)


def config_of(kafka: KafkaSettings, name: str) -> dict[str, str]:
    """A topic's configuration."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    admin = AdminClient({**kafka.librdkafka()})
    found = admin.describe_configs([resource])[resource].result(30)
    return {key: entry.value for key, entry in found.items()}


def test_missing_topics_are_made(kafka: KafkaSettings, plans: list[TopicPlan]) -> None:
    """All with as many partitions; the changelog compacted; letters may be large; labels stay."""
    ensure_topics(kafka, plans, 1)
    found = AdminClient({**kafka.librdkafka()}).list_topics(timeout=10).topics
    assert [3] * 8 == [len(found[plan.name].partitions) for plan in plans]
    transactions, *ours = configs = [config_of(kafka, plan.name) for plan in plans]
    letters, labels, _, _, changelog = configs[3:]
    assert "CreateTime" == transactions["message.timestamp.type"]
    assert {"LogAppendTime"} == {config["message.timestamp.type"] for config in ours}
    assert "delete" == transactions["cleanup.policy"] == letters["cleanup.policy"]
    assert "compact" == changelog["cleanup.policy"]
    assert str(400 * 86_400_000) == labels["retention.ms"]
    assert "3600000" == changelog["min.compaction.lag.ms"]
    assert str(2 * 1024 * 1024) == letters["max.message.bytes"] == changelog["max.message.bytes"]
    ensure_topics(kafka, plans, 1)


@pytest.mark.parametrize("which", range(8))
def test_partitions_must_be_as_many_everywhere(
    kafka: KafkaSettings, plans: list[TopicPlan], which: int
) -> None:
    """Verdicts go to the partition of their transaction, state to that of its users."""
    name = plans[which].name
    make(kafka, name, 2)
    with pytest.raises(TopicError) as raised:
        ensure_topics(kafka, plans, 1)
    text = str(raised.value)
    assert text.startswith(f"topic {name} has 2 partitions, expected 3 as the source topic")
    assert "STREAMAPP_TOPICS__PARTITIONS" in text


def test_topics_tell_whether_their_broker_compresses_anew(
    kafka: KafkaSettings, plans: list[TopicPlan]
) -> None:
    """Ours don't have it do so; of a topic that is not there nothing is known."""
    names = [plan.name for plan in plans]
    assert not keep_batches(kafka, names)
    make(kafka, names[1], 3, compression_type="uncompressed")
    ensure_topics(kafka, plans, 1)
    assert not keep_batches(kafka, names)
    assert keep_batches(kafka, names[2:])


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_a_changelog_that_forgets_is_refused(
    kafka: KafkaSettings, plans: list[TopicPlan], policy: str
) -> None:
    """A deleted record of state is lost state."""
    name = plans[-1].name
    make(kafka, name, 3, cleanup_policy=policy)
    with pytest.raises(TopicError) as raised:
        ensure_topics(kafka, plans, 1)
    expected = f"topic {name} has cleanup.policy={policy}, expected compact: deleted changelog"
    assert str(raised.value).startswith(expected)


def test_too_many_replicas_are_refused_by_name(
    kafka: KafkaSettings, plans: list[TopicPlan]
) -> None:
    """The broker's own word, and which topic it is about."""
    with pytest.raises(TopicError, match=r"can't be created: .*[Rr]eplication"):
        ensure_topics(kafka, plans, 9)


def test_a_broker_that_is_not_there_is_one_line(
    plans: list[TopicPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the address, and what to do."""
    monkeypatch.setattr("streamapp.kafka.topics.ANSWER_TIMEOUT_S", 1.0)
    with pytest.raises(TopicError) as raised:
        ensure_topics(KafkaSettings(bootstrap_servers="127.0.0.1:1"), plans, 1)
    assert str(raised.value).startswith("no broker answered at 127.0.0.1:1 within 1 s")
    assert "\n" not in str(raised.value)
