"""Compares a run of any length with an undisturbed one, keeping digests instead of verdicts."""

from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b

import msgspec
from confluent_kafka import Message

from streamapp.engine.store import PARTITION_STATE_KEY, user_key
from streamapp.features.profile import seal
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.pipeline import Pipeline
from tests.engine.deployment import PARTITIONS, Deployment, headers_of
from tests.kafka.records import read_each

_CHUNK = 4_096


class _Verdict(msgspec.Struct):
    verdict_id: str


_decode = msgspec.json.Decoder(_Verdict).decode


def assert_exact(deployment: Deployment, model: ModelArtifact, *stores: str) -> None:
    """One verdict or letter for each record, with the right bytes; state as it must be.

    Workers must have ended; stores are their state directories.
    """
    answers = _answers(deployment)
    source = deployment.topics.name("transactions")
    pipelines = {p: Pipeline(model, topic=source, partition=p) for p in range(PARTITIONS)}
    ends: dict[int, int] = defaultdict(int)
    for partition, chunk in _chunks(deployment):
        first = ends[partition]
        scored = pipelines[partition].process(
            [one.key() for one in chunk], [one.value() for one in chunk]
        )
        for row, payload in zip(scored.rows, scored.payloads, strict=True):
            verdict_id = f"{source}-{partition}-{first + row}"
            assert answers.pop(verdict_id, None) == _digest(payload), verdict_id
        for row in scored.refused_rows:
            place = f"{partition}-{first + row}"
            assert answers.pop(place, None) == _digest(chunk[row].value()), f"letter {place}"
        ends[partition] += len(chunk)
    assert not answers, f"{len(answers)} answers to nothing, such as {next(iter(answers))}"
    assert _states(pipelines, ends, model) == deployment.changelog_state()
    assert _states(pipelines, ends, model) == deployment.stored_state(*stores)
    assert ends == {p: end for p, end in deployment.committed().items() if end > 0}


def _answers(deployment: Deployment) -> dict[str, bytes]:
    """Digests of verdicts by their id, of letters by their place; each must come once."""
    found: dict[str, bytes] = {}

    def note(place: str, value: bytes | None) -> None:
        assert place not in found, f"{place} is answered twice"
        found[place] = _digest(value)

    for record in read_each(deployment.kafka, deployment.topics.name("verdicts")):
        note(_decode(record.value() or b"").verdict_id, record.value())
    for record in read_each(deployment.kafka, deployment.topics.name("dead_letters")):
        headers = headers_of(record)
        place = f"{headers['dlq.partition'].decode()}-{headers['dlq.offset'].decode()}"
        note(place, record.value())
    return found


def _digest(value: bytes | None) -> bytes:
    return b"" if value is None else blake2b(value, digest_size=16).digest()


def _chunks(deployment: Deployment) -> Iterator[tuple[int, list[Message]]]:
    """The source's records, those of one partition at a time, in their order."""
    waiting: dict[int, list[Message]] = defaultdict(list)
    for record in read_each(deployment.kafka, deployment.topics.name("transactions")):
        partition = record.partition() or 0
        waiting[partition].append(record)
        if len(waiting[partition]) == _CHUNK:
            yield partition, waiting.pop(partition)
    yield from waiting.items()


def _states(
    pipelines: dict[int, Pipeline], ends: dict[int, int], model: ModelArtifact
) -> dict[tuple[int, bytes], bytes]:
    state = {}
    for partition, pipeline in pipelines.items():
        for user, profile in pipeline.profiles.items():
            if profile["event_count"]:
                state[partition, user_key(user)] = seal(profile)
        if ends[partition]:
            image = pipeline.state.to_bytes(model.half_space_trees)
            state[partition, PARTITION_STATE_KEY] = image
    return state
