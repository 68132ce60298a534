"""Topics: created where they are missing, checked where they are there."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streamapp.kafka.metadata import ANSWER_TIMEOUT_S, QUIET, TopicError
from streamapp.kafka.settings import KafkaSettings, TopicSettings

#: Dead letters carry headers beside a message of the largest size, and a checkpoint's state is one
#: record batch of up to 1 MB; both pass under this.
LARGE_RECORD_BYTES = 2 * 1024 * 1024

_POLL_S = 0.05

#: An hour.
COMPACTION_LAG_MS = 3_600_000

#: Labels are trained on for months; a broker's default of a week would delete them.
LABEL_RETENTION_MS = 400 * 86_400_000

#: A day.
COMPACTED_WITHIN_MS = 86_400_000
#: A week.
TOMBSTONES_KEPT_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as it must be. `required` config is checked on topics that are there already."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)
    required: dict[str, str] = field(default_factory=dict)


def worker_topics(topics: TopicSettings, changelog: str) -> list[TopicPlan]:
    """Every topic of streamapp's own; all have as many partitions as the source."""
    # By the broker's clock: with a worker's own that is wrong, retention would delete what is new,
    # and Kafka 4 refuses what is an hour ahead.
    ours = {"message.timestamp.type": "LogAppendTime"}
    large = {**ours, "max.message.bytes": str(LARGE_RECORD_BYTES)}
    compacted = {"cleanup.policy": "compact"}
    # What a takeover needs to settle a transaction has to stand there as long as it may wait.
    lagging = {
        "min.compaction.lag.ms": str(COMPACTION_LAG_MS),
        # What is older than an erasure goes within a day or so; the erasure itself is there for a
        # week, for local state that was away.
        "max.compaction.lag.ms": str(COMPACTED_WITHIN_MS),
        "delete.retention.ms": str(TOMBSTONES_KEPT_MS),
    }
    kept = {"retention.ms": str(LABEL_RETENTION_MS)}
    partitions = topics.partitions
    return [
        TopicPlan(topics.name("transactions"), partitions),
        TopicPlan(topics.name("verdicts"), partitions, ours),
        TopicPlan(topics.name("anomalies"), partitions, ours),
        TopicPlan(topics.name("dead_letters"), partitions, large),
        TopicPlan(topics.name("labels"), partitions, {**ours, **kept}),
        TopicPlan(topics.name("label_dead_letters"), partitions, large),
        TopicPlan(topics.name("control"), partitions, {**ours, **compacted}),
        TopicPlan(changelog, partitions, {**large, **compacted, **lagging}, compacted),
    ]


def ensure_topics(kafka: KafkaSettings, plans: list[TopicPlan], replication_factor: int) -> None:
    """Create what is missing and check what is there. Raises TopicError with the mend."""
    admin = AdminClient({**kafka.librdkafka(), **QUIET})
    found = _partition_counts(admin, kafka)
    missing = [plan for plan in plans if plan.name not in found]
    if missing:
        _create(admin, missing, replication_factor)
        found = _await_topics(admin, kafka, [plan.name for plan in missing])
    for plan in plans:  # those made now as well: another program may have been first
        _check_partitions(plan, found[plan.name])
        _check_config(admin, plan)


def topic_configs(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The configuration of each topic, as far as the broker tells."""
    admin = AdminClient({**kafka.librdkafka(), **QUIET})
    found = {}
    for name, future in admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in names]
    ).items():
        try:
            entries = future.result(ANSWER_TIMEOUT_S)
        except KafkaException:
            continue
        found[name.name] = {key: entry.value for key, entry in entries.items() if entry.value}
    return found


def keep_batches(kafka: KafkaSettings, names: Sequence[str]) -> bool:
    """Whether record batches stay as they come: none of the topics has its broker compress anew."""
    configs = topic_configs(kafka, names)
    return all(configs.get(name, {}).get("compression.type") == "producer" for name in names)


def _partition_counts(admin: AdminClient, kafka: KafkaSettings) -> dict[str, int]:
    try:
        topics = admin.list_topics(timeout=ANSWER_TIMEOUT_S).topics
    except KafkaException as error:
        raise TopicError(
            f"no broker answered at {kafka.bootstrap_servers} within {ANSWER_TIMEOUT_S:.0f} s"
            f" ({error.args[0].name()}); start one: streamapp broker start"
        ) from error
    return {name: len(topic.partitions) for name, topic in topics.items()}


def _await_topics(admin: AdminClient, kafka: KafkaSettings, names: list[str]) -> dict[str, int]:
    """Partition counts once the broker shows the topics: creation reaches its metadata later."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    pause = threading.Event()
    while hidden := set(names) - (found := _partition_counts(admin, kafka)).keys():
        if time.monotonic() >= deadline:
            raise TopicError(
                f"topic {min(hidden)} was created, but {kafka.bootstrap_servers} does not show it "
                f"within {ANSWER_TIMEOUT_S:.0f} s: check the broker's state, then start again"
            )
        pause.wait(_POLL_S)
    return found


def _create(admin: AdminClient, plans: list[TopicPlan], replication_factor: int) -> None:
    requests = [
        NewTopic(plan.name, plan.partitions, replication_factor, config=plan.config)
        for plan in plans
    ]
    for name, future in admin.create_topics(requests, operation_timeout=ANSWER_TIMEOUT_S).items():
        try:
            future.result(ANSWER_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another worker was first
                raise TopicError(f"topic {name} can't be created: {error.args[0].str()}") from error


def _check_partitions(plan: TopicPlan, partitions: int) -> None:
    if partitions != plan.partitions:
        raise TopicError(
            f"topic {plan.name} has {partitions} partitions, expected {plan.partitions} as the "
            f"source topic: set STREAMAPP_TOPICS__PARTITIONS to the source's number, and make the "
            f"other topics anew with as many"
        )


def _check_config(admin: AdminClient, plan: TopicPlan) -> None:
    if not plan.required:
        return
    resource = ConfigResource(ResourceType.TOPIC, plan.name)
    try:
        config = admin.describe_configs([resource])[resource].result(ANSWER_TIMEOUT_S)
    except KafkaException as error:
        raise TopicError(f"the configuration of {plan.name} can't be read: {error}") from error
    for name, expected in plan.required.items():
        value = config[name].value if name in config else None
        if value is not None and value != expected:
            raise TopicError(
                f"topic {plan.name} has {name}={value}, expected {expected}: deleted changelog "
                f"records are lost state; alter the topic's configuration"
            )
