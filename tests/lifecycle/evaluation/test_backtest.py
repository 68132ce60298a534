"""The backtest scores as the worker would, with models made of the past alone."""

import dataclasses
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from streamapp.features.contract import DAY_MS, HOUR_MS
from streamapp.lifecycle.evaluation.backtest import (
    RISK,
    EvaluationError,
    Outcome,
    Plan,
    backtest,
)
from streamapp.lifecycle.evaluation.report import KnownCards, evaluate
from streamapp.lifecycle.evaluation.traffic import Piece
from streamapp.lifecycle.topic_tally import add, decided
from streamapp.replay.brokerless import RecordedTopic
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample
from streamapp.scoring.artifact import ModelArtifact, load
from streamapp.scoring.calibration import severity_codes
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import process
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.severity_budget import Tally

ROWS = 24_000
PARTITIONS = 2


def day_ms(day: str) -> int:
    """Midnight of a day, UTC."""
    return int(np.datetime64(day, "ms").astype(np.int64))


#: The sample's first rows go from 1 April to 27 April 2018.
START_MS = day_ms("2018-04-15")


def batches(limit: int, is_turned: bool) -> Iterator[list[Piece]]:
    """The sample's first rows, with their labels or with these turned round."""
    topic = RecordedTopic("t", PARTITIONS)
    for batch in recorded(sample("handbook"), limit=limit):
        labels = (1 - batch.labels if is_turned else batch.labels).astype(np.int8)
        none = np.full(len(batch), -1, np.int16)
        yield [Piece(records, labels[rows], none[rows]) for rows, records in topic.place(batch)]


def run(plan: Plan, limit: int = ROWS, is_turned: bool = False) -> Outcome:
    """The outcome of a plan."""
    return backtest(batches(limit, is_turned), plan, lambda _: None)


PLAN = Plan(START_MS, train_ms=14 * DAY_MS, refit_ms=3 * DAY_MS)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """Of the plan above."""
    return run(PLAN)


def steered_severities(model: ModelArtifact, limit: int) -> list[int]:
    """Of verdicts by cut-offs made of the verdicts before each hour, as workers take them over."""
    topic, tally, policy = RecordedTopic("t", PARTITIONS), Tally(), Policy()
    profiles = [MemoryProfiles() for _ in range(PARTITIONS)]
    trees = model.half_space_trees
    states = [PartitionState.initial(model.version, trees) for _ in range(PARTITIONS)]
    found, hour, payloads = list[int](), -1, list[bytes]()
    for payment in recorded(sample("handbook"), limit=limit, batch_rows=1):
        if payment.time_ms[0] // HOUR_MS != hour:
            add(tally, (one for one in map(decided, payloads) if one is not None))
            payloads, hour = [], int(payment.time_ms[0]) // HOUR_MS
            policy = Policy().steered(tally.cutoffs(hour))
        [(_, records)] = topic.place(payment)
        number = records.source.partition
        scored = process(records, profiles[number], states[number], model, policy)
        payloads += scored.payloads
        found += scored.severities
    return sorted(found)


def test_a_given_model_scores_as_workers_do() -> None:
    """Severities are those of the verdicts, to the last, when half-space trees saw the same."""
    model = load(default_model_dir())
    first = int(next(recorded(sample("handbook"), limit=1)).time_ms[0])
    outcome = run(Plan(first, model=model), limit=3_000)
    assert steered_severities(model, 3_000) == sorted(outcome.severity.tolist())
    as_calibrated = severity_codes(outcome.scores[RISK])
    assert (as_calibrated != outcome.severity).any()
    assert 0 == outcome.models


def test_only_the_test_is_measured(outcome: Outcome) -> None:
    """Rows from its beginning on, each once; the others are history."""
    assert START_MS <= outcome.test.time_ms.min()
    assert ROWS == outcome.history + len(outcome.test)
    assert {len(outcome.test)} == {len(score) for score in outcome.scores.values()}


def test_models_are_trained_every_few_days(outcome: Outcome) -> None:
    """One for each three days begun."""
    days = (int(outcome.test.time_ms.max()) - START_MS) / DAY_MS
    assert int(days // 3) + 1 == outcome.models


def test_what_comes_later_changes_no_earlier_score(outcome: Outcome) -> None:
    """Without the last rows, the scores of the others stay as they are, bit for bit."""
    shorter = run(PLAN, limit=ROWS - 3_000)
    n = len(shorter.test)
    whole = outcome.test.time_ms < PLAN.test_from_ms + 3 * DAY_MS
    mine = shorter.test.time_ms < PLAN.test_from_ms + 3 * DAY_MS
    assert n < len(outcome.test)
    for name, score in outcome.scores.items():
        assert np.array_equal(score[whole], shorter.scores[name][mine])


def test_labels_reach_no_label_free_score(outcome: Outcome) -> None:
    """Turning every label of the test round changes none."""
    turned = run(PLAN, is_turned=True)
    assert not np.array_equal(outcome.test.label, turned.test.label)
    for name, score in outcome.scores.items():
        assert np.array_equal(score, turned.scores[name])


def test_the_gap_keeps_the_last_days_from_the_model() -> None:
    """A model trained up to a week before the test differs from one trained up to it."""
    start_ms = START_MS + 7 * DAY_MS
    plan = Plan(start_ms, train_ms=10 * DAY_MS, refit_ms=0, test_ms=2 * DAY_MS)
    near, far = run(plan), run(dataclasses.replace(plan, train_gap_ms=7 * DAY_MS))
    assert start_ms + 2 * DAY_MS > near.test.time_ms.max()
    assert 1 == near.models == far.models
    assert not np.array_equal(near.scores["isolation_forest"], far.scores["isolation_forest"])


def test_a_test_without_history_is_refused() -> None:
    """There is nothing to train on before the first transaction."""
    with pytest.raises(EvaluationError, match="no history"):
        run(Plan(day_ms("2018-03-01")))


def test_a_test_after_the_end_is_refused() -> None:
    """No transaction lies in it."""
    with pytest.raises(EvaluationError, match="no transaction"):
        run(Plan(day_ms("2030-01-01")))


def test_known_cards_are_left_out(outcome: Outcome) -> None:
    """Cards with a fraud older than the delay when the day begins, and no others."""
    delay_ms = 2 * DAY_MS
    test = outcome.test
    users, times = outcome.frauds_before
    frauds = {(u, t) for u, t in zip(users.tolist(), times.tolist(), strict=True)}
    is_fraud = test.label == 1
    frauds |= set(zip(test.user[is_fraud].tolist(), test.time_ms[is_fraud].tolist(), strict=True))
    from_ms = START_MS - 7 * DAY_MS
    first: dict[int, int] = {}
    for user, time in sorted(frauds, key=lambda fraud: fraud[1]):
        if time >= from_ms:
            first.setdefault(user, time)
    expected = sum(
        1
        for user, time in zip(test.user.tolist(), test.time_ms.tolist(), strict=True)
        if first.get(user, 2**62) >= time // DAY_MS * DAY_MS - delay_ms
    )
    known = KnownCards(from_ms, delay_ms)
    assert expected == evaluate(outcome, replicates=0, known_cards=known).rows < len(test)


def test_rows_without_a_label_are_not_measured(outcome: Outcome) -> None:
    """Neither as fraud nor as genuine; without any label there is nothing to say."""
    label = outcome.test.label.copy()
    label[::2] = -1
    half = dataclasses.replace(outcome, test=dataclasses.replace(outcome.test, label=label))
    assert len(label) // 2 == evaluate(half, replicates=0).rows
    none = dataclasses.replace(outcome.test, label=np.full(len(label), -1, np.int8))
    with pytest.raises(EvaluationError, match="is_fraud"):
        evaluate(dataclasses.replace(outcome, test=none), replicates=0)


FED = dataclasses.replace(PLAN, label_delay_ms=2 * DAY_MS, label_train_ms=20 * DAY_MS)


@pytest.fixture(scope="module")
def fed() -> Outcome:
    """Of the same plan with labels, two days late."""
    return run(FED)


def test_labels_are_learned_from_and_change_nothing_else(outcome: Outcome, fed: Outcome) -> None:
    """There are supervised models; the ensemble says what it said without them."""
    assert 0 == outcome.supervised_models < fed.supervised_models <= fed.models
    for name in ("isolation_forest", "half_space_trees", "label_free"):
        assert np.array_equal(outcome.scores[name], fed.scores[name])
    assert not np.array_equal(fed.scores["label_free"], fed.scores["label_fed"])


def test_labels_not_known_yet_reach_no_score(fed: Outcome) -> None:
    """What becomes known after the last payment may say anything."""
    known_until_ms = int(fed.test.time_ms.max()) - FED.label_delay_ms

    def turned() -> Iterator[list[Piece]]:
        for pieces in batches(ROWS, False):
            yield [with_late_labels_turned(piece, known_until_ms) for piece in pieces]

    other = backtest(turned(), FED, lambda _: None)
    assert not np.array_equal(fed.test.label, other.test.label)
    for name, score in fed.scores.items():
        assert np.array_equal(score, other.scores[name])


def with_late_labels_turned(piece: Piece, known_until_ms: int) -> Piece:
    """The labels of payments after a time turned round."""
    times = [msgspec.json.decode(value)["timestamp"] for value in piece.records.values]
    late = np.array([np.datetime64(one.rstrip("Z"), "ms").astype(np.int64) for one in times])
    labels = np.where(late > known_until_ms, 1 - piece.labels, piece.labels).astype(np.int8)
    return dataclasses.replace(piece, labels=labels)


def test_where_batches_end_changes_no_supervised_score(fed: Outcome) -> None:
    """Windows, folds and trees depend on the records alone."""

    def small() -> Iterator[list[Piece]]:
        topic = RecordedTopic("t", PARTITIONS)
        for batch in recorded(sample("handbook"), limit=ROWS, batch_rows=377):
            none = np.full(len(batch), -1, np.int16)
            placed = topic.place(batch)
            yield [Piece(records, batch.labels[rows], none[rows]) for rows, records in placed]

    other = backtest(small(), FED, lambda _: None)
    mine, theirs = (
        np.lexsort((o.scores["risk"], o.test.amount, o.test.user, o.test.time_ms))
        for o in (fed, other)
    )
    for name in ("label_fed", "risk"):
        assert np.array_equal(fed.scores[name][mine], other.scores[name][theirs])
