"""No payment waits for a loop to be compiled or loaded."""

import subprocess
import sys

PROGRAM = """
import sys
import msgspec
import numpy as np
from streamapp.engine import fetched_records
from streamapp.engine.partition import verdict_messages
from streamapp.engine.record_batch import Messages, RecordBatch
from streamapp.engine.warm_up import warm_up
from streamapp.features.profile import seal_all, unseal_all
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, process
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.verdicts import SourcePartition

def loops():
    named = [(name, value) for name, module in [*sys.modules.items()]
             if name.startswith("streamapp") for value in vars(module).values()]
    return {value.py_func.__qualname__: len(value.signatures) for _, value in named
            if hasattr(value, "py_func")}

def payment(number, headers):
    event = {"tx_id": f"t{number}", "user_id": f"u{number % 9}", "amount": 5.0 + number,
             "timestamp": 1_700_000_000_000 + number, "merchant_id": "m", "currency": "EUR"}
    return b"u%d" % (number % 9), msgspec.json.encode(event), headers

model = load(default_model_dir())
warm_up(model)
before = loops()
profiles, policy = MemoryProfiles(), Policy()
state = PartitionState.initial(model.version, model.half_space_trees)
for headers in ([], [("sent_at", b"1")]):
    for size in (1, 2, 30):
        start = state.source_offset + 1
        sent = Messages.of([payment(start + i, headers) for i in range(size)])
        batch = RecordBatch([sent], 0, is_transactional=False)._build()
        found = fetched_records.records(memoryview(batch))
        records = Records(SourcePartition("t", 0), found.keys, found.values, found.offsets + start)
        scored = process(records, profiles, state, model, policy)
        assert len(scored.rows) == size
        unseal_all(seal_all(profiles.block, scored.touched))
        RecordBatch([verdict_messages(found, scored.rows, scored)], 0,
                    is_transactional=True)._build()
print(len(before) > 20, {name for name, count in loops().items() if count != before[name]})
"""


def test_after_it_nothing_is_compiled_for_a_batch_of_any_size() -> None:
    """Of one record, too, and with headers to be carried on or none."""
    outcome = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=300
    )
    assert ("True set()\n", "") == (outcome.stdout, outcome.stderr)
