"""How well a score ranks fraud: the figures of one score over labelled transactions.

Alert shares are budgets: a share a of n transactions means the round(a n) highest, at least one.
Where equal scores lie on that border, each counts with the same fraction, so figures don't depend
on the order of rows.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from streamapp.features.contract import DAY_MS

#: Alert budgets, as shares of the transactions, by the name figures carry.
ALERT_SHARES: Final = {"0.1pct": 0.001, "1pct": 0.01}

#: Cards an analyst may look at in a day, as in the Handbook's Card Precision.
CARDS_A_DAY: Final = 100

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Ranked:
    """A score (n) over transactions with labels 0 and 1; users are numbered from 0."""

    score: NDArray[np.float64]
    label: NDArray[np.int8]
    amount: NDArray[np.float64]
    user: NDArray[np.int64]
    time_ms: NDArray[np.int64]

    @cached_property
    def has_both(self) -> bool:
        """There is fraud and there is other traffic: most figures need both."""
        return bool((self.label == 1).any() and (self.label == 0).any())

    @cached_property
    def figures(self) -> Figures:
        """Every figure by name; None where it is not defined."""
        if not self.has_both:
            return dict.fromkeys((*FIGURES, *VALUE_FIGURES))
        figures: Figures = {
            "average_precision": float(average_precision_score(self.label, self.score)),
            "auc_roc": float(roc_auc_score(self.label, self.score)),
        }
        figures |= self._order.at_shares(np.ones(len(self.score)))
        figures["card_precision_at_100"] = float(np.mean(self.card_precisions()))
        return figures

    def intervals(self, replicates: int, seed: int) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals by figure; empty without both labels.

        Users are drawn with replacement, as the frauds on one card are not independent; days for
        Card Precision, which is a mean over days.
        """
        if not self.has_both or replicates == 0:
            return {}
        rng = np.random.default_rng(seed)
        drawn = [self._resampled(rng) for _ in range(replicates)]
        days = self.card_precisions()
        means = rng.choice(days, (replicates, len(days))).mean(axis=1)
        values = {name: np.array([one[name] for one in drawn]) for name in drawn[0]}
        values["card_precision_at_100"] = means
        return {
            name: (float(np.quantile(column, 0.025)), float(np.quantile(column, 0.975)))
            for name, column in values.items()
        }

    def curve(self, points: int) -> "Curve":
        """Recall and precision at alert shares from one transaction to all, in equal ratios."""
        shares = np.geomspace(1.0 / len(self.score), 1.0, points)
        ones = np.ones(len(self.score))
        hits = np.array([self._order.hits(ones, share) for share in shares])
        alerts = np.maximum(np.round(shares * len(self.score)), 1.0)
        return Curve(shares, hits / max(int((self.label == 1).sum()), 1), hits / alerts)

    def card_precisions(self) -> list[float]:
        """Of each day: the share of fraudulent cards among the 100 most suspicious ones.

        A card's score is its highest of the day. A card found fraudulent on one day is blocked and
        not looked at again (Le Borgne et al., 2022, chapter 4).
        """
        day = self.time_ms // DAY_MS
        blocked = np.zeros(int(self.user.max(initial=-1)) + 1, np.bool_)
        precisions = []
        for number in np.unique(day):
            rows = np.flatnonzero((day == number) & ~blocked[self.user])
            cards, index = np.unique(self.user[rows], return_inverse=True)
            highest = np.full(len(cards), -np.inf)
            np.maximum.at(highest, index, self.score[rows])
            is_fraud = np.zeros(len(cards), np.bool_)
            np.logical_or.at(is_fraud, index, self.label[rows] == 1)
            top = np.argsort(-highest, kind="stable")[:CARDS_A_DAY]
            found = cards[top[is_fraud[top]]]
            blocked[found] = True
            precisions.append(len(found) / CARDS_A_DAY)
        return precisions

    @cached_property
    def _order(self) -> "_Order":
        return _Order.of(self)

    def _resampled(self, rng: np.random.Generator) -> dict[str, float]:
        users = int(self.user.max()) + 1
        drawn = np.bincount(rng.integers(0, users, users), minlength=users).astype(np.float64)
        weight = drawn[self.user]
        return {**self._order.areas(weight), **self._order.at_shares(weight)}


@dataclass(frozen=True, slots=True)
class Curve:
    """Recall and precision by alert share; vectors of one length."""

    share: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Order:
    """Transactions from the most suspicious down, sorted once for many weights.

    order (n): row numbers. ends: where each run of equal scores ends, exclusive.
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    is_fraud: NDArray[np.float64]
    amount: NDArray[np.float64]

    @classmethod
    def of(cls, ranked: Ranked) -> "_Order":
        order = np.argsort(-ranked.score, kind="stable")
        score = ranked.score[order]
        ends = np.append(np.flatnonzero(np.diff(score)) + 1, len(score))
        return cls(order, ends, (ranked.label[order] == 1) * 1.0, ranked.amount[order])

    def areas(self, weight: NDArray[np.float64]) -> dict[str, float]:
        """Average precision and AUC as scikit-learn has them; each row counts `weight` times."""
        weight = weight[self.order]
        hits = np.cumsum(weight * self.is_fraud)[self.ends - 1]
        alerts = np.cumsum(weight)[self.ends - 1]
        misses = alerts - hits
        precision = np.divide(hits, alerts, out=np.zeros_like(hits), where=alerts > 0)
        new_hits, new_misses = np.diff(hits, prepend=0.0), np.diff(misses, prepend=0.0)
        frauds, others = max(hits[-1], 1e-300), max(misses[-1], 1e-300)
        return {
            "average_precision": float((new_hits * precision).sum() / frauds),
            "auc_roc": float((new_misses * (hits - new_hits / 2)).sum() / frauds / others),
        }

    def at_shares(self, weight: NDArray[np.float64]) -> dict[str, float]:
        """Recall, precision and recall of the amount at each alert share."""
        figures = {}
        total = max(float((weight[self.order] * self.is_fraud).sum()), 1e-300)
        value = self.is_fraud * self.amount
        total_value = max(float((weight[self.order] * value).sum()), 1e-300)
        for name, share in ALERT_SHARES.items():
            hits = self.hits(weight, share)
            alerts = max(round(share * float(weight.sum())), 1)
            figures[f"recall_at_{name}"] = hits / total
            figures[f"precision_at_{name}"] = hits / alerts
            figures[f"value_recall_at_{name}"] = self._above(weight, share, value) / total_value
        return figures

    def hits(self, weight: NDArray[np.float64], share: float) -> float:
        """Frauds among the share of the weight that scores highest."""
        return self._above(weight, share, self.is_fraud)

    def _above(
        self, weight: NDArray[np.float64], share: float, quantity: NDArray[np.float64]
    ) -> float:
        weight = weight[self.order]
        alerts = np.cumsum(weight)[self.ends - 1]
        sums = np.cumsum(weight * quantity)[self.ends - 1]
        wanted = max(round(share * float(alerts[-1])), 1)
        at = int(np.searchsorted(alerts, wanted))
        before, sum_before = (alerts[at - 1], sums[at - 1]) if at else (0.0, 0.0)
        part = (wanted - before) / max(alerts[at] - before, 1e-300)
        return float(sum_before + part * (sums[at] - sum_before))


#: Names of the figures that `--json` gives of each score, in order.
FIGURES: Final = (
    "average_precision",
    "auc_roc",
    *(f"recall_at_{name}" for name in ALERT_SHARES),
    *(f"precision_at_{name}" for name in ALERT_SHARES),
    "card_precision_at_100",
)

#: And those that tables have beside them.
VALUE_FIGURES: Final = tuple(f"value_recall_at_{name}" for name in ALERT_SHARES)
