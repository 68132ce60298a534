"""One row of the campaign: its topics, its fleet, its traffic, and the wait for what recovers."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streamapp.broker import LocalBroker
from streamapp.kafka.metadata import QUIET
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topics import ensure_topics, worker_topics
from tests.crash.fleet import Fleet
from tests.crash.reading import end_offsets
from tests.crash.sinks import DSN, Sinks
from tests.crash.traffic import Sender

PARTITIONS: Final = 16
#: Never asserted as speed: the bound after which a system that should recover has not.
SETTLE_TIMEOUT_S: Final = 300.0
#: A worker's own bound for its end is twice this.
SHUTDOWN_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.05
_ANSWER_S: Final = 2.0


class CampaignError(Exception):
    """A row could not be finished; the message says what did not happen."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a row has left behind, for the checker in its own process."""

    directory: Path
    kafka: KafkaSettings
    topics: TopicSettings
    group: str
    sinks: Sinks
    acknowledged: int

    @property
    def changelog(self) -> str:
        """The topic of the group's state."""
        return f"{self.topics.prefix}{self.group}.state"


def committed(kafka: KafkaSettings, topics: TopicSettings, group: str) -> dict[int, int]:
    """A group's offsets by partition; empty while no broker answers."""
    source = topics.name("transactions")
    asked = [TopicPartition(source, partition) for partition in range(PARTITIONS)]
    options = {**kafka.librdkafka(), **QUIET, "group.id": group}
    # Offsets of open transactions must not hold the answer back.
    consumer = Consumer({**options, "isolation.level": "read_uncommitted"})
    try:
        found = consumer.committed(asked, timeout=_ANSWER_S)
    except KafkaException:
        return {}
    finally:
        consumer.close()
    return {one.partition: max(one.offset, 0) for one in found if one.error is None}


@dataclass(slots=True)
class Stage:
    """What a fault has to work with."""

    name: str
    directory: Path
    broker: LocalBroker
    fleet: Fleet
    rng: random.Random
    kafka: KafkaSettings
    topics: TopicSettings
    group: str
    sender: Sender
    sinks: Sinks
    #: Seconds from each fault to recovery.
    ready_again_s: list[float] = field(default_factory=list)

    def pause(self, seconds: float) -> None:
        """Let time pass with the supervisor at work."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.fleet.tend()
            time.sleep(_POLL_S)

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Return when the condition holds, the supervisor at work. Raises CampaignError."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise CampaignError(f"{self.name}: {what} did not happen in {timeout_s:.0f} s")
            self.fleet.tend()
            time.sleep(_POLL_S)

    def settle(self, *, since: float | None) -> None:
        """Return when the system is as before: partitions move on, every worker is ready.

        since: time of the fault; noted are the seconds until every partition has committed a
        record sent after this call. Workers may still be starting then.
        """
        marks = self.sender.ends()

        def is_past_marks() -> bool:
            done = committed(self.kafka, self.topics, self.group)
            return all(done.get(p, 0) > marks.get(p, 0) for p in range(PARTITIONS))

        self.wait_for(is_past_marks, "recovery", SETTLE_TIMEOUT_S)
        if since is not None:
            self.ready_again_s.append(time.monotonic() - since)
        self.wait_for(self.fleet.is_ready, "readiness of every worker", SETTLE_TIMEOUT_S)

    def drain(self) -> None:
        """Stop the traffic and return when all of it is committed."""
        self.sender.close()
        ends = end_offsets(self.kafka, self.topics.name("transactions"), PARTITIONS)

        def is_done() -> bool:
            done = committed(self.kafka, self.topics, self.group)
            return all(done.get(p, 0) >= end for p, end in ends.items())

        self.wait_for(is_done, "the last commit", SETTLE_TIMEOUT_S)

    def evidence(self) -> Evidence:
        """For the checker; after the workers have stopped."""
        sent = self.sender.acknowledged
        return Evidence(self.directory, self.kafka, self.topics, self.group, self.sinks, sent)


def open_stage(
    name: str,
    directory: Path,
    broker: LocalBroker,
    dsn: str,
    *,
    seed: int,
    per_s: float,
    is_static: bool = False,
    is_trapped: bool = False,
    settings: dict[str, str] | None = None,
) -> Stage:
    """Topics made and traffic flowing; no worker yet."""
    slug = "".join(c if c.isalnum() else "-" for c in name)
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    topics = TopicSettings(prefix=f"{slug}.", partitions=PARTITIONS)
    group = f"{slug}-workers"
    environment = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": topics.prefix,
        "STREAMAPP_TOPICS__PARTITIONS": str(PARTITIONS),
        "STREAMAPP_WORKER__GROUP": group,
        # A static member must be back within its session, or it loses its place.
        "STREAMAPP_WORKER__SESSION_TIMEOUT_S": "30" if is_static else "6",
        "STREAMAPP_WORKER__CHECKPOINT_INTERVAL_MS": "100",
        "STREAMAPP_WORKER__SHUTDOWN_TIMEOUT_S": f"{SHUTDOWN_TIMEOUT_S:.0f}",
        **(settings or {}),
    }
    fleet = Fleet(directory / slug, environment, is_static=is_static, is_trapped=is_trapped)
    ensure_topics(kafka, worker_topics(topics, f"{topics.prefix}{group}.state"), 1)
    source = topics.name("transactions")
    sinks = Sinks(directory / slug, {**environment, DSN: dsn}, source)
    sender, rng = Sender(kafka, source, per_s), random.Random(f"{seed} {name}")
    return Stage(name, directory / slug, broker, fleet, rng, kafka, topics, group, sender, sinks)
