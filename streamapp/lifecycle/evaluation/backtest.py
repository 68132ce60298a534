"""Run the pipeline over recorded traffic as it would have run live, model refits included.

Features come from the serving code, record by record, and don't depend on any model; so they are
computed once while the recording is read, and kept for as long as a refit may need them. At the
start of the test, and then every `refit_ms` of event time, a model is trained on the past
`train_ms` and scores what follows until the next refit. Nothing later than a transaction takes part
in its score; labels only measure.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.contract import DAY_MS, FEATURE_NAMES, FeatureParameters
from streamapp.features.kernel import APPLIED
from streamapp.lifecycle.training import REFERENCE_ROWS_MAX, Reference, flag_amounts, train
from streamapp.scoring.admission import StreamClock
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.half_space_trees import HalfSpaceState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, featurise
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.risk import assess

#: Features that stand beside the members in tables, as the simplest detectors there are.
BASELINES: Final = ("amount_zscore", "log_amount")

#: Members of the ensemble, in the order of the columns of `RiskBlock`.
MEMBERS: Final = ("isolation_forest", "half_space_trees")

#: Bound of the feature rows held at once, 350 bytes each: those of one model and one period.
_KEPT_ROWS_MAX: Final = REFERENCE_ROWS_MAX

#: Rows read between two sweeps of those no longer needed.
_DROP_ROWS: Final = 200_000

_NEVER_MS: Final = 2**62


class EvaluationError(ValueError):
    """The traffic given can't be evaluated; the message says what could."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Records of one partition, with what only evaluation may know.

    labels, scenarios: -1 where there is none; as long as `records`.
    """

    records: Records
    labels: NDArray[np.int8]
    scenarios: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Plan:
    """When the test begins and which model scores it.

    train_ms: event time a model is trained on, which ends train_gap_ms before it scores.
    refit_ms: event time between two models; 0: one model for the whole test. test_ms: length of
    the test; 0: to the end. model: scores instead, without any training.
    """

    test_from_ms: int
    train_ms: int = 28 * DAY_MS
    train_gap_ms: int = 0
    refit_ms: int = 7 * DAY_MS
    test_ms: int = 0
    seed: int = 0
    model: ModelArtifact | None = None
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Transactions as evaluation needs them, n rows in the order they were read.

    values (n, d) float64: the feature matrix, empty in an outcome. user: a number for each user.
    label, scenario: -1 where unknown.
    """

    values: NDArray[np.float64]
    time_ms: NDArray[np.int64]
    user: NDArray[np.int64]
    user_hash: NDArray[np.uint32]
    amount: NDArray[np.float64]
    label: NDArray[np.int8]
    scenario: NDArray[np.int16]
    partition: NDArray[np.int32]
    is_cold: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_ms)

    def by_partition(self) -> "Traffic":
        """The rows partition by partition, each in record order: wherever batches were cut."""
        return self.at(np.argsort(self.partition, kind="stable"))

    def at(self, rows: NDArray[np.int64] | slice) -> "Traffic":
        """Some of the rows."""
        return Traffic(*(getattr(self, name)[rows] for name in _COLUMNS))

    @classmethod
    def joined(cls, parts: "list[Traffic]") -> "Traffic":
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))


_COLUMNS: Final = tuple(Traffic.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The test's transactions and what each model said of them; higher scores: more suspicious.

    scores: by name of the member, and `risk` for the verdict. severity (n): 0 LOW to 3 CRITICAL.
    models: how many were trained. history: transactions before the test. frauds_before: user and
    time of each fraud before the test, for protocols that leave known cards out.
    """

    test: Traffic
    scores: dict[str, NDArray[np.float64]]
    severity: NDArray[np.int8]
    models: int
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
        self._users: dict[str, int] = {}
        self._kept: list[Traffic] = []
        self._pending: list[Traffic] = []
        self._kept_rows = 0
        self._drop_at_rows = _DROP_ROWS
        self._scored: list[_Scored] = []
        self._model = plan.model
        self._half_space: dict[int, HalfSpaceState] = {}
        self._models = 0
        self._history = 0
        self._frauds: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._start_ms = plan.test_from_ms
        self._end_ms = plan.test_from_ms + plan.test_ms if plan.test_ms else _NEVER_MS

    def read(self, pieces: Sequence[Piece]) -> None:
        parts = [part for piece in pieces if len(part := self._featurised(piece))]
        if not parts:
            return
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
        """Forget what no model from this time on is trained on."""
        oldest_ms = next_fit_ms - self._plan.train_gap_ms - self._plan.train_ms
        kept = Traffic.joined(self._kept)
        self._kept = [kept.at(np.flatnonzero(kept.time_ms >= oldest_ms))]
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
                self._scored.append(scored.without_values())
            self._pending = [pending.at(np.flatnonzero(~inside))]
        self._start_ms = stop_ms
        self._drop_old(stop_ms)

    def _fit(self, kept: Traffic) -> ModelArtifact:
        """The period's model; its half-space trees have learned the traffic it was trained on."""
        stop_ms = self._start_ms - self._plan.train_gap_ms
        past = (kept.time_ms >= stop_ms - self._plan.train_ms) & (kept.time_ms < stop_ms)
        reference = kept.at(np.flatnonzero(past)).by_partition()
        model = self._plan.model
        if model is None:
            days = self._plan.train_ms / DAY_MS
            model = train(
                _reference(reference),
                seed=self._plan.seed,
                description=f"the {days:g} days before a period of a test",
            )
            self._models += 1
            self._half_space = {}
        if not self._half_space:
            self._score(reference, model)
        return model

    def _score(self, traffic: Traffic, model: ModelArtifact) -> "_Scored":
        flag_amounts(traffic.values, traffic.amount, model.global_amount_limit)
        scored = _Scored.empty(traffic)
        for partition in np.unique(traffic.partition).tolist():
            rows = np.flatnonzero(traffic.partition == partition)
            state = self._half_space.setdefault(
                partition, HalfSpaceState.empty(model.half_space_trees)
            )
            values, users = traffic.values[rows], traffic.user_hash[rows]
            modes = traffic.is_cold[rows].astype(np.uint8)
            risk = assess(values, users, modes, state, model, self._plan.policy.cutoffs)
            scored.put(rows, -risk.log_p, risk.risk, risk.severity)
        return scored


@dataclass(frozen=True, slots=True)
class _Scored:
    traffic: Traffic
    scores: dict[str, NDArray[np.float64]]
    severity: NDArray[np.int8]

    @classmethod
    def empty(cls, traffic: Traffic) -> "_Scored":
        names = (*MEMBERS, "risk")
        scores = {name: np.zeros(len(traffic)) for name in names}
        for name in BASELINES:
            scores[name] = traffic.values[:, FEATURE_NAMES.index(name)].copy()
        return cls(traffic, scores, np.zeros(len(traffic), np.int8))

    def put(
        self,
        rows: NDArray[np.int64],
        surprise: NDArray[np.float64],
        risk: NDArray[np.float64],
        severity: NDArray[np.int8],
    ) -> None:
        for column, name in enumerate(MEMBERS):
            self.scores[name][rows] = surprise[:, column]
        self.scores["risk"][rows] = risk
        self.severity[rows] = severity

    def without_values(self) -> "_Scored":
        """The same with an empty feature matrix, for that is most of the memory."""
        return replace(self, traffic=replace(self.traffic, values=np.zeros((len(self.traffic), 0))))


def _reference(traffic: Traffic) -> Reference:
    if len(traffic) == 0:
        raise EvaluationError(
            "there is no history in the days a model is trained on: give more with --history"
        )
    partitions = [
        np.flatnonzero(traffic.partition == number) for number in np.unique(traffic.partition)
    ]
    users = traffic.user_hash
    return Reference(traffic.values, traffic.amount, users, traffic.is_cold, partitions, 0)
