"""What the stream would say of a payment now, without it having been one."""

from dataclasses import replace
from typing import Final

import numpy as np

from streamapp.features.profile import place, unseal_all
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, ScoredBatch, process
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.risk_version import RiskVersion
from streamapp.scoring.verdicts import SourcePartition

#: Stands in a verdict where the name of a source topic would: so its id meets no other's.
WHAT_IF: Final = "what-if"


def what_if(
    key: bytes,
    value: bytes,
    image: bytes | None,
    state: PartitionState,
    partition: int,
    model: ModelArtifact,
    policy: Policy,
    taken_over: RiskVersion | None = None,
) -> ScoredBatch:
    """The outcome for one record by the very loops of the stream; nothing given is changed.

    image: the stored profile of the user whose key it is, None where there is none.
    """
    profiles = MemoryProfiles()
    if image is not None:
        slot = profiles.slots([key])
        place(profiles.block, slot.astype(np.int64), unseal_all([image]))
    records = Records(
        SourcePartition(WHAT_IF, partition), [key], [value], [state.source_offset + 1]
    )
    scratch = replace(state, half_space=state.half_space.copy(), clock=replace(state.clock))
    return process(records, profiles, scratch, model, policy, taken_over)
