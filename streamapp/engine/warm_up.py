"""Loops are compiled or loaded before the first payment waits for it."""

import gc
import sys
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from streamapp.domain.verdict import Severity
from streamapp.engine import fetched_records
from streamapp.engine.partition import CARRIED_HEADERS, verdict_messages
from streamapp.engine.record_batch import Message, Messages, RecordBatch
from streamapp.engine.record_columns import RecordColumns
from streamapp.features.profile import empty_profiles, seal_all, unseal_all
from streamapp.features.profile_view import view
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, process
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.verdicts import SourcePartition

_USERS: Final = 50
_BATCH_RECORDS: Final = 256


def warm_up(model: ModelArtifact) -> None:
    """Run every loop a batch meets; from here on garbage is collected for a worker's needs.

    Enough events, of enough users, to fill a window of the half-space trees; all are explained.
    """
    source, policy = SourcePartition("warm-up", 0), Policy(explain_severity=Severity.LOW)
    profiles = MemoryProfiles()
    state = PartitionState.initial(model.version, model.half_space_trees)
    for found in _batches(2 * model.half_space_trees.window):
        records = Records(source, found.keys, found.values, found.offsets)
        scored = process(records, profiles, state, model, policy)
        _fetched(verdict_messages(found, scored.rows, scored), 0)
    images = seal_all(empty_profiles(1), np.zeros(1, np.int64))
    unseal_all(images)
    view(images[0])
    gc.collect()
    gc.freeze()
    # The thread that fetches hands over every few ms; by default it would wait 5 ms for each turn.
    sys.setswitchinterval(0.001)
    # What a batch makes is freed by reference counts; collecting less often saves 3 % (measured).
    gc.set_threshold(200_000, 20, 100)


def _batches(events: int) -> Iterator[RecordColumns]:
    """As they would be fetched.

    The first has one record: to numpy an array of one is aligned and contiguous wherever it lies,
    and numba compiles a loop for it of its own.
    """
    stops = [1, *range(_BATCH_RECORDS, events, _BATCH_RECORDS), events]
    start = 0
    for stop in stops:
        yield _fetched(Messages.of([_message(number) for number in range(start, stop)]), start)
        start = stop


def _message(number: int) -> Message:
    user = f"warm-up {number % _USERS}"
    event = {"tx_id": str(number), "user_id": user, "amount": 1.0, "timestamp": number * 1000}
    headers = [(name, b"0") for name in CARRIED_HEADERS]
    return user.encode(), msgspec.json.encode(event), headers


def _fetched(messages: Messages, first: int) -> RecordColumns:
    """Written as a record batch and read again."""
    batch = RecordBatch([messages], 0, is_transactional=False)
    found = fetched_records.records(memoryview(batch._build()))
    found.offsets[:] += first
    return found
