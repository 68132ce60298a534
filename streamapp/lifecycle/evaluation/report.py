"""From what each model said to the figures people read: overall, by week, severity and scenario."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.domain.verdict import SEVERITIES
from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.evaluation.backtest import (
    BASELINES,
    LABEL_FED,
    LABEL_FREE,
    MEMBERS,
    RISK,
    EvaluationError,
    Outcome,
)
from streamapp.lifecycle.evaluation.ranking import FIGURES, Curve, Figures, Ranked

#: Share of traffic that each severity or a worse one may have: contracts.md, "The risk score".
BUDGETS: Final = {"MEDIUM": 0.02, "HIGH": 0.005, "CRITICAL": 0.001}

#: Bootstrap replicates: the ends of a 95 % interval then vary by a tenth of its length.
REPLICATES: Final = 200

_WEEK_MS: Final = 7 * DAY_MS
_CURVE_POINTS: Final = 120
_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True)
class KnownCards:
    """Frauds since from_ms are known delay_ms later, and their cards blocked from then on."""

    from_ms: int
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Judged:
    """One score's figures with their 95 % intervals, and its curve."""

    name: str
    figures: Figures
    intervals: dict[str, tuple[float, float]]
    curve: Curve


@dataclass(frozen=True, slots=True)
class SeverityFigures:
    """Of one severity: the share of transactions that have it and that have it or worse.

    precision: share of fraud among those that have it or worse; recall: share of all fraud in
    them. None where there are none.
    """

    share: float
    share_or_worse: float
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Week:
    """Seven days of the test (the last may be shorter)."""

    start_ms: int
    rows: int
    frauds: int
    average_precision: float | None
    severity: dict[str, SeverityFigures]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Frauds of one kind and the share of them found at an alert budget, by score."""

    number: int
    frauds: int
    average_precision: dict[str, float]
    recall_at_1pct: dict[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything a report says. judged: by name of the score, `verdict` first."""

    rows: int
    frauds: int
    history: int
    models: int
    supervised_models: int
    start_ms: int
    stop_ms: int
    judged: dict[str, Judged]
    severity: dict[str, SeverityFigures]
    weeks: list[Week]
    scenarios: list[Scenario]

    def document(self) -> dict[str, Any]:
        """What `--json` prints; only ever extended."""

        def figures(name: str) -> Figures:
            return {key: _rounded(self.judged[name].figures[key]) for key in FIGURES}

        return {
            "rows": self.rows,
            "frauds": self.frauds,
            "label_free": figures(LABEL_FREE),
            "label_fed": figures(LABEL_FED) if LABEL_FED in self.judged else None,
            "verdict": figures("verdict"),
            "members": {name: figures(name) for name in MEMBERS},
            "severity": {name: _severity(one) for name, one in self.severity.items()},
            "weeks": [_week(week) for week in self.weeks],
            "baselines": {name: figures(name) for name in BASELINES},
            "intervals": {name: _bounds(one.intervals) for name, one in self.judged.items()},
            "scenarios": [_scenario(one) for one in self.scenarios],
        }


def evaluate(
    outcome: Outcome,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    known_cards: KnownCards | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Measure an outcome. known_cards: leave out the cards whose fraud would be known by then.

    on_progress is called after each score. Raises EvaluationError where no row has a label.
    """
    rows = np.flatnonzero(outcome.test.label >= 0)
    if known_cards is not None:
        rows = rows[~_are_known(outcome, known_cards)[rows]]
    if len(rows) == 0:
        raise EvaluationError("no transaction of the test has a label: give a column is_fraud")
    judged = {}
    for name, score in _named_scores(outcome).items():
        ranked = _ranked(outcome, score, rows)
        intervals = ranked.intervals(replicates, seed)
        judged[name] = Judged(name, ranked.figures, intervals, ranked.curve(_CURVE_POINTS))
        on_progress()
    label, severity = outcome.test.label[rows], outcome.severity[rows]
    return Evaluation(
        rows=len(rows),
        frauds=int((label == 1).sum()),
        history=outcome.history,
        models=outcome.models,
        supervised_models=outcome.supervised_models,
        start_ms=int(outcome.test.time_ms[rows].min()),
        stop_ms=int(outcome.test.time_ms[rows].max()),
        judged=judged,
        severity=severities(severity, label),
        weeks=_weeks(outcome, rows),
        scenarios=_scenarios(outcome, rows),
    )


def severities(codes: NDArray[np.int8], label: NDArray[np.int8]) -> dict[str, SeverityFigures]:
    """Shares and precision of each severity with a budget; labels of -1 count as no fraud."""
    frauds = max(int((label == 1).sum()), 1)
    figures: dict[str, SeverityFigures] = {}
    for code, severity in enumerate(SEVERITIES):
        if severity.value not in BUDGETS:
            continue
        or_worse = codes >= code
        hits = int((label[or_worse] == 1).sum())
        figures[severity.value] = SeverityFigures(
            share=float((codes == code).mean()),
            share_or_worse=float(or_worse.mean()),
            precision=hits / int(or_worse.sum()) if or_worse.any() else None,
            recall=hits / frauds,
        )
    return figures


def _named_scores(outcome: Outcome) -> dict[str, NDArray[np.float64]]:
    fed = (LABEL_FED,) if outcome.supervised_models else ()
    names = (LABEL_FREE, *fed, *MEMBERS, *BASELINES)
    return {"verdict": outcome.scores[RISK], **{name: outcome.scores[name] for name in names}}


def _ranked(outcome: Outcome, score: NDArray[np.float64], rows: NDArray[np.int64]) -> Ranked:
    test = outcome.test
    return Ranked(
        score[rows], test.label[rows], test.amount[rows], test.user[rows], test.time_ms[rows]
    )


def _are_known(outcome: Outcome, cards: KnownCards) -> NDArray[np.bool_]:
    """Rows of cards that have a known fraud when the row's day begins."""
    test = outcome.test
    users, times = outcome.frauds_before
    is_fraud, is_recent = test.label == 1, times >= cards.from_ms
    users = np.concatenate([users[is_recent], test.user[is_fraud]])
    times = np.concatenate([times[is_recent], test.time_ms[is_fraud]])
    first = np.full(int(max(test.user.max(), users.max(initial=0))) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, users, times)
    known: NDArray[np.bool_] = first[test.user] < test.time_ms // DAY_MS * DAY_MS - cards.delay_ms
    return known


def _weeks(outcome: Outcome, rows: NDArray[np.int64]) -> list[Week]:
    start_ms = int(outcome.test.time_ms[rows].min()) // DAY_MS * DAY_MS
    number = (outcome.test.time_ms[rows] - start_ms) // _WEEK_MS
    weeks = []
    for week in np.unique(number).tolist():
        inside = rows[number == week]
        ranked = _ranked(outcome, outcome.scores[RISK], inside)
        label = outcome.test.label[inside]
        weeks.append(
            Week(
                start_ms=start_ms + week * _WEEK_MS,
                rows=len(inside),
                frauds=int((label == 1).sum()),
                average_precision=ranked.figures["average_precision"],
                severity=severities(outcome.severity[inside], label),
            )
        )
    return weeks


def _scenarios(outcome: Outcome, rows: NDArray[np.int64]) -> list[Scenario]:
    """Each kind of fraud against all genuine traffic, the other kinds left out."""
    label, scenario = outcome.test.label[rows], outcome.test.scenario[rows]
    found = []
    for number in np.unique(scenario[(label == 1) & (scenario >= 0)]).tolist():
        kept = rows[(label == 0) | (scenario == number)]
        ranked = {
            name: _ranked(outcome, score, kept).figures
            for name, score in _named_scores(outcome).items()
        }
        found.append(
            Scenario(
                number=number,
                frauds=int(((label == 1) & (scenario == number)).sum()),
                average_precision=_present(ranked, "average_precision"),
                recall_at_1pct=_present(ranked, "recall_at_1pct"),
            )
        )
    return found


def _present(figures: dict[str, Figures], key: str) -> dict[str, float]:
    return {name: value for name, one in figures.items() if (value := one[key]) is not None}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


def _bounds(intervals: dict[str, tuple[float, float]]) -> dict[str, list[float | None]]:
    return {name: [_rounded(end) for end in ends] for name, ends in intervals.items()}


def _scenario(one: Scenario) -> dict[str, Any]:
    precision = {name: _rounded(value) for name, value in one.average_precision.items()}
    return {"number": one.number, "frauds": one.frauds, "average_precision": precision}


def _severity(one: SeverityFigures) -> Figures:
    return {
        "share": _rounded(one.share),
        "share_or_worse": _rounded(one.share_or_worse),
        "precision": _rounded(one.precision),
        "recall": _rounded(one.recall),
    }


def _week(week: Week) -> dict[str, Any]:
    return {
        "start": str(np.datetime64(week.start_ms, "ms").astype("datetime64[D]")),
        "rows": week.rows,
        "frauds": week.frauds,
        "average_precision": _rounded(week.average_precision),
        "severity": {name: _severity(one) for name, one in week.severity.items()},
    }
