"""Recovery brings a store to the end of its changelog, or says why that can't be."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamapp.engine.recovery import RecoveryError, recover, verify_position, verify_source
from streamapp.engine.store import PARTITION_STATE_KEY, Origin, StateStore, user_key
from streamapp.features.profile import moved, source_offset, unseal
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics
from streamapp.scoring import partition_state
from tests.engine.running import run_async
from tests.engine.test_profile_table import image
from tests.kafka.conftest import Broker

pytestmark = pytest.mark.integration

#: A partition's state without trees, sound.
STATE = partition_state.moved(b"\1" + bytes(91), 7)

Items = list[tuple[bytes | None, bytes | None]]


@pytest.fixture(scope="module")
def kafka(kafka_broker: Broker) -> KafkaSettings:
    """How to reach the session's broker."""
    return KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)


@pytest.fixture
def changelog(kafka: KafkaSettings, topic_prefix: str) -> str:
    """An empty changelog of two partitions."""
    name = f"{topic_prefix}state"
    ensure_topics(kafka, [TopicPlan(name, 2, {"cleanup.policy": "compact"})], 1)
    return name


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[dict[int, StateStore]]:
    """Empty stores of both partitions."""
    stores = {partition: StateStore(tmp_path / f"p{partition}") for partition in (0, 1)}
    yield stores
    for store in stores.values():
        store.close()


def write(
    kafka: KafkaSettings, topic: str, partition: int, items: Items, transaction: str | None = None
) -> None:
    """Append records, on request in a transaction that is committed or aborted."""
    more = {"transactional.id": f"{topic}-writer"} if transaction else {}
    producer = Producer(kafka.librdkafka() | more)
    if transaction:
        producer.init_transactions(30)
        producer.begin_transaction()
    for key, value in items:
        producer.produce(topic, value, key, partition=partition)
    assert 0 == producer.flush(30)
    if transaction == "commit":
        producer.commit_transaction(30)
    elif transaction == "abort":
        producer.abort_transaction(30)


def recovered(
    kafka: KafkaSettings, changelog: str, stores: dict[int, StateStore], timeout_s: float = 10.0
) -> dict[int, str]:
    """Recover, with a deadline; what is said of the partitions that can't."""
    present = Origin(changelog)
    refused = run_async(recover(stores, present, kafka.aiokafka(), timeout_s))
    return {partition: str(error) for partition, error in refused.items()}


def test_stores_get_what_the_changelog_holds(
    kafka: KafkaSettings, changelog: str, stores: dict[int, StateStore]
) -> None:
    """The last value of each key, each partition its own; tombstones delete."""
    write(kafka, changelog, 0, [(b"ua", image(1)), (b"ub", image(1)), (b"ua", image(2))])
    write(kafka, changelog, 0, [(b"ub", None), (PARTITION_STATE_KEY, STATE)])
    write(kafka, changelog, 1, [(b"uc", image(3))])
    recovered(kafka, changelog, stores)
    assert [(b"p", STATE), (b"ua", image(2))] == list(stores[0].items())
    assert [(b"uc", image(3))] == list(stores[1].items())
    assert (4, 0) == (stores[0].changelog_offset, stores[1].changelog_offset)


def test_only_what_is_missing_is_applied(
    kafka: KafkaSettings, changelog: str, stores: dict[int, StateStore]
) -> None:
    """From the store's own offset: what it holds already is not read again."""
    write(kafka, changelog, 0, [(b"ua", image(1)), (b"ub", image(2))])
    stores[0].write([(b"ua", image(9))], 0)
    recovered(kafka, changelog, stores)
    assert [image(9), image(2)] == stores[0].get_many([b"ua", b"ub"])


def test_aborted_state_is_not_applied(
    kafka: KafkaSettings, changelog: str, stores: dict[int, StateStore]
) -> None:
    """And markers at the end of the topic don't keep recovery waiting."""
    write(kafka, changelog, 0, [(b"ua", image(1))], "commit")
    write(kafka, changelog, 0, [(b"ua", image(7)), (b"ub", image(7))], "abort")
    recovered(kafka, changelog, stores)
    assert [(b"ua", image(1))] == list(stores[0].items())
    recovered(kafka, changelog, stores)
    write(kafka, changelog, 0, [(b"ub", image(2))], "commit")
    recovered(kafka, changelog, stores)
    assert [(b"ua", image(1)), (b"ub", image(2))] == list(stores[0].items())


def test_a_topic_shorter_than_the_state_is_refused(
    kafka: KafkaSettings, changelog: str, stores: dict[int, StateStore]
) -> None:
    """It was made again: its offsets mean something else now."""
    stores[0].write([(b"ua", image(1))], 5)
    write(kafka, changelog, 1, [(b"ub", image(2))])
    told = recovered(kafka, changelog, stores)
    assert [0] == list(told)
    assert f"{changelog}[0] ends at 0, but the local state has applied 5: " in told[0]
    assert "streamapp state repair --partition 0" in told[0]
    assert image(2) == stores[1].get(b"ub"), "the other partition goes on"


def test_a_changelog_made_again_is_refused(
    kafka: KafkaSettings, changelog: str, stores: dict[int, StateStore]
) -> None:
    """Also where the offsets would fit: its id is another one."""
    write(kafka, changelog, 1, [(b"ua", image(1)), (b"ub", image(1))])
    stores[1].follow(Origin(changelog, "an-earlier-life"))
    stores[1].write([(b"uz", image(4))], 0)
    present = Origin(changelog, "this-life")
    refused = run_async(recover(stores, present, kafka.aiokafka(), 10.0))
    assert [1] == list(refused)
    assert "is another topic (id this-life) than the one the local state is" in str(refused[1])
    assert [(b"uz", image(4))] == list(stores[1].items())


def test_the_source_of_the_state_is_remembered(
    kafka: KafkaSettings, changelog: str, stores: dict[int, StateStore]
) -> None:
    """By the state's record in the changelog; so an empty directory learns it too."""
    producer = Producer(kafka.librdkafka())
    headers = [("source_id", b"first-life")]
    producer.produce(changelog, STATE, PARTITION_STATE_KEY, partition=0, headers=headers)
    assert 0 == producer.flush(30)
    present = Origin(changelog, "c", "second-life")
    assert {} == run_async(recover(stores, present, kafka.aiokafka(), 10.0))
    assert Origin(changelog, "c", "first-life") == stores[0].origin
    assert present == stores[1].origin, "a partition without state counts from now on"


def turned(sealed: bytes) -> bytes:
    """With one bit turned."""
    return sealed[:50] + bytes([sealed[50] ^ 1]) + sealed[51:]


def of_layout(version: int) -> bytes:
    """A whole profile that says it is of this layout."""
    sealed = image(1)
    return moved(version.to_bytes(2, "little") + sealed[2:], source_offset(sealed))


def test_profiles_of_the_layout_before_are_taken_up(
    kafka: KafkaSettings, changelog: str, stores: dict[int, StateStore]
) -> None:
    """As they are: the record itself with its checksum. They are read beside those of now."""
    before = moved(unseal(image(3)), source_offset(image(3)))
    write(kafka, changelog, 0, [(b"ua", before), (b"ub", image(3))])
    assert {} == recovered(kafka, changelog, stores)
    assert [before, image(3)] == stores[0].get_many([b"ua", b"ub"])
    assert unseal(image(3)) == unseal(before)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (b"ua", turned(image(1)), "can't be used: profile checksum differs"),
        (
            b"ua",
            image(1)[:-1],
            f"can't be used: profile of {len(image(1)) - 1} bytes; expected {len(image(1))}",
        ),
        (
            b"ua",
            of_layout(3),
            "can't be used: profile layout 3; this build reads 2; start",
        ),
        (
            b"ua",
            of_layout(0),
            "can't be used: profile layout 0; this build reads 2; start",
        ),
        (b"p", turned(STATE), "can't be used: partition state checksum differs"),
        (b"x", b"1", "is not ours: another program writes to this topic"),
        (None, b"1", "is not ours"),
    ],
    ids=["damaged", "short", "newer", "older", "state", "foreign_key", "no_key"],
)
def test_a_record_that_is_not_state_is_refused(
    kafka: KafkaSettings,
    topic_prefix: str,
    stores: dict[int, StateStore],
    key: bytes | None,
    value: bytes,
    told: str,
) -> None:
    """With its place and the command; it is met again however often recovery begins."""
    name = f"{topic_prefix}state"  # not compacted: such a topic takes records without a key
    ensure_topics(kafka, [TopicPlan(name, 2)], 1)
    write(kafka, name, 0, [(user_key("b"), image(1)), (key, value)])
    for _ in range(2):
        found = recovered(kafka, name, stores)[0]
        assert f"changelog record 1 of {name}[0] {told}" in found
        assert ("layout" in told) != ("streamapp state verify --deep --partition 0" in found)
        assert stores[0].changelog_offset < 1
        assert stores[0].get(b"ua") is None


def test_an_unsound_record_that_was_replaced_is_no_matter(
    kafka: KafkaSettings, changelog: str, stores: dict[int, StateStore]
) -> None:
    """The last value of a key counts, and a tombstone is one."""
    write(kafka, changelog, 0, [(b"ua", turned(image(1))), (b"x", b"1"), (b"ub", image(1))])
    write(kafka, changelog, 0, [(b"x", None), (b"ua", image(2))])
    assert {} == recovered(kafka, changelog, stores)
    assert [(b"ua", image(2)), (b"ub", image(1))] == list(stores[0].items())


def test_no_partitions_need_no_broker(tmp_path: Path) -> None:
    """An idle member of the group has nothing to recover."""
    recovered(KafkaSettings(bootstrap_servers="127.0.0.1:1"), "none", {})


@pytest.mark.parametrize(
    ("position", "told"),
    [
        (9, r"t\[2\] begins at 10, but the state goes on from 9: 1 records went by retention"),
        (21, r"t\[2\] ends at 20, but the state goes on from 21: the topic was made again"),
    ],
)
def test_a_position_outside_the_topic_is_refused(position: int, told: str) -> None:
    """The reader would jump to the topic's beginning and pass over what was never scored."""
    with pytest.raises(RecoveryError, match=told):
        verify_position("t", 2, position, 10, 20)


@pytest.mark.parametrize("position", [10, 15, 20])
def test_a_position_within_the_topic_is_taken(position: int) -> None:
    """Its very beginning and its end included."""
    verify_position("t", 2, position, 10, 20)


@pytest.mark.parametrize(("known", "present"), [("", "b"), ("a", ""), ("a", "a"), ("", "")])
def test_an_id_that_is_not_known_says_nothing(known: str, present: str) -> None:
    """Not every broker gives ids, and state of an earlier version has none."""
    verify_source("t", 2, known, present)


def test_another_id_is_another_topic() -> None:
    """Whatever its offsets are."""
    expected = r"t\[2\] is another topic \(id b\) than the one .* \(id a\): .* repair --partition 2"
    with pytest.raises(RecoveryError, match=expected):
        verify_source("t", 2, "a", "b")
