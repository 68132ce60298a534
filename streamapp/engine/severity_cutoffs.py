"""Cut-offs of severities that partitions take over while they are scored."""

from typing import Final

import structlog

from streamapp.engine import metrics
from streamapp.features.contract import HOUR_MS
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.severity_budget import Cutoffs

log = structlog.get_logger()

#: Cut-offs published of late that a partition whose stream time is behind may still come to.
_OFFERED_MAX: Final = 32


class OfferedCutoffs:
    """The cut-offs published last."""

    def __init__(self) -> None:
        self._offered: list[Cutoffs] = []

    def offer(self, name: str) -> None:
        """Have cut-offs taken over. Raises CutoffsError."""
        self._offered = [*self._offered, Cutoffs.named(name)][-_OFFERED_MAX:]

    def due(self, after: int, hour: int) -> Cutoffs | None:
        """The newest offered of an hour behind `after`, up to `hour`; None where there are none."""
        due = [one for one in self._offered if after < one.hour <= hour]
        return max(due, key=lambda one: one.hour, default=None)


class CutoffsInForce:
    """By which cut-offs one partition's payments get their severity."""

    def __init__(
        self, partition: int, policy: Policy, offered: OfferedCutoffs, state: PartitionState
    ) -> None:
        self._partition = partition
        self._own = policy
        self._offered = offered
        self._hour = -1
        #: The workers' policy, with the cut-offs in force.
        self.policy = policy
        if state.cutoffs:
            self._hold(Cutoffs.named(state.cutoffs[-1].version))

    def move_on(self, state: PartitionState) -> None:
        """Take newer ones over once the partition's stream time is at their hour.

        The state says so from the next checkpoint on, which is one with the verdicts made by them.
        """
        due = self._offered.due(self._hour, state.clock.time_ms // HOUR_MS)
        if due is None:
            return
        self._hold(due)
        state.take_cutoffs_over(due.name)
        log.info(
            "severity_cutoffs_taken_over",
            partition=self._partition,
            cutoffs=due.name,
            since=state.source_offset + 1,
        )

    def _hold(self, cutoffs: Cutoffs) -> None:
        self._hour = cutoffs.hour
        self.policy = self._own.steered(cutoffs)
        metrics.SEVERITY_CUTOFFS_HOUR.labels(self._partition).set(cutoffs.hour * HOUR_MS / 1000)
