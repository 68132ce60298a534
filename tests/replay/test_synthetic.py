"""Synthetic payments: repeatable, well-formed, and each fraud as its pattern promises."""

import dataclasses
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from streamapp.replay import fraud_patterns as promise
from streamapp.replay.errors import RecordedError
from streamapp.replay.fraud_patterns import DAY_MS, HOUR_MS, PATTERNS
from streamapp.replay.synthetic import MATURITY_MS, Plan, synthetic

START_MS = 1_704_067_200_000
PLAN = Plan(users=150, days=90, start_ms=START_MS, episodes=8, label_delay_ms=7 * DAY_MS, seed=3)
Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The payments in their order."""
    return rows_of(PLAN)


def rows_of(plan: Plan) -> list[Row]:
    found: list[Row] = synthetic(plan).to_pylist()
    for row in found:
        row["ms"] = round(row["timestamp"].timestamp() * 1_000)
    return found


@pytest.fixture(scope="module")
def stories(rows: list[Row]) -> dict[str, list[list[Row]]]:
    """All payments of each victim, by pattern."""
    by_user: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_user[row["user_id"]].append(row)
    names = list(PATTERNS)
    found: dict[str, list[list[Row]]] = {name: [] for name in names}
    for payments in by_user.values():
        numbers = {row["scenario"] for row in payments} - {0}
        assert len(numbers) <= 1
        for number in numbers:
            found[names[number - 1]].append(payments)
    return found


def parts(payments: list[Row]) -> tuple[list[Row], list[Row], float]:
    """Genuine payments before the first fraud, the frauds, and the usual amount."""
    frauds = [row for row in payments if row["is_fraud"]]
    before = [row for row in payments if not row["is_fraud"] and row["ms"] <= frauds[0]["ms"]]
    return before, frauds, float(np.mean([row["amount"] for row in before]))


def test_the_same_plan_gives_the_same_table() -> None:
    """And another seed another one."""
    small = dataclasses.replace(PLAN, users=40, episodes=2)
    assert synthetic(small).equals(synthetic(small))
    assert not synthetic(small).equals(synthetic(dataclasses.replace(small, seed=4)))


def test_payments_are_in_order_and_named_once(rows: list[Row]) -> None:
    """No id twice; times never fall; amounts are of whole cents."""
    assert len(rows) == len({row["tx_id"] for row in rows})
    assert sorted(row["ms"] for row in rows) == [row["ms"] for row in rows]
    assert all(row["amount"] >= 0.01 and row["amount"] == round(row["amount"], 2) for row in rows)


def test_every_pattern_befalls_as_many_users_as_asked(stories: dict[str, list[list[Row]]]) -> None:
    """No more and no fewer."""
    assert dict.fromkeys(PATTERNS, PLAN.episodes) == {
        name: len(found) for name, found in stories.items()
    }


def test_labels_become_known_later(rows: list[Row]) -> None:
    """A fraud after an hour at least and the delay on average, anything else after 30 days."""
    delays = defaultdict(list)
    for row in rows:
        known_ms = round(row["label_time"].timestamp() * 1_000)
        delays[row["is_fraud"]].append(known_ms - row["ms"])
    assert {MATURITY_MS} == set(delays[0])
    assert min(delays[1]) >= HOUR_MS
    assert pytest.approx(PLAN.label_delay_ms, rel=0.2) == np.mean(delays[1])


def test_bust_out(stories: dict[str, list[list[Row]]]) -> None:
    """Twenty to fifty good payments, then over six times as much, then nothing."""
    for payments in stories["bust_out"]:
        good, frauds, usual = parts(payments)
        assert promise.BUST_OUT_GOOD[0] <= len(good) <= promise.BUST_OUT_GOOD[1]
        assert min(row["amount"] for row in frauds) >= promise.BUST_OUT_FACTOR * usual
        assert payments == good + frauds


def test_account_takeover(stories: dict[str, list[list[Row]]]) -> None:
    """A device never seen, far from the usual hour, over five times the usual amount."""
    for payments in stories["account_takeover"]:
        before, frauds, usual = parts(payments)
        angles = [2 * np.pi * (row["ms"] % DAY_MS) / DAY_MS for row in before]
        mean_hour = np.angle(np.mean(np.exp(1j * np.array(angles)))) / (2 * np.pi) * 24
        for row in frauds:
            apart = abs(row["ms"] % DAY_MS / HOUR_MS - mean_hour) % 24
            assert min(apart, 24 - apart) >= promise.TAKEOVER_HOURS
            assert row["amount"] >= promise.TAKEOVER_FACTOR * usual
            assert row["device_id"] not in {one["device_id"] for one in before}


def test_sleeper(stories: dict[str, list[list[Row]]]) -> None:
    """Thirty days of silence, then over five times the usual."""
    for payments in stories["sleeper"]:
        before, frauds, usual = parts(payments)
        assert frauds[0]["ms"] - before[-1]["ms"] >= promise.SLEEPER_DAYS * DAY_MS
        assert min(row["amount"] for row in frauds) >= promise.SLEEPER_FACTOR * usual


def test_card_testing(stories: dict[str, list[list[Row]]]) -> None:
    """Ten to thirty tiny payments within ten minutes."""
    for payments in stories["card_testing"]:
        _, frauds, _ = parts(payments)
        assert promise.TESTING_PAYMENTS[0] <= len(frauds) <= promise.TESTING_PAYMENTS[1]
        assert frauds[-1]["ms"] - frauds[0]["ms"] <= promise.TESTING_MS
        assert max(row["amount"] for row in frauds) <= promise.TESTING_AMOUNT_MAX


def test_compromised_merchant(stories: dict[str, list[list[Row]]]) -> None:
    """Every victim paid at the same merchant one to seven days before its first fraud."""
    leaky = f"m{promise.LEAKY_MERCHANT:03}"
    for payments in stories["compromised_merchant"]:
        before, frauds, _ = parts(payments)
        ages = [frauds[0]["ms"] - row["ms"] for row in before if row["merchant_id"] == leaky]
        assert any(
            promise.LEAK_DAYS[0] * DAY_MS <= age <= promise.LEAK_DAYS[1] * DAY_MS for age in ages
        )


def test_velocity_burst(stories: dict[str, list[list[Row]]]) -> None:
    """Two dozen payments in half an hour, never more than four within five minutes."""
    for payments in stories["velocity_burst"]:
        times = np.array([row["ms"] for row in parts(payments)[1]])
        assert promise.BURST_GROUPS * promise.BURST_IN_WINDOW == len(times)
        assert times[-1] - times[0] <= HOUR_MS // 2
        counts = [((times > at - promise.BURST_WINDOW_MS) & (times <= at)).sum() for at in times]
        assert promise.BURST_IN_WINDOW == max(counts)


def test_too_few_users_for_the_frauds_is_said() -> None:
    """The message names what to change."""
    with pytest.raises(RecordedError, match="more users, more days or fewer episodes"):
        synthetic(dataclasses.replace(PLAN, users=10))
