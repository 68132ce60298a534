"""Run the pipeline over recorded traffic as it would have run live, model refits included.

Features come from the serving code, record by record, and don't depend on any model; so they are
computed once while the recording is read, and kept for as long as a refit may need them. At the
start of the test, and then every `refit_ms` of event time, a model is trained on the past
`train_ms`, its supervised part on the labels of `label_train_ms` that are known by then, and scores
what follows until the next refit. Nothing later than a transaction takes part in its score, and no
label before it is known.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.context import CONTEXT_NAMES, context
from streamapp.features.contract import DAY_MS, FEATURE_NAMES, FeatureParameters
from streamapp.features.kernel import APPLIED
from streamapp.features.risk_windows import RiskTable, risk_hashes
from streamapp.lifecycle.evaluation.label_feed import LabelFeed
from streamapp.lifecycle.evaluation.traffic import Piece, Traffic
from streamapp.lifecycle.labels import UNKNOWN
from streamapp.lifecycle.supervised_training import LabelledRows, train_supervised
from streamapp.lifecycle.training import REFERENCE_ROWS_MAX, Reference, flag_amounts, train
from streamapp.scoring.admission import StreamClock
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.half_space_trees import HalfSpaceState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import featurise
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.risk import RiskBlock, assess
from streamapp.scoring.severity_budget import Steering

#: Features that stand beside the members in tables, as the simplest detectors there are.
BASELINES: Final = ("amount_zscore", "log_amount")

#: Members of the ensemble, in the order of the columns of `RiskBlock`.
MEMBERS: Final = ("isolation_forest", "half_space_trees")

#: What the ensemble alone and the supervised model say, as -log p, beside the verdict's risk.
LABEL_FREE, LABEL_FED, RISK = "label_free", "label_fed", "risk"

#: Bound of the feature rows held at once, 500 bytes each: those of one model and one period.
_KEPT_ROWS_MAX: Final = REFERENCE_ROWS_MAX

#: Rows read between two sweeps of those no longer needed.
_DROP_ROWS: Final = 200_000

_NEVER_MS: Final = 2**62


class EvaluationError(ValueError):
    """The traffic given can't be evaluated; the message says what could."""


@dataclass(frozen=True, slots=True)
class Plan:
    """When the test begins and which model scores it.

    train_ms: event time a model is trained on, which ends train_gap_ms before it scores.
    refit_ms: event time between two models; 0: one model for the whole test. test_ms: length of
    the test; 0: to the end. model: scores instead, without any training.
    label_delay_ms: how long after a payment its label is known. label_train_ms: event time of the
    labelled payments a supervised model is trained on, up to the delay before it scores; 0: there
    is none.
    """

    test_from_ms: int
    train_ms: int = 28 * DAY_MS
    train_gap_ms: int = 0
    refit_ms: int = 7 * DAY_MS
    test_ms: int = 0
    seed: int = 0
    label_delay_ms: int = 7 * DAY_MS
    label_train_ms: int = 0
    model: ModelArtifact | None = None
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The test's transactions and what each model said of them; higher scores: more suspicious.

    scores: by name of the member, RISK for the verdict, LABEL_FREE, and LABEL_FED, which is the
    former while there is no supervised model. severity (n): 0 LOW to 3 CRITICAL. models: how many
    were trained, supervised_models: how many of these have a supervised part. history: transactions
    before the test. frauds_before: user and time of each fraud before the test, for protocols that
    leave known cards out.
    """

    test: Traffic
    scores: dict[str, NDArray[np.float64]]
    severity: NDArray[np.int8]
    models: int
    supervised_models: int
    history: int
    frauds_before: tuple[NDArray[np.int64], NDArray[np.int64]]


def backtest(
    batches: Iterable[Sequence[Piece]], plan: Plan, on_progress: Callable[[int], None]
) -> Outcome:
    """Score the test traffic; `batches` are history and test in order of time.

    The pieces of a batch are of the same time. on_progress is told how many records have been read
    since it was last called. Raises EvaluationError or TrainingError where history or test are too
    short.
    """
    run = _Run(plan)
    for pieces in batches:
        run.read(pieces)
        on_progress(sum(len(piece.records.values) for piece in pieces))
    return run.outcome()


@dataclass(slots=True)
class _Partition:
    profiles: MemoryProfiles = field(default_factory=MemoryProfiles)
    clock: StreamClock = field(default_factory=StreamClock)


class _Run:
    """Reads on, and whenever event time has passed a period trains for it and scores it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._partitions: dict[int, _Partition] = {}
        self._users: dict[bytes, int] = {}
        self._kept: list[Traffic] = []
        self._pending: list[Traffic] = []
        self._kept_rows = 0
        self._drop_at_rows = _DROP_ROWS
        self._scored: list[_Scored] = []
        self._model = plan.model
        self._half_space: dict[int, HalfSpaceState] = {}
        self._models = 0
        self._supervised_models = int(plan.model is not None and plan.model.supervised is not None)
        self._labels = LabelFeed(plan.label_delay_ms)
        self._steering = Steering()
        self._history = 0
        self._frauds: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._start_ms = plan.test_from_ms
        self._end_ms = plan.test_from_ms + plan.test_ms if plan.test_ms else _NEVER_MS

    def read(self, pieces: Sequence[Piece]) -> None:
        parts = [part for piece in pieces if len(part := self._featurised(piece))]
        if not parts:
            return
        parts = self._labels.with_context(parts)
        for part in parts:
            self._keep(part)
        newest_ms = max(int(part.time_ms.max()) for part in parts)
        while newest_ms >= self._stop_ms() and self._start_ms < self._end_ms:
            self._score_period()

    def outcome(self) -> Outcome:
        if self._start_ms < self._end_ms:
            self._score_period()
        if not self._scored:
            raise EvaluationError("no transaction lies in the time of the test")
        users, times = (np.concatenate(part) for part in zip(*self._frauds, strict=True))
        test, numbers = Traffic.joined([one.traffic for one in self._scored]), self._user_numbers()
        return Outcome(
            test=replace(test, user=numbers[test.user]),
            scores={
                name: np.concatenate([one.scores[name] for one in self._scored])
                for name in self._scored[0].scores
            },
            severity=np.concatenate([one.severity for one in self._scored]),
            models=self._models,
            supervised_models=self._supervised_models,
            history=self._history,
            frauds_before=(numbers[users], times),
        )

    def _user_numbers(self) -> NDArray[np.int64]:
        """New number of each user, by name: the old ones depend on where batches end."""
        numbers = np.empty(len(self._users), np.int64)
        numbers[[self._users[name] for name in sorted(self._users)]] = np.arange(len(self._users))
        return numbers

    def _stop_ms(self) -> int:
        """Where the present period ends."""
        refit_ms = self._plan.refit_ms
        return min(self._start_ms + refit_ms, self._end_ms) if refit_ms else self._end_ms

    def _featurised(self, piece: Piece) -> Traffic:
        records, policy = piece.records, self._plan.policy
        at = self._partitions.setdefault(records.source.partition, _Partition())
        parameters = FeatureParameters(time_zone=policy.time_zone)
        batch = featurise(records, at.profiles, at.clock, parameters)
        applied = np.flatnonzero(batch.features.status == APPLIED)
        payments = batch.payments.take(applied)
        rows = payments.rows
        users = [self._users.setdefault(user, len(self._users)) for user in payments.users()]
        return Traffic(
            values=batch.features.values[applied],
            context=np.zeros((len(applied), len(CONTEXT_NAMES))),
            names=risk_hashes(batch.columns)[applied],
            time_ms=batch.columns.time_ms[applied],
            user=np.array(users, np.int64),
            user_hash=batch.columns.records["user"][applied],
            amount=batch.columns.records["amount"][applied],
            label=piece.labels[rows],
            scenario=piece.scenarios[rows],
            partition=np.full(len(rows), records.source.partition, np.int32),
            is_cold=batch.features.is_cold[applied].astype(np.bool_),
        )

    def _keep(self, traffic: Traffic) -> None:
        before = traffic.time_ms < self._plan.test_from_ms
        self._history += int(before.sum())
        frauds = before & (traffic.label == 1)
        self._frauds.append((traffic.user[frauds], traffic.time_ms[frauds]))
        self._kept.append(traffic)
        if not before.all():
            self._pending.append(traffic.at(np.flatnonzero(~before)))
        self._kept_rows += len(traffic)
        if self._kept_rows > self._drop_at_rows:
            self._drop_old(min(int(traffic.time_ms.max()), self._start_ms))
            self._drop_at_rows = self._kept_rows + _DROP_ROWS
        if self._kept_rows > _KEPT_ROWS_MAX:
            raise EvaluationError(
                f"more than {_KEPT_ROWS_MAX:,} transactions lie between the first that a model is "
                "trained on and the last that it scores: use fewer days"
            )

    def _drop_old(self, next_fit_ms: int) -> None:
        """Forget what no model from this time on is trained on.

        Of labelled traffic that fills the half of the bound the oldest is forgotten.
        """
        plan = self._plan
        oldest_ms = next_fit_ms - plan.train_gap_ms - plan.train_ms
        labelled_ms = next_fit_ms - plan.label_delay_ms - plan.label_train_ms
        kept = Traffic.joined(self._kept)
        is_needed = kept.time_ms >= oldest_ms
        is_labelled = np.flatnonzero(~is_needed & (kept.time_ms >= labelled_ms))
        if plan.label_train_ms and len(is_labelled):
            room = max(_KEPT_ROWS_MAX // 2 - int(is_needed.sum()), 0)
            is_needed[is_labelled[max(len(is_labelled) - room, 0) :]] = True
        self._kept = [kept.at(np.flatnonzero(is_needed))]
        self._kept_rows = len(self._kept[0])

    def _score_period(self) -> None:
        """Train on what lies before the period; score what lies in it or came late for the last."""
        stop_ms = self._stop_ms()
        if self._pending:
            pending = Traffic.joined(self._pending)
            inside = pending.time_ms < stop_ms
            if inside.any():
                model = self._fit(Traffic.joined(self._kept))
                scored = self._score(pending.at(np.flatnonzero(inside)).by_partition(), model)
                steered = self._steering.severities(scored.traffic.time_ms, scored.scores[RISK])
                self._scored.append(replace(scored.without_values(), severity=steered))
            self._pending = [pending.at(np.flatnonzero(~inside))]
        self._start_ms = stop_ms
        self._drop_old(stop_ms)

    def _fit(self, kept: Traffic) -> ModelArtifact:
        """The period's model; its half-space trees have learned the traffic it was trained on."""
        plan = self._plan
        stop_ms = self._start_ms - plan.train_gap_ms
        past = kept.at(np.flatnonzero(kept.time_ms < stop_ms)).by_partition()
        is_reference = past.time_ms >= stop_ms - plan.train_ms
        reference = past.at(np.flatnonzero(is_reference))
        if plan.model is not None:
            if not self._half_space:
                self._score(reference, plan.model)
            return plan.model
        model = train(
            _reference(reference),
            seed=plan.seed,
            description=f"the {plan.train_ms / DAY_MS:g} days before a period of a test",
        )
        self._models += 1
        self._half_space = {}
        scored = self._score(reference, model)
        if plan.label_train_ms:
            model = self._supervised(model, past, is_reference, -scored.scores[LABEL_FREE])
        return model

    def _supervised(
        self,
        model: ModelArtifact,
        past: Traffic,
        is_reference: NDArray[np.bool_],
        ensemble_log_p: NDArray[np.float64],
    ) -> ModelArtifact:
        """The model with a supervised part, if what is known now is enough for one.

        ensemble_log_p: of the reference.
        """
        flag_amounts(past.values, past.amount, model.global_amount_limit)
        known = self._labels.known(past, self._start_ms)
        oldest_ms = self._start_ms - self._plan.label_delay_ms - self._plan.label_train_ms
        known[past.time_ms < oldest_ms] = UNKNOWN
        ensemble = np.zeros(len(past))
        ensemble[is_reference] = ensemble_log_p
        inputs = np.hstack([past.values, past.context])
        supervised = train_supervised(
            LabelledRows(inputs, known, past.time_ms, is_reference, ensemble),
            # Never looked up: traffic brings the windows of its own days.
            table=RiskTable.empty(),
            windows_delay_days=self._labels.delay_days,
            seed=self._plan.seed,
        )
        self._supervised_models += supervised is not None
        return replace(model, supervised=supervised)

    def _score(self, traffic: Traffic, model: ModelArtifact) -> "_Scored":
        flag_amounts(traffic.values, traffic.amount, model.global_amount_limit)
        if self._plan.model is not None and model.supervised is not None:
            # A given model is measured with what it serves with.
            table = model.supervised.table
            told = context(table, traffic.time_ms, traffic.names)
            traffic = replace(traffic, context=told)
        scored = _Scored.empty(traffic)
        for partition in np.unique(traffic.partition).tolist():
            rows = np.flatnonzero(traffic.partition == partition)
            state = self._half_space.setdefault(
                partition, HalfSpaceState.empty(model.half_space_trees)
            )
            values, users = traffic.values[rows], traffic.user_hash[rows]
            modes = traffic.is_cold[rows].astype(np.uint8)
            cutoffs, told = self._plan.policy.cutoffs, traffic.context[rows]
            risk = assess(values, users, modes, state, model, cutoffs, context=told)
            scored.put(rows, risk)
        return scored


@dataclass(frozen=True, slots=True)
class _Scored:
    traffic: Traffic
    scores: dict[str, NDArray[np.float64]]
    severity: NDArray[np.int8]

    @classmethod
    def empty(cls, traffic: Traffic) -> "_Scored":
        scores = {name: np.zeros(len(traffic)) for name in (*MEMBERS, LABEL_FREE, LABEL_FED, RISK)}
        for name in BASELINES:
            scores[name] = traffic.values[:, FEATURE_NAMES.index(name)].copy()
        return cls(traffic, scores, np.zeros(len(traffic), np.int8))

    def put(self, rows: NDArray[np.int64], risk: RiskBlock) -> None:
        for column, name in enumerate(MEMBERS):
            self.scores[name][rows] = -risk.log_p[:, column]
        fed = risk.supervised
        self.scores[LABEL_FREE][rows] = -risk.ensemble_log_p
        self.scores[LABEL_FED][rows] = -(risk.ensemble_log_p if fed is None else fed.log_p)
        self.scores[RISK][rows] = risk.risk
        self.severity[rows] = risk.severity

    def without_values(self) -> "_Scored":
        """The same with empty matrices, for they are most of the memory."""
        none = np.zeros((len(self.traffic), 0))
        return replace(self, traffic=replace(self.traffic, values=none, context=none))


def _reference(traffic: Traffic) -> Reference:
    if len(traffic) == 0:
        raise EvaluationError(
            "there is no history in the days a model is trained on: give more with --history"
        )
    partitions = [
        np.flatnonzero(traffic.partition == number) for number in np.unique(traffic.partition)
    ]
    return Reference(
        rows=traffic.values,
        amounts=traffic.amount,
        users=traffic.user_hash,
        tx=np.zeros(len(traffic), np.uint64),
        names=traffic.names,
        time_ms=traffic.time_ms,
        is_cold=traffic.is_cold,
        partitions=partitions,
        refused=0,
    )
