"""Recorded traffic as a topic may hold it: with bad, repeated, late and far too early messages."""

import json
import random
from dataclasses import dataclass

from streamapp.domain.dead_letter import DeadLetter
from streamapp.domain.verdict import Verdict, decode_verdict
from streamapp.features.profile import seal
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import ScoredBatch, process
from streamapp.scoring.profiles import MemoryProfiles
from tests.scoring.conftest import Traffic

Record = tuple[bytes | None, bytes | None]


def mixed(traffic: Traffic, size: int) -> Traffic:
    """The first `size` payments, and between them what goes wrong in the world."""
    chance = random.Random(5)
    records: list[Record] = []
    for record in list(zip(traffic.keys, traffic.values, strict=True))[:size]:
        records.append(record)
        if chance.random() < 0.08:  # sent again: at once, soon, or long after
            again = records[-min(chance.choice([1, 1, 2, 5, 40, 900]), len(records))]
            records.append(again)
        if chance.random() < 0.06:
            records.append(chance.choice(_WRONG)(*record))
    return Traffic([key for key, _ in records], [value for _, value in records])


def _with(value: bytes | None, **fields: object) -> bytes:
    return json.dumps({**json.loads(value or b"{}"), **fields}).encode()


_WRONG = (
    lambda key, value: (key, None),
    lambda key, value: (key, value[:-1]),
    lambda key, value: (None, value),
    lambda key, value: (key, _with(value, amount=-1)),
    lambda key, value: (key, b"\xff" + value),
    lambda key, value: (
        key,
        _with(value, tx_id=f"ahead-{key!r}", timestamp="2030-01-01T00:00:00Z"),
    ),
    lambda key, value: (key, _with(value, tx_id=f"zero-{key!r}", amount=0)),
    lambda key, value: (key, _with(value, tx_id=f"late-{key!r}", timestamp="2018-12-30T00:00:00Z")),
)


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a run over a partition leaves behind."""

    payloads: dict[int, bytes]
    dead_letters: list[DeadLetter]
    profiles: dict[str, bytes]
    state: bytes
    fenced: int
    late: int
    duplicates: int

    def verdicts(self) -> list[Verdict]:
        """The verdicts, in offset order."""
        return [decode_verdict(payload) for payload in self.payloads.values()]


def run(
    traffic: Traffic, model: ModelArtifact, sizes: list[int], policy: Policy | None = None
) -> Run:
    """Score the traffic in batches of `sizes`; the last size goes on to the end."""
    profiles = MemoryProfiles()
    trees = model.half_space_trees
    state = PartitionState.initial(model.version, trees)
    payloads: dict[int, bytes] = {}
    batches: list[ScoredBatch] = []
    start, upcoming = 0, iter(sizes)
    size = sizes[-1]
    while start < len(traffic.values):
        size = next(upcoming, size)
        records = traffic.records(start, start + size)
        batch = process(records, profiles, state, model, policy or Policy())
        batches.append(batch)
        payloads |= {
            records.offsets[row]: payload
            for row, payload in zip(batch.rows, batch.payloads, strict=True)
        }
        start += size
    return Run(
        payloads,
        [letter for batch in batches for letter in batch.dead_letters],
        {user: seal(profile) for user, profile in profiles.items()},
        state.to_bytes(trees),
        sum(batch.fenced for batch in batches),
        sum(batch.late for batch in batches),
        sum(batch.duplicates for batch in batches),
    )
