"""A verdict made again from what it records: its features, and what the half-space trees said.

The trees' own state of that time is kept nowhere, and the reasons need it: both are taken as they
stand. Everything else of the decision follows from the recorded features and the model by name.
Numbers are recorded with six decimals, so the trees' score is known to half of the last one: the
verdict counts as reproduced where a score within that gives its very bytes.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from streamapp.domain.verdict import SEVERITIES, MemberScore, Scores, Verdict
from streamapp.features.context import CONTEXT_NAMES
from streamapp.features.contract import FEATURE_NAMES
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.calibration import severity_codes, tail_share
from streamapp.scoring.json_rows import DECIMALS
from streamapp.scoring.policy import Policy
from streamapp.scoring.risk import MODES, Reassessment, reassess
from streamapp.scoring.severity_budget import Cutoffs
from streamapp.scoring.verdicts import recommended_action

#: Half of the last decimal that is recorded.
_HALF: Final = 0.5 * 10.0**-DECIMALS

#: What no recorded input gives again.
AS_RECORDED: Final = ("scores.half_space_trees", "reasons")


@dataclass(frozen=True, slots=True)
class Recomputation:
    """Whether the bytes came again; None where they can't be made, and why.

    differs: fields of the verdict that came out otherwise.
    """

    reproduced: bool | None
    why: str | None = None
    differs: list[str] = field(default_factory=list)


def recompute(
    payload: bytes, verdict: Verdict, model: ModelArtifact, policy: Policy
) -> Recomputation:
    """Make a published verdict again by the model that it names, and compare the bytes."""
    if verdict.duplicate_of is not None:
        return Recomputation(None, f"it repeats {verdict.duplicate_of}, where the features stand")
    names = FEATURE_NAMES + (CONTEXT_NAMES if verdict.scores.supervised else ())
    if tuple(verdict.features) != names:
        return Recomputation(None, "its features are of another contract than this build's")
    made = [_again(verdict, trees, model, policy) for trees in _trees_raw(verdict)]
    if any(msgspec.json.encode(one) == payload for one in made):
        return Recomputation(True)
    return Recomputation(False, None, _differing(verdict, made[0]))


def _trees_raw(verdict: Verdict) -> list[float | None]:
    """What the trees may have said, the likeliest first."""
    trees = verdict.scores.half_space_trees
    return [None] if trees is None else [trees.raw, trees.raw - _HALF, trees.raw + _HALF]


def _again(
    verdict: Verdict, trees_raw: float | None, model: ModelArtifact, policy: Policy
) -> Verdict:
    recorded = np.array([list(verdict.features.values())])
    values = np.ascontiguousarray(recorded[:, : len(FEATURE_NAMES)])
    context = recorded[:, len(FEATURE_NAMES) :] if verdict.scores.supervised else None
    found = reassess(values, MODES.index(verdict.mode), trees_raw, model, context)
    named = verdict.versions.cutoffs
    cutoffs = policy.cutoffs if named is None else Cutoffs.named(named).risks
    severity = SEVERITIES[int(severity_codes(np.array([found.risk]), cutoffs)[0])]
    return msgspec.structs.replace(
        verdict,
        risk_score=found.risk,
        severity=severity,
        is_anomaly=severity.rank >= policy.anomaly_severity.rank,
        recommended_action=recommended_action(severity, verdict.mode),
        scores=_scores(verdict.scores, found),
    )


def _scores(recorded: Scores, found: Reassessment) -> Scores:
    supervised = None
    if found.supervised is not None:
        share = float(tail_share(found.supervised.log_p)[0])
        supervised = _member(float(found.supervised.raw[0]), share)
    return Scores(
        isolation_forest=_member(found.forest_raw, found.forest_share),
        half_space_trees=recorded.half_space_trees,
        supervised=supervised,
        rules=recorded.rules,
    )


def _member(raw: float, share: float) -> MemberScore:
    return MemberScore(round(raw, DECIMALS) + 0.0, round(share, DECIMALS) + 0.0)


def _differing(recorded: Verdict, made: Verdict) -> list[str]:
    names = [
        *("risk_score", "severity", "is_anomaly", "recommended_action"),
        *(f"scores.{name}" for name in Scores.__struct_fields__),
    ]
    found = [name for name in names if _at(recorded, name) != _at(made, name)]
    return found or ["bytes"]


def _at(verdict: Verdict, name: str) -> object:
    found: object = verdict
    for part in name.split("."):
        found = getattr(found, part)
    return found
