"""Risk windows that partitions take over while they are scored; each version a file of its name."""

from pathlib import Path
from typing import Final

import structlog

from streamapp.engine import metrics
from streamapp.engine.recovery import RecoveryError
from streamapp.features.contract import DAY_MS
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import (
    PartitionState,
    stored_model,
    stored_risk_windows,
)
from streamapp.scoring.risk_version import RiskVersion, RiskVersionError

log = structlog.get_logger()

#: Versions kept in memory: partitions take over at their own times.
_KEPT_MAX: Final = 8
#: Versions published of late that a partition whose stream time is behind may still come to.
_OFFERED_MAX: Final = 4


class RiskVersions:
    """The versions in a directory, and those published last."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._kept: dict[str, RiskVersion] = {}
        self._offered: list[RiskVersion] = []

    def offer(self, version: str) -> None:
        """Have a version taken over. Raises RiskVersionError."""
        self._offered = [*self._offered, self.load(version)][-_OFFERED_MAX:]

    def due(self, after: int, day: int) -> RiskVersion | None:
        """The newest version offered of a day behind `after`, up to `day`; None where none is."""
        due = [one for one in self._offered if after < one.table.day <= day]
        return max(due, key=lambda one: one.table.day, default=None)

    def load(self, version: str) -> RiskVersion:
        """Raises RiskVersionError."""
        if version not in self._kept:
            if self._directory is None:
                raise RiskVersionError("STREAMAPP_WORKER__RISK_WINDOWS_DIR is not set")
            try:
                image = (self._directory / version).read_bytes()
            except OSError as error:
                raise RiskVersionError(f"{self._directory / version}: {error.strerror}") from error
            self._kept[version] = RiskVersion.stored(version, image)
            while len(self._kept) > _KEPT_MAX:
                del self._kept[next(iter(self._kept))]
        return self._kept[version]


class WindowsInForce:
    """What one partition is scored with."""

    def __init__(
        self, partition: int, model: ModelArtifact, versions: RiskVersions, state: bytes | None
    ) -> None:
        """state: the partition's stored one. Raises RecoveryError where its windows can't be had:
        others would give other verdicts."""
        self._partition = partition
        self._own = model.supervised.table if model.supervised else None
        self._versions = versions
        #: None for the model's own.
        self.taken_over = self._stored(model, state)
        self._show()

    def _stored(self, model: ModelArtifact, state: bytes | None) -> RiskVersion | None:
        if state is None or self._own is None or stored_model(state) != model.version:
            return None
        named = stored_risk_windows(state)
        if not named:
            return None
        try:
            return self._versions.load(named[-1].version)
        except RiskVersionError as error:
            raise RecoveryError(
                f"partition {self._partition} is scored with risk windows {named[-1].version},"
                f" which can't be had: {error}; put the file there, or start with a model trained"
                f" anew",
                "risk_windows",
            ) from error

    def move_on(self, state: PartitionState) -> None:
        """Take newer ones over once the partition's stream time is at their day.

        The state says so from the next checkpoint on, which is one with the verdicts made by them.
        """
        if self._own is None:
            return
        table = self.taken_over.table if self.taken_over else self._own
        due = self._versions.due(table.day, state.clock.time_ms // DAY_MS)
        if due is not None:
            self.taken_over = due
            state.take_over(due.version)
            self._show()
            log.info(
                "risk_windows_taken_over",
                partition=self._partition,
                version=due.version,
                since=state.source_offset + 1,
            )

    def _show(self) -> None:
        if self._own is not None:
            table = self.taken_over.table if self.taken_over else self._own
            midnight_s = table.day * DAY_MS / 1000
            metrics.RISK_WINDOWS_DAY.labels(self._partition).set(midnight_s)
