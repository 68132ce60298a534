"""What a run scores: a small model, records of few users with all that goes wrong, and the truth.

The truth is an undisturbed run through `take`: no broker, no store, no checkpoint.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from streamapp.domain.dead_letter import DeadLetter
from streamapp.domain.erasure import erasure
from streamapp.domain.verdict import SEVERITIES, Severity
from streamapp.engine.store import PARTITION_STATE_KEY, user_key
from streamapp.features.profile import seal
from streamapp.lifecycle.fitting import FitSettings
from streamapp.lifecycle.training import read_reference, train
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.erasing import joined, steps, take
from streamapp.scoring.partition_state import InForce, PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.risk_version import RiskVersion
from streamapp.scoring.verdicts import SourcePartition
from tests.simulation.topic_log import Header, Message

#: Low cut-offs, so that a few hundred records have anomalies of every severity among them.
POLICY: Final = Policy(cutoffs=(25.0, 50.0, 75.0), explain_severity=Severity.HIGH)

START_MS: Final = 1_767_600_000_000
_DAY_MS: Final = 86_400_000


def reference_records() -> Records:
    """Synthetic payments to train on."""
    draw = random.Random(11)
    payments = [_payment(draw, f"r{n}", f"u{draw.randrange(60)}", n * 60_000) for n in range(3_000)]
    return Records(
        SourcePartition("reference", 0),
        [payment["user_id"].encode() for payment in payments],
        [json.dumps(payment).encode() for payment in payments],
        range(len(payments)),
    )


@cache
def models() -> tuple[ModelArtifact, ...]:
    """Two of a few small trees, fitted on synthetic payments; once for each process."""
    settings = FitSettings(
        forest_trees=4,
        forest_samples=32,
        half_space_trees=3,
        half_space_height=3,
        half_space_window=40,
        mode_rows_min=200,
    )
    reference = read_reference([[reference_records()]])
    return tuple(
        train(reference, seed=seed, description="for the simulator", settings=settings)
        for seed in (1, 2)
    )


@dataclass(frozen=True, slots=True)
class Truth:
    """What one partition must come to, by source offset or key."""

    verdicts: dict[int, bytes]
    severities: dict[int, int]
    dead_letters: dict[int, DeadLetter]
    state: dict[bytes, bytes]
    erased: list[int]

    def anomalies(self) -> dict[int, bytes]:
        """Verdicts that are worth an alert."""
        limit = SEVERITIES.index(POLICY.anomaly_severity)
        return {at: self.verdicts[at] for at, s in self.severities.items() if s >= limit}


def payments(draw: random.Random, partitions: int, count: int) -> list[list[Message]]:
    """Records of each partition: payments, and between them what goes wrong in the world."""
    users = [f"user-{n}" for n in range(draw.randint(partitions, 4 * partitions + 2))]
    found: list[list[Message]] = [[] for _ in range(partitions)]
    time_ms = START_MS
    for n in range(count):
        at = draw.randrange(len(users))
        time_ms += int(draw.expovariate(1 / 40_000))
        payment = _payment(draw, f"t{n}", users[at], time_ms - START_MS)
        place = found[at % partitions]
        place.append(_message(draw, payment))
        if draw.random() < 0.08:  # the same payment again, at once or later
            place.append(draw.choice(place[-20:]))
        if draw.random() < 0.03:
            place.append((users[at].encode(), erasure(users[at]), ()))
        if draw.random() < 0.06:
            place.append(_damaged(draw, payment))
    return found


@dataclass(frozen=True, slots=True)
class Stretch:
    """Records from a source offset on that one model scores, with what was taken over.

    taken: what of it is taken over where they begin.
    """

    begin: int
    model: ModelArtifact
    windows: RiskVersion | None = None
    policy: Policy = POLICY
    taken: tuple[InForce, ...] = ()


def truth(
    source: SourcePartition, messages: Sequence[Message], stretches: Sequence[Stretch]
) -> Truth:
    """The outcome of an undisturbed run in which models change where stretches begin."""
    profiles, scored = MemoryProfiles(), []
    state, model = None, models()[0]
    ends = [*[one.begin for one in stretches[1:]], len(messages)]
    for stretch, end in zip(stretches, ends, strict=True):
        state, model = _handed_over(state, model, stretch.model), stretch.model
        for one in stretch.taken:
            is_windows = stretch.windows is not None and stretch.windows.version == one.version
            (state.take_over if is_windows else state.take_cutoffs_over)(one.version)
        part, offsets = messages[stretch.begin : end], range(stretch.begin, end)
        records = Records(source, [one[0] for one in part], [one[1] for one in part], offsets)
        for step in steps(records):
            found = take(step, profiles, state, model, stretch.policy, stretch.windows)
            scored.append((stretch.begin + step.begin, found))
    found = joined(scored)
    stored = {user_key(user): seal(profile) for user, profile in profiles.items()}
    if state is not None:
        stored[PARTITION_STATE_KEY] = state.to_bytes(model.half_space_trees)
    return Truth(
        dict(zip(found.rows, found.payloads, strict=True)),
        dict(zip(found.rows, found.severities, strict=True)),
        {letter.offset: letter for letter in found.dead_letters},
        stored,
        found.erased,
    )


def _handed_over(
    state: PartitionState | None, before: ModelArtifact, model: ModelArtifact
) -> PartitionState:
    """What a model begins with: half-space trees that another one has taught begin anew."""
    if state is None:
        return PartitionState.initial(model.version, model.half_space_trees)
    image = state.to_bytes(before.half_space_trees)
    return PartitionState.from_bytes(image, model.version, model.half_space_trees)


def _payment(draw: random.Random, tx_id: str, user: str, since_ms: int) -> dict[str, Any]:
    amount = draw.lognormvariate(3, 1) * (40 if draw.random() < 0.03 else 1)
    return {
        "tx_id": tx_id,
        "user_id": user,
        "amount": round(amount, 2),
        "timestamp": START_MS + since_ms,
        "merchant_id": f"m{draw.randrange(9)}",
    }


def _message(draw: random.Random, payment: dict[str, Any]) -> Message:
    headers: tuple[Header, ...] = ()
    if draw.random() < 0.2:
        headers = (("traceparent", payment["tx_id"].encode()), ("other", b"not carried"))
    return payment["user_id"].encode(), json.dumps(payment).encode(), headers


def _damaged(draw: random.Random, payment: dict[str, Any]) -> Message:
    key, value, headers = _message(draw, payment)
    assert value is not None
    time_ms, tx_id = payment["timestamp"], payment["tx_id"]
    choices: list[Message] = [
        (key, None, headers),
        (key, value[:-1], headers),
        (None, value, headers),
        (key, b"\xff" + value, headers),
        (key, json.dumps({**payment, "amount": -1}).encode(), headers),
        _moved(key, {**payment, "tx_id": f"ahead-{tx_id}", "timestamp": time_ms + 9 * _DAY_MS}),
        _moved(key, {**payment, "tx_id": f"late-{tx_id}", "timestamp": time_ms - _DAY_MS // 3}),
    ]
    return draw.choice(choices)


def _moved(key: bytes | None, payment: dict[str, Any]) -> Message:
    return key, json.dumps(payment).encode(), ()
