"""Verdicts made again from what they record come out as the same bytes."""

from collections import Counter
from dataclasses import replace

import msgspec

from streamapp.domain.verdict import Severity, decode_verdict
from streamapp.features.risk_windows import RISK_NAMES
from streamapp.scoring import Pipeline
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.policy import Policy
from streamapp.scoring.recomputation import recompute
from streamapp.scoring.risk_version import RiskVersion
from streamapp.scoring.severity_budget import Cutoffs
from tests.scoring.conftest import Traffic


def _reproduced(model: ModelArtifact, traffic: Traffic, policy: Policy) -> Counter[bool | None]:
    scored = Pipeline(model, policy).process(traffic.keys[:3_000], traffic.values[:3_000])
    payloads = list(scored.payloads)[::3]
    found = [recompute(one, decode_verdict(one), model, policy) for one in payloads]
    return Counter(one.reproduced for one in found)


def test_the_same_bytes(traffic: Traffic, model: ModelArtifact, fed: ModelArtifact) -> None:
    """But for a few whose features stand so near a threshold that six decimals do not tell."""
    for one in (model, fed):
        found = _reproduced(one, traffic, Policy(anomaly_severity=Severity.LOW))
        assert 0 == found[None]
        assert found[False] <= 0.01 * found.total()


def test_windows_taken_over(traffic: Traffic, fed: ModelArtifact) -> None:
    """Their values stand in the verdict, with their version."""
    assert fed.supervised is not None
    table = fed.supervised.table
    halved = RiskVersion.of(replace(table, values=tuple(one / 2 for one in table.values)))
    pipeline = Pipeline(fed)
    own = pipeline.process(traffic.keys[:500], traffic.values[:500]).payloads
    pipeline.take_over(halved)
    taken = pipeline.process(traffic.keys[500:1_000], traffic.values[500:1_000]).payloads
    assert {None} == {decode_verdict(one).versions.risk_windows for one in own}
    assert {halved.version} == {decode_verdict(one).versions.risk_windows for one in taken}
    found = [recompute(one, decode_verdict(one), fed, Policy()).reproduced for one in taken]
    assert found.count(True) >= 0.98 * (len(found) - found.count(None))


def test_cutoffs_taken_over(traffic: Traffic, model: ModelArtifact) -> None:
    """Severity follows from the risk score and the cut-offs that the verdict names."""
    cutoffs = Cutoffs(474_000, (20.0, 40.0, 60.0))
    policy = Policy().steered(cutoffs)
    scored = Pipeline(model, policy).process(traffic.keys[:500], traffic.values[:500])
    verdicts = list(map(decode_verdict, scored.payloads))
    assert {cutoffs.name} == {one.versions.cutoffs for one in verdicts}
    found = [
        recompute(*pair, model, Policy()) for pair in zip(scored.payloads, verdicts, strict=True)
    ]
    assert all("severity" not in one.differs for one in found)
    assert all(sum(v.risk_score >= c for c in cutoffs.risks) == v.severity.rank for v in verdicts)


def test_what_has_no_features(traffic: Traffic, model: ModelArtifact, fed: ModelArtifact) -> None:
    """A duplicate, and a verdict of another contract: it is said why."""
    key, value = traffic.keys[0], traffic.values[0]
    [first, again] = Pipeline(model).process([key, key], [value, value]).payloads
    found = recompute(again, decode_verdict(again), model, Policy())
    assert (None, True) == (found.reproduced, "repeats" in (found.why or ""))
    verdict = decode_verdict(first)
    foreign = msgspec.structs.replace(verdict, features={"one": 1.0})
    found = recompute(msgspec.json.encode(foreign), foreign, model, Policy())
    assert (None, True) == (found.reproduced, "contract" in (found.why or ""))
    [aided] = Pipeline(fed).process([key], [value]).payloads
    assert set(RISK_NAMES) < set(decode_verdict(aided).features)
