"""Erasure on a real Kafka: under load, then recovery from the changelog alone."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamapp.broker.waiting import wait_until
from streamapp.domain.erasure import erasure
from streamapp.engine.store import user_key
from streamapp.replay.partitioner import partition_of
from streamapp.scoring import Pipeline
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import PARTITIONS, Deployment, assert_undisturbed
from tests.kafka.records import read_all

USERS = 30
ERASED = 12
PAYMENTS = 6


def _payment(user: str, number: int) -> bytes:
    return b'{"tx_id":"%s-%d","user_id":"%s","amount":%d.5,"timestamp":%d,"merchant_id":"m%d"}' % (
        user.encode(),
        number,
        user.encode(),
        10 + number,
        1_546_300_800_000 + number,
        number,
    )


@pytest.mark.integration
def test_no_byte_of_an_erased_user_is_left(
    deployment: Deployment, shipped_model: ModelArtifact
) -> None:
    """Neither where it was erased nor where a worker recovers it; all else is as undisturbed."""
    draw = random.Random(4)
    users = [draw.randbytes(12).hex() for _ in range(USERS)]
    gone, back = users[: ERASED - 2], users[ERASED - 2 : ERASED]
    worker = deployment.worker()
    worker.await_ready()
    with deployment.load(300.0) as rows:
        _send(deployment, [(user, _payment(user, n)) for n in range(PAYMENTS) for user in users])
        _send(deployment, [(user, erasure(user)) for user in users[:ERASED]])
        _send(deployment, [(user, _payment(user, PAYMENTS)) for user in back])
        assert wait_until(lambda: ERASED <= worker.metrics().get("streamapp_erasures_total", 0), 60)
    sent = rows[0] + USERS * PAYMENTS + len(back)
    found = deployment.found(sent)
    signs = _signs(shipped_model, users)
    kept = set(users) - set(gone)
    state = deployment.directory / "state"
    assert wait_until(lambda: kept == _found(state, signs), 60), "the owner's files"
    assert 0 == worker.terminate()[0]
    assert kept == _found(state, signs)

    recovered = deployment.worker(state="recovered")
    recovered.await_ready()
    again = deployment.directory / "recovered"
    assert wait_until(lambda: kept == _found(again, signs), 60), "files from the changelog alone"
    assert 0 == recovered.terminate()[0]
    assert kept == _found(again, signs)

    expected = deployment.expected(shipped_model)
    assert not {(p, user_key(u)) for u in gone for p in range(PARTITIONS)} & set(expected.state)
    assert {user_key(user) for user in back} <= {key for _, key in expected.state}
    assert_undisturbed(deployment, expected, found)
    assert expected.state == deployment.stored_state("recovered")
    tombstones = [
        (message.key() or b"").decode()
        for message in read_all(deployment.kafka, deployment.topics.name("verdicts"))
        if message.value() is None
    ]
    assert sorted(users[:ERASED]) == sorted(tombstones)


def _send(deployment: Deployment, records: Sequence[tuple[str, bytes]]) -> None:
    producer = Producer(deployment.kafka.librdkafka())
    for user, value in records:
        key = user.encode()
        place = partition_of(key, PARTITIONS)
        producer.produce(deployment.topics.name("transactions"), value, key, place)
    assert 0 == producer.flush(30)


def _signs(model: ModelArtifact, users: Sequence[str]) -> dict[str, list[bytes]]:
    """What gives a user away: parts of the name, plain and in hexadecimal, and of the profile."""
    pipeline = Pipeline(model)
    for user in users:
        pipeline.process([user.encode()] * PAYMENTS, [_payment(user, n) for n in range(PAYMENTS)])
    profiles = dict(pipeline.profiles.items())
    signs = {}
    for user in users:
        parts = [user.encode()[at : at + 8] for at in range(0, len(user) - 8, 4)]
        hexadecimal = [part.hex().encode() for part in parts]
        payments = [tx.tobytes() for tx in profiles[user]["ring_tx"][:PAYMENTS]]
        signs[user] = [*parts, *hexadecimal, *(h.upper() for h in hexadecimal), *payments]
    return signs


def _found(directory: Path, signs: dict[str, list[bytes]]) -> set[str]:
    """Users of whom any sign stands in a file."""
    contents = []
    for path in directory.rglob("*"):
        try:
            contents.append(path.read_bytes() if path.is_file() else b"")
        except FileNotFoundError:  # compacted meanwhile
            continue
    everything = b"\n".join(contents)
    return {user for user, parts in signs.items() if any(part in everything for part in parts)}
