"""Who took a partition over, with which model, and so which model scored which record."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamapp.scoring.artifact import ModelArtifact
from tests.simulation.faults import Guarantee
from tests.simulation.workload import Stretch, models


@dataclass(frozen=True, slots=True)
class Attempt:
    """A partition taken over: the epoch of its producer, where it goes on, and with what."""

    epoch: int
    position: int
    model: ModelArtifact


def started_with(seed: int, guarantee: Guarantee) -> tuple[ModelArtifact, ...]:
    """What workers are started with. At-least-once promises nothing where that is not one.

    Drawn apart, so that it changes no other run.
    """
    changes = guarantee == "exactly_once" and random.Random(f"changes of {seed}").random() < 0.5
    return models() if changes else models()[:1]


def stretches(
    attempts: Sequence[Attempt], committed_by: Mapping[int, int], end: int
) -> list[Stretch]:
    """What scored each record: the last who took over before it, and has committed anything."""
    able = [one for one in attempts if committed_by.get(one.epoch, 0) > one.position]
    able.sort(key=lambda one: one.epoch)
    found: list[Stretch] = []
    for offset in range(end):
        suits = [one for one in able if one.position <= offset]
        model = suits[-1].model if suits else models()[0]
        if not found or model is not found[-1].model:
            found.append(Stretch(offset, model))
    return found
