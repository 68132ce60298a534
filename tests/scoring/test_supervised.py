"""Verdicts of a model that has learned from labels."""

import json
from dataclasses import replace
from itertools import pairwise

import jsonschema
import numpy as np
import pytest

from streamapp.contract.json_schema import verdict_schema
from streamapp.domain.verdict import Severity
from streamapp.features.context import context
from streamapp.features.risk_windows import RISK_NAMES
from streamapp.lifecycle.training import read_reference
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.calibration import TailCurve
from streamapp.scoring.risk import contributions
from streamapp.scoring.supervised import SUPERVISED_INPUTS, Supervised
from tests.scoring.conftest import Traffic
from tests.scoring.mixed import Run, mixed, run


def supervised_of(model: ModelArtifact) -> Supervised:
    """Its supervised part."""
    assert model.supervised is not None
    return model.supervised


@pytest.fixture(scope="module")
def stream(traffic: Traffic) -> Traffic:
    """Recorded traffic with everything that may go wrong in it."""
    return mixed(traffic, 2_500)


@pytest.fixture(scope="module")
def whole(stream: Traffic, fed: ModelArtifact) -> Run:
    """The outcome of the stream in one batch."""
    return run(stream, fed, [4_096])


@pytest.mark.parametrize("sizes", [[1], [7, 256], [300, 1, 2, 90]])
def test_batches_may_be_cut_anywhere(
    stream: Traffic, whole: Run, fed: ModelArtifact, sizes: list[int]
) -> None:
    """The same bytes, with a supervised part as well."""
    assert whole == run(stream, fed, sizes)


def test_verdicts_keep_the_published_schema(whole: Run) -> None:
    """With the supervised score and risk windows in them."""
    validator = jsonschema.Draft202012Validator(verdict_schema())
    for payload in list(whole.payloads.values())[::10]:
        validator.validate(json.loads(payload))


def test_verdicts_hold_what_the_model_saw_and_said(whole: Run, fed: ModelArtifact) -> None:
    """Its inputs by name and its opinion, raw and as a tail share."""
    supervised, seen = supervised_of(fed), 0
    for verdict in whole.verdicts():
        if verdict.duplicate_of is not None:
            continue
        assert [*SUPERVISED_INPUTS] == [*verdict.features]
        said = verdict.scores.supervised
        assert said is not None
        share = np.exp(supervised.curve.log_tail(np.array([said.raw])))[0]
        assert share == pytest.approx(said.calibrated, rel=0.01, abs=1e-6)
        seen += said.raw != 0
    assert seen > 1_000


def test_logged_inputs_make_the_logged_score_again(whole: Run, fed: ModelArtifact) -> None:
    """The vectors of verdicts can be trained on: they are what was scored, to six decimals."""
    verdicts = [one for one in whole.verdicts() if one.duplicate_of is None]
    inputs = np.array([[*one.features.values()] for one in verdicts])
    said = np.array([one.scores.supervised.raw for one in verdicts if one.scores.supervised])
    again = supervised_of(fed).trees.score(inputs)
    # A value within the rounding of a threshold may fall on its other side.
    assert (np.abs(again - said) < 1e-5).mean() > 0.995


def test_logged_windows_are_those_of_the_table(
    stream: Traffic, whole: Run, fed: ModelArtifact
) -> None:
    """Of the merchant each payment names."""
    from streamapp.features.columns import name_hash

    table, checked = supervised_of(fed).table, 0
    for offset, verdict in zip(whole.payloads, whole.verdicts(), strict=True):
        if verdict.duplicate_of is not None:
            continue
        sent = json.loads(stream.values[offset] or b"{}")
        fields = ("merchant_id", "merchant_category", "device_id")
        hashes = np.array([[name_hash(sent.get(name)) for name in fields]], np.uint32)
        expected = np.round(table.look_up(hashes)[0], 6).tolist()
        assert expected == [verdict.features[name] for name in RISK_NAMES]
        checked += any(expected)
    assert checked > 1_000


def test_reasons_are_the_leaders(whole: Run) -> None:
    """A bad merchant's past is what is said first."""
    severe = [v for v in whole.verdicts() if v.severity != Severity.LOW and v.reasons]
    first = [verdict.reasons[0] for verdict in severe]
    told = [one for one in first if one.feature in RISK_NAMES]
    assert len(told) > len(first) / 2
    assert any("fraud among" in one.text and "this merchant" in one.text for one in told)
    assert all(one.value >= 0 for one in told)


def test_a_model_that_says_nothing_leaves_the_ensembles_order(
    stream: Traffic, model: ModelArtifact, fed: ModelArtifact
) -> None:
    """All scores are as usual to it: risks rank as the ensemble's do."""
    silence = TailCurve(np.array([1e9]), np.zeros(1), 0.0)
    silent = replace(fed, supervised=replace(supervised_of(fed), curve=silence))
    pairs = zip(
        run(stream, model, [500]).verdicts(), run(stream, silent, [500]).verdicts(), strict=True
    )
    ranked = sorted((theirs.risk_score, ours.risk_score) for theirs, ours in pairs)
    assert len({risk for risk, _ in ranked}) > 500
    # What rounds to the same hundredth of one may differ by a hundredth of the other.
    assert all(
        one[1] <= other[1] + 0.1 for one, other in pairwise(ranked) if one[0] + 0.01 < other[0]
    )


def test_half_space_trees_learn_as_if_there_were_no_labels(
    stream: Traffic, model: ModelArtifact, fed: ModelArtifact
) -> None:
    """What labels know of old fraud must not open them to new."""
    fed_run, unaided = run(stream, fed, [500]), run(stream, model, [500])
    named = [v.scores.half_space_trees for v in fed_run.verdicts()]
    assert [v.scores.half_space_trees for v in unaided.verdicts()] == named


def test_contributions_add_up(traffic: Traffic, fed: ModelArtifact) -> None:
    """To the score, before they are put on the scale of risk; on it, what pushed up to -log p."""
    from streamapp.scoring.half_space_trees import HalfSpaceState
    from streamapp.scoring.risk import assess

    reference = read_reference([[traffic.records(0, 500)]])
    supervised = supervised_of(fed)
    told = context(supervised.table, reference.time_ms, reference.names)
    state = HalfSpaceState.empty(fed.half_space_trees)
    modes = reference.is_cold.astype(np.uint8)
    block = assess(reference.rows, reference.users, modes, state, fed, (50, 70, 90), context=told)
    shares = supervised.trees.contributions(block.inputs)
    expected = supervised.trees.expected + shares.sum(axis=1)
    assert supervised.trees.score(block.inputs) == pytest.approx(expected, abs=1e-9)
    assert block.supervised is not None
    surprise = contributions(block, np.arange(500), fed)
    pushed = np.maximum(surprise, 0).sum(axis=1)
    moved = (shares > 0).any(axis=1)
    assert -block.supervised.verdict_log_p[moved] == pytest.approx(pushed[moved], abs=1e-9)
