"""Risk windows for running workers are those that training looks up."""

import numpy as np
import pytest

from streamapp.features.columns import EVENT
from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.labels import Labels, payment_keys
from streamapp.lifecycle.risk_ledger import RiskLedger
from streamapp.lifecycle.topic_windows import newest_windows
from streamapp.scoring.risk_version import to_bytes

DAYS, PAYMENTS, DELAY_DAYS = 45, 2_000, 7


@pytest.mark.parametrize("seed", range(3))
def test_windows_are_those_of_the_newest_day_whatever_the_order(seed: int) -> None:
    """By labels known at its midnight; the ledger, asked day by day, says the same."""
    draw = np.random.default_rng(seed)
    payments = np.zeros(PAYMENTS, EVENT)
    payments["time_ms"] = 19_700 * DAY_MS + np.sort(draw.integers(0, DAYS * DAY_MS, PAYMENTS))
    payments["tx"], payments["user"] = np.arange(PAYMENTS), draw.integers(1, 50, PAYMENTS)
    for name in ("merchant", "category", "device"):
        payments[name] = draw.integers(0, 30, PAYMENTS)
    chosen = draw.choice(PAYMENTS, 400, replace=False)
    labels = Labels(
        payment_keys(payments["tx"][chosen], payments["user"][chosen]),
        draw.random(400) < 0.5,
        payments["time_ms"][chosen] + draw.integers(0, 20 * DAY_MS, 400),
    )
    table, counts = newest_windows(payments, labels, DELAY_DAYS)
    assert 0 == counts.unknown
    ledger = RiskLedger(DELAY_DAYS)
    names = np.stack([payments[name] for name in ("merchant", "category", "device")], axis=1)
    frauds = labels.is_fraud
    at = chosen[frauds]
    known_ms, ones = labels.known_ms[frauds], np.ones(int(frauds.sum()), np.int64)
    ledger.add_fraud_changes(payments["time_ms"][at], names[at], known_ms, ones)
    for day in np.unique(payments["time_ms"] // DAY_MS).tolist():
        of_day = payments["time_ms"] // DAY_MS == day
        expected = ledger.table(day)
        ledger.add_payments(payments["time_ms"][of_day], names[of_day])
    assert to_bytes(expected) == to_bytes(table)
    mixed = newest_windows(draw.permutation(payments), labels, DELAY_DAYS)[0]
    assert to_bytes(table) == to_bytes(mixed)
