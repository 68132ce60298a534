"""The Python API: score transactions without a broker, with the very code the stream runs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from streamapp.domain.dead_letter import Rejected
from streamapp.domain.verdict import Verdict, decode_verdict
from streamapp.scoring.artifact import ModelArtifact, load
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.erasing import joined, steps, take
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, ScoredBatch
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.risk_version import RiskVersion
from streamapp.scoring.verdicts import SourcePartition

#: Records scored at once; between 64 and 1,024 speed hardly differs, and results never do.
BATCH_RECORDS: Final = 256


class Pipeline:
    """One partition's pipeline with its state in memory.

    from streamapp.scoring import Pipeline
    pipeline = Pipeline.load()
    for verdict in pipeline.score([{"tx_id": "1", "user_id": "ann", "amount": 12.5,
                                    "timestamp": "2026-01-05T09:00:00Z"}]):
        print(verdict.severity, verdict.risk_score)
    """

    def __init__(
        self,
        model: ModelArtifact,
        policy: Policy | None = None,
        *,
        topic: str = "transactions",
        partition: int = 0,
    ) -> None:
        self._model = model
        self._policy = policy or Policy()
        self._source = SourcePartition(topic, partition)
        self.profiles = MemoryProfiles()
        self.state = PartitionState.initial(model.version, model.half_space_trees)
        self._windows: RiskVersion | None = None
        self._next_offset = 0

    @classmethod
    def load(cls, directory: str | Path | None = None, policy: Policy | None = None) -> "Pipeline":
        """A pipeline with the model artifact in `directory`, by default the one that ships.

        Raises ArtifactError.
        """
        return cls(load(Path(directory) if directory else default_model_dir()), policy)

    def take_over(self, windows: RiskVersion) -> None:
        """Go on with these risk windows, as a partition did whose verdicts name them."""
        self._windows = windows
        self.state.take_over(windows.version)

    def score(self, transactions: Iterable[Mapping[str, Any]]) -> list[Verdict | Rejected]:
        """The verdict on each transaction, in order; a `Rejected` says why where there is none."""
        outcomes: list[Verdict | Rejected] = []
        pending = list(transactions)
        for start in range(0, len(pending), BATCH_RECORDS):
            chunk = pending[start : start + BATCH_RECORDS]
            first_offset = self._next_offset
            values = [msgspec.json.encode(transaction) for transaction in chunk]
            keys = [str(transaction.get("user_id", "")).encode() for transaction in chunk]
            scored = self.process(keys, values)
            found: dict[int, Verdict | Rejected] = {
                letter.offset - first_offset: letter.rejected for letter in scored.dead_letters
            }
            for row, payload in zip(scored.rows, scored.payloads, strict=True):
                found[row] = decode_verdict(payload)
            outcomes += [found[row] for row in range(len(chunk))]
        return outcomes

    def process(self, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> ScoredBatch:
        """Score records as the topic holds them; their offsets go on from the last call's."""
        offsets = range(self._next_offset, self._next_offset + len(values))
        self._next_offset += len(values)
        records = Records(self._source, keys, values, offsets)
        around = (self.profiles, self.state, self._model, self._policy, self._windows)
        return joined([(step.begin, take(step, *around)) for step in steps(records)])
