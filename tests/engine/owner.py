"""One owner of a partition over a fake broker and a real store: born, killed, born again."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from aiokafka.structs import ConsumerRecord

from streamapp.engine.dead_letter_limit import DeadLetterLimit
from streamapp.engine.partition import OutputTopics, PartitionTask, Scorer
from streamapp.engine.profile_table import ProfileTable
from streamapp.engine.store import StateStore
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.policy import Policy
from tests.engine.fake_log import FakeBroker, FakeLog, Faults
from tests.scoring.conftest import SOURCE

OUTPUTS = OutputTopics("verdicts", "anomalies", "dlq")


class TracedStore(StateStore):
    """A store whose writes are seen in the broker's trace, and fail where told to."""

    def __init__(self, directory: Path, broker: FakeBroker, faults: Faults) -> None:
        super().__init__(directory)
        self._broker = broker
        self._faults = faults
        self.is_closed = False

    def write(self, items: Iterable[tuple[bytes, bytes | None]], changelog_offset: int) -> None:
        """Write unless told to fail."""
        self._faults.raise_at("store")
        super().write(items, changelog_offset)
        self._broker.trace.append("store")

    def close(self) -> None:
        """Release the directory; twice is no harm."""
        if not self.is_closed:
            super().close()
        self.is_closed = True


class Owner:
    """A worker's hold on one partition, state recovered as `recover` would."""

    def __init__(
        self,
        directory: Path,
        broker: FakeBroker,
        model: ModelArtifact,
        *,
        transactional: bool = False,
        checkpoint_profiles_max: int = 384,
        cache_profiles_max: int = 2_048,
        checkpoints_written_max: int = 1,
        limit: DeadLetterLimit | None = None,
    ) -> None:
        self.faults = Faults()
        self.store = TracedStore(directory, broker, self.faults)
        missing = broker.changelog[self.store.changelog_offset + 1 :]
        if missing:
            StateStore.write(self.store, missing, len(broker.changelog) - 1)
        self.log = FakeLog(broker, self.faults, transactional=transactional)
        self.table = ProfileTable(self.store, cache_profiles_max)
        self.task = PartitionTask(
            SOURCE,
            Scorer(model, Policy(), OUTPUTS, checkpoint_profiles_max),
            self.store,
            self.table,
            self.log,
            limit or DeadLetterLimit(100_000, 1.0, 100_000),
            checkpoints_written_max,
            calm_s=0.0,
        )

    async def score(self, found: Sequence[ConsumerRecord], size: int) -> None:
        """Score records in batches of `size`."""
        for start in range(0, len(found), size):
            await self.task.score(found[start : start + size])

    def die(self, *, keep_sent: bool = True) -> None:
        """End as by kill -9."""
        self.log.crash(keep_sent=keep_sent)
        self.store.close()

    def state(self) -> dict[bytes, bytes]:
        """Everything in the store."""
        return dict(self.store.items())


NewOwner = Callable[..., Owner]
"""Makes owners of one and the same partition."""
