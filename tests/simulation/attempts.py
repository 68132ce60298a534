"""Who took a partition over, with which model, and so which model scored which record."""

import random
from collections import defaultdict
from dataclasses import dataclass

from streamapp.engine.store import PARTITION_STATE_KEY
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import source_offset
from tests.simulation.broker import Broker
from tests.simulation.faults import Guarantee
from tests.simulation.topic_log import Transaction
from tests.simulation.workload import Stretch, models


@dataclass(frozen=True, slots=True)
class Attempt:
    """A partition taken over: the epoch of its producer, where it goes on, and with what."""

    epoch: int
    position: int
    model: ModelArtifact


class Attempts:
    """Of each partition: who took it over, and what of that the broker has committed, seen or not.

    changelog: the topic by whose states that is told.
    """

    def __init__(self, broker: Broker, changelog: str) -> None:
        self._broker = broker
        self._changelog = changelog
        self._taken: defaultdict[int, list[Attempt]] = defaultdict(list)
        self._committed_by: defaultdict[int, dict[int, int]] = defaultdict(dict)
        broker.on_commit = self._note_commit

    def add(self, partition: int, attempt: Attempt) -> None:
        """A partition was taken over."""
        self._taken[partition].append(attempt)

    def committed(self, partition: int, epoch: int) -> int:
        """The place up to which an epoch of the partition's producer has committed."""
        return self._committed_by[partition].get(epoch, 0)

    def stretches(self, partition: int, end: int) -> list[Stretch]:
        """What scored each record: the last who took over before it, and has committed anything."""
        able = [one for one in self._taken[partition] if self._has_committed(partition, one)]
        able.sort(key=lambda one: one.epoch)
        found: list[Stretch] = []
        for offset in range(end):
            suits = [one for one in able if one.position <= offset]
            model = suits[-1].model if suits else models()[0]
            if not found or model is not found[-1].model:
                found.append(Stretch(offset, model))
        return found

    def _has_committed(self, partition: int, attempt: Attempt) -> bool:
        return self.committed(partition, attempt.epoch) > attempt.position

    def _note_commit(self, transaction: Transaction) -> None:
        for topic, partition in transaction.partitions:
            state = self._broker.log(topic, partition).last(PARTITION_STATE_KEY, transaction)
            if topic == self._changelog and state is not None:
                self._committed_by[partition][transaction.epoch] = source_offset(state) + 1


def started_with(seed: int, guarantee: Guarantee) -> tuple[ModelArtifact, ...]:
    """What workers are started with. At-least-once promises nothing where that is not one.

    Drawn apart, so that it changes no other run.
    """
    changes = guarantee == "exactly_once" and random.Random(f"changes of {seed}").random() < 0.5
    return models() if changes else models()[:1]
