"""Poison: thousands of mutants between valid transactions, through a running worker."""

import random
from collections import Counter
from dataclasses import dataclass

from confluent_kafka import Producer

from streamapp.domain.verdict import decode_verdict
from streamapp.replay.partitioner import partition_of
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample
from streamapp.scoring.artifact import ModelArtifact
from tests.crash.undisturbed import Record, undisturbed
from tests.engine.deployment import PARTITIONS, Deployment, Found, Place, headers_of
from tests.kafka.records import read_all
from tests.stress.mutations import MUTATIONS, Mutant, mutated
from tests.stress.outcome import Outcome

#: Of every so many records one more is valid than mutated: under the limit on refusals.
_VALID_PER_MUTANT = 1.2


@dataclass(frozen=True)
class Sent:
    """The mutants by their place, and how many records went out with the valid ones."""

    mutants: dict[Place, Mutant]
    records: int


def poison(deployment: Deployment, model: ModelArtifact, mutants: int, seed: int = 1) -> Outcome:
    """Each record has one verdict or one letter with its bytes; valid ones are not disturbed."""
    deployment.make_topics()
    worker = deployment.worker()
    worker.await_ready()
    pid = worker.pid
    sent = send(deployment, mutants, seed)
    found = deployment.found(sent.records)
    assert worker.is_alive
    assert (pid, 1) == (worker.pid, len(worker.logged("worker_started")))
    assert 200 == worker.get("/readyz")[0]
    assert 0 == worker.terminate()[0], worker.log.read_text()[-2000:]
    assert_answered_once(deployment, sent, found)
    assert_neighbours_undisturbed(deployment, model, found)
    reasons = Counter(
        headers_of(letter)["dlq.reason"].decode() for letter in found.letters.values()
    )
    measured = {"records": sent.records, "kinds": len(MUTATIONS), "verdicts": len(found.verdicts)}
    return Outcome(len(sent.mutants), measured | {"dead letters": len(found.letters)} | reasons)


def send(deployment: Deployment, count: int, seed: int) -> Sent:
    """Send valid transactions with mutants of them before, between and after."""
    rng = random.Random(seed)
    topic = deployment.topics.name("transactions")
    producer = Producer({**deployment.kafka.librdkafka(), "message.max.bytes": 2_000_000})
    ends = [0] * PARTITIONS
    mutants: dict[Place, Mutant] = {}
    for batch in recorded(sample(), limit=int(count * _VALID_PER_MUTANT)):
        for key, value in zip(batch.keys, batch.values, strict=True):
            partition = partition_of(key, PARTITIONS)
            if len(mutants) < count and rng.random() < 1 / _VALID_PER_MUTANT + 0.05:
                mutant = mutated(rng, key, value)
                mutants[partition, ends[partition]] = mutant
                _produce(producer, topic, partition, mutant)
                ends[partition] += 1
            _produce(producer, topic, partition, Mutant((), key, value, []))
            ends[partition] += 1
    assert 0 == producer.flush(60)
    assert count == len(mutants)
    return Sent(mutants, sum(ends))


def _produce(producer: Producer, topic: str, partition: int, mutant: Mutant) -> None:
    headers: list[tuple[str, str | bytes | None]] = [*mutant.headers]
    while True:
        try:
            producer.produce(topic, mutant.value, mutant.key, partition=partition, headers=headers)
        except BufferError:
            producer.poll(1.0)
        else:
            return


def assert_answered_once(deployment: Deployment, sent: Sent, found: Found) -> None:
    """One verdict or one letter for each record, and letters as they were sent."""
    topic = deployment.topics.name("transactions")
    assert (0, 0) == (found.repeated_verdicts, found.repeated_letters)
    judged = {f"{topic}-{partition}-{offset}" for partition, offset in found.letters}
    assert not judged & found.verdicts.keys(), "both a verdict and a letter"
    assert sent.records == found.answered
    for place, letter in found.letters.items():
        mutant = sent.mutants[place]
        assert (mutant.key, mutant.value) == (letter.key(), letter.value()), mutant.kinds
    for place, mutant in sent.mutants.items():
        assert place in found.letters or not mutant.is_refused_for_sure, mutant.kinds


def assert_neighbours_undisturbed(
    deployment: Deployment, model: ModelArtifact, found: Found
) -> None:
    """Verdicts and state are those of a run in which no refused record was ever sent."""
    topic = deployment.topics.name("transactions")
    kept: dict[int, list[Record]] = {partition: [] for partition in range(PARTITIONS)}
    for message in read_all(deployment.kafka, topic):
        place = (message.partition() or 0, message.offset() or 0)
        if place not in found.letters:
            record = Record(place[1], message.key(), message.value(), {})
            kept[place[0]].append(record)
    state: dict[tuple[int, bytes], bytes] = {}
    for partition, records in kept.items():
        outcome = undisturbed(model, topic, partition, records)
        assert not outcome.dead_letters
        for offset, payload in outcome.verdicts.items():
            assert {payload} == found.verdicts[f"{topic}-{partition}-{offset}"]
            decode_verdict(payload)
        state |= {(partition, key): image for key, image in outcome.state.items()}
    assert state == deployment.changelog_state()
    assert state == deployment.stored_state()
