"""Topics: created where they are missing, checked where they are there."""

from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streamapp.kafka.metadata import ANSWER_TIMEOUT_S, QUIET, TopicError
from streamapp.kafka.settings import KafkaSettings, TopicSettings

#: Dead letters carry headers beside a message of the largest size, and a checkpoint's state is one
#: record batch of up to 1 MB; both pass under this.
LARGE_RECORD_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as it must be. `required` config is checked on topics that are there already."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)
    required: dict[str, str] = field(default_factory=dict)


def worker_topics(topics: TopicSettings, changelog: str) -> list[TopicPlan]:
    """Every topic a worker reads or writes; all have as many partitions as the source."""
    large = {"max.message.bytes": str(LARGE_RECORD_BYTES)}
    compacted = {"cleanup.policy": "compact"}
    partitions = topics.partitions
    return [
        TopicPlan(topics.name("transactions"), partitions),
        TopicPlan(topics.name("verdicts"), partitions),
        TopicPlan(topics.name("anomalies"), partitions),
        TopicPlan(topics.name("dead_letters"), partitions, large),
        TopicPlan(changelog, partitions, {**large, **compacted}, compacted),
    ]


def ensure_topics(kafka: KafkaSettings, plans: list[TopicPlan], replication_factor: int) -> None:
    """Create what is missing and check what is there. Raises TopicError with the mend."""
    admin = AdminClient({**kafka.librdkafka(), **QUIET})
    try:
        found = admin.list_topics(timeout=ANSWER_TIMEOUT_S).topics
    except KafkaException as error:
        raise TopicError(
            f"no broker answered at {kafka.bootstrap_servers} within {ANSWER_TIMEOUT_S:.0f} s"
            f" ({error.args[0].name()}); start one: streamapp broker start"
        ) from error
    _create(admin, [plan for plan in plans if plan.name not in found], replication_factor)
    for plan in plans:
        if plan.name in found:
            _check_partitions(plan, len(found[plan.name].partitions))
            _check_config(admin, plan)


def _create(admin: AdminClient, plans: list[TopicPlan], replication_factor: int) -> None:
    if not plans:
        return
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
