"""State of a million users, made in a minute: what months of traffic would leave behind.

Some thousands of users' payments go through the real pipeline and into the source topic; every
other user gets a copy of one of their profiles. The engine's own log and store write them: one
Kafka transaction for each 4,096 profiles, with the source offset, then RocksDB with the changelog
offset. A worker that starts afterwards finds exactly what a predecessor leaves.
"""

import asyncio
from collections import defaultdict
from itertools import islice

import msgspec
from confluent_kafka import Producer

from benchmarks.contender import BenchmarkError
from benchmarks.crowd import BATCH_ROWS, Crowd, payments, user_name
from benchmarks.session import Session
from streamapp.engine.partition_log import ExactlyOnceLog
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.store import PARTITION_STATE_KEY, Origin, StateStore, user_key
from streamapp.engine.worker import WorkerPlan
from streamapp.features.profile import seal
from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topics import ensure_topics, worker_topics
from streamapp.replay.partitioner import partitions_of
from streamapp.scoring import Pipeline
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.verdicts import SourcePartition

#: Those whose payments make the profiles: a few with thousands, most with a dozen.
MODELS = Crowd(users=10_000, skew=0.8)
MODEL_PAYMENTS = 60 * BATCH_ROWS
#: When their payments end, in days.
NEXT_DAY = MODEL_PAYMENTS / MODELS.payments_per_day

_COMMIT_PROFILES = 4_096
_ANSWER_S = 60.0


class Seeded(msgspec.Struct, frozen=True):
    """What was written. value_bytes: in the changelog, without keys."""

    profiles: int
    changelog_records: int
    value_bytes: int


def seed_state(session: Session, users: int) -> Seeded:
    """Leave behind, in topics and on disk, what a worker leaves that has scored these users."""
    plan = _plan(session)
    ensure_topics(plan.kafka, worker_topics(plan.topics, plan.changelog), 1)
    pipelines = _scored(plan)
    names = [user_name(number) for number in range(users)]
    places = partitions_of([name.encode() for name in names], plan.topics.partitions)
    of_partition: dict[int, list[str]] = defaultdict(list)
    for name, partition in zip(names, places.tolist(), strict=True):
        of_partition[partition].append(name)
    records = size = 0
    for partition, pipeline in pipelines.items():
        written = asyncio.run(_write(plan, partition, pipeline, of_partition[partition]))
        records, size = records + len(written), size + sum(written)
    return Seeded(users, records, size)


def _plan(session: Session) -> WorkerPlan:
    return WorkerPlan(
        KafkaSettings(bootstrap_servers=session.stand.bootstrap_servers),
        session.topics,
        WorkerSettings(state_dir=session.state_dir()),
        load(default_model_dir()),
    )


def _scored(plan: WorkerPlan) -> dict[int, Pipeline]:
    """Send the models' payments, and score them partition by partition."""
    topic, partitions = plan.topics.name("transactions"), plan.topics.partitions
    pipelines = {p: Pipeline(plan.model, topic=topic, partition=p) for p in range(partitions)}
    producer = Producer({**plan.kafka.librdkafka(), **QUIET, "enable.idempotence": True})
    for batch in islice(payments(MODELS), MODEL_PAYMENTS // BATCH_ROWS):
        rows: dict[int, list[int]] = defaultdict(list)
        places = partitions_of(batch.keys, partitions).tolist()
        for row, place in enumerate(places):
            rows[place].append(row)
            producer.produce(topic, batch.values[row], batch.keys[row], partition=place)
        producer.poll(0)
        for place, chosen in rows.items():
            pipelines[place].process(
                [batch.keys[row] for row in chosen], [batch.values[row] for row in chosen]
            )
    if producer.flush(_ANSWER_S):
        raise BenchmarkError("the broker did not take the payments in time")
    return pipelines


async def _write(
    plan: WorkerPlan, partition: int, pipeline: Pipeline, users: list[str]
) -> list[int]:
    """Commit and store the profiles of one partition; the sizes of the changelog's records."""
    source = SourcePartition(plan.topics.name("transactions"), partition)
    group, timeout_s = plan.settings.group, plan.settings.transaction_timeout_s
    log = ExactlyOnceLog(plan.kafka.aiokafka(), group, source, plan.changelog, timeout_s)
    store = StateStore(plan.settings.state_dir / f"p{partition:05d}")
    store.follow(Origin(plan.changelog))
    images = [seal(record) for _, record in pipeline.profiles.items()]
    items = [(user_key(user), images[row % len(images)]) for row, user in enumerate(users)]
    state = pipeline.state.to_bytes(plan.model.half_space_trees)
    await log.open()
    written: list[int] = []
    for start in range(0, len(items), _COMMIT_PROFILES):
        chunk = [*items[start : start + _COMMIT_PROFILES], (PARTITION_STATE_KEY, state)]
        log.cut()
        store.write(chunk, await log.commit(chunk, pipeline.state.source_offset + 1))
        written += [len(value) for _, value in chunk]
    await log.close()
    store.close()
    return written
