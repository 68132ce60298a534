"""At-least-once writes a checkpoint's state as one record batch: the largest has to fit."""

import pytest

from streamapp.engine.attempt import Attempt
from streamapp.engine.outbox import RECORD_BYTES_MAX
from streamapp.engine.partition_log import state_messages, whole_profiles_max
from streamapp.engine.record_batch import RecordBatch
from streamapp.engine.store import PARTITION_STATE_KEY, user_key
from streamapp.features.profile import PROFILE_BYTES
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.half_space_trees import HalfSpaceState, state_bytes
from streamapp.scoring.partition_state import PartitionState


@pytest.mark.parametrize("batch_records", [1, 512, 1024])
def test_the_largest_checkpoint_fits_a_record_batch(
    model: ModelArtifact, batch_records: int
) -> None:
    """Profiles up to the limit, then a batch of other users, with the longest names there are."""
    trees = model.half_space_trees
    profiles = whole_profiles_max(state_bytes(trees), batch_records) - 1 + batch_records
    state = PartitionState(model.version, HalfSpaceState.empty(trees)).to_bytes(trees)
    items = [(user_key("\U0001f600" * 128), bytes(PROFILE_BYTES))] * profiles
    attempt = Attempt({"a topic's name" * 16: 2**62, "b": 0})
    items.append((PARTITION_STATE_KEY, state))
    messages = state_messages(items, "an id of a topic", 0, attempt)
    size = RecordBatch([messages], 0, is_transactional=False).size()
    assert RECORD_BYTES_MAX * 0.95 < size <= RECORD_BYTES_MAX
