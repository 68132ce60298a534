"""Reasons: the strongest first, one for each subject, in sentences that are true."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamapp.domain.verdict import Reason
from streamapp.features.contract import FEATURE_INDEX, FEATURE_NAMES, TYPICAL_NAMES
from streamapp.scoring.explanation import REASONS_MAX, SHARE_MIN, Facts, reasons
from streamapp.scoring.supervised import SUPERVISED_INPUTS

DAY_S = 86_400.0
USUAL = {
    "amount": 10.0,
    "amount_deviation": 2.0,
    "count_5m": 0.2,
    "count_1h": 0.4,
    "count_24h": 3.1,
    "time_since_last": 7_200.0,
    "hour": 8.97,
    "event_count": 40.0,
}
NOBODY = {**dict.fromkeys(TYPICAL_NAMES, 0.0), "hour": -1.0}


def facts(
    features: dict[str, float] | None = None,
    usual: dict[str, float] | None = None,
    amount: float = 370.0,
    has_merchant: bool = True,
) -> Facts:
    """Facts of one payment; features not given are 0."""
    values = [(features or {}).get(name, 0.0) for name in FEATURE_NAMES]
    typical = [{**USUAL, **(usual or {})}[name] for name in TYPICAL_NAMES]
    return Facts(amount, has_merchant, values, typical)


def told(contributions: dict[str, float], of: Facts | None = None) -> list[Reason]:
    """Reasons for the contributions; features not given contributed nothing."""
    pushed = [contributions.get(name, 0.0) for name in FEATURE_NAMES]
    (found,) = reasons([of or facts()], np.array([pushed]))
    return found


def sentence(feature: str, of: Facts) -> str:
    """What is said where this feature alone pushed the score up."""
    (reason,) = told({feature: 1.0}, of)
    assert feature == reason.feature
    assert of.features[FEATURE_INDEX[feature]] == reason.value
    return reason.text


@pytest.mark.parametrize("name", FEATURE_NAMES)
@pytest.mark.parametrize("usual", [USUAL, NOBODY, {**USUAL, "event_count": 1.0}])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, 5_000_000.0])
def test_every_feature_has_a_sentence(name: str, usual: dict[str, float], value: float) -> None:
    """For users known and unknown, whatever the value."""
    text = sentence(name, facts(dict.fromkeys(FEATURE_NAMES, value), usual))
    assert 10 <= len(text) <= 100
    assert "nan" not in text.lower()


@pytest.mark.parametrize(
    ("amount", "usual", "text"),
    [
        (370.0, {}, "amount 37.0× this user's usual"),
        (15.0, {}, "amount 1.5× this user's usual"),
        (14.9, {}, "amount 14.90, usually 10.00"),
        (1e12, {"amount": 0.5}, "amount 2,000,000,000,000.0× this user's usual"),
        (5.0, {"amount": 0.0}, "amount 5.00, usually 0.00"),
        (1234.5, NOBODY, "amount 1,234.50, the first of this user"),
    ],
)
@pytest.mark.parametrize("feature", ["log_amount", "amount_zscore", "amount_percentile"])
def test_amounts_are_compared_with_the_usual(
    feature: str, amount: float, usual: dict[str, float], text: str
) -> None:
    """By how many times where that says something, else side by side."""
    assert text == sentence(feature, facts(usual=usual, amount=amount))


@pytest.mark.parametrize(
    ("feature", "value", "usual", "text"),
    [
        ("count_5m", 8, {}, "9 payments in 5 min, usually 1"),
        ("count_5m", 0, {}, "1 payment in 5 min, usually 1"),
        ("count_24h", 20, {}, "21 payments in 24 hours, usually 4"),
        ("count_30d", 20, {}, "21 payments in 30 days"),
        ("count_1h", 0, NOBODY, "1 payment in 1 hour"),
        ("sum_1h", 1234.5, {}, "1,234.50 spent in the 1 hour before"),
        ("mean_7d", 0, {}, "no payments in the 7 days before"),
        ("distinct_merchants_5m", 5, {}, "5 different merchants in the 5 min before"),
        ("distinct_merchants_1h", 12, {}, "12 or more different merchants in the 1 hour before"),
        ("velocity_ratio", 9.04, {}, "9.0× this user's usual payments a day"),
        ("velocity_ratio", 1, NOBODY, "the first payment of this user"),
        ("hour_deviation", 7.2, {}, "7 h away from this user's usual hour (around 09:00)"),
        (
            "hour_deviation",
            0,
            {"hour": 23.8},
            "0 h away from this user's usual hour (around 00:00)",
        ),
        ("hour_deviation", 0, {"hour": -1.0}, "this user has no usual hour"),
        ("hour_deviation", 0, NOBODY, "the first payment of this user"),
        ("day_deviation", 1, {}, "on a weekday this user seldom pays on"),
        ("day_deviation", 0, {}, "on a weekday this user often pays on"),
        ("day_deviation", 0, NOBODY, "the first payment of this user"),
        ("time_since_last", 40, {}, "40 s since the last payment, usually 2 hours"),
        ("time_since_last", 3 * DAY_S, {"event_count": 1}, "3 days since the last payment"),
        ("time_since_last", 30 * DAY_S, NOBODY, "the first payment of this user"),
        ("session_gap", 30 * DAY_S, {}, "active again after 30 days or more of silence"),
        ("session_gap", 0, {}, "in this user's first session"),
        ("merchant_familiarity", 0, {}, "a merchant that is not among this user's usual ones"),
        ("merchant_familiarity", 0.25, {}, "a merchant with 25% of this user's payments"),
        ("merchant_familiarity", 0.001, {}, "a merchant with under 1% of this user's payments"),
        (
            "is_new_user",
            1,
            {"event_count": 1},
            "little is known of this user: 1 earlier payment",
        ),
        ("is_new_user", 0, {}, "this user has 40 earlier payments"),
        ("global_amount_flag", 1, {}, "amount among the highest of all users"),
        ("global_amount_flag", 0, {}, "amount not among the highest of all users"),
        ("device_changed", 1, {}, "another device than last time"),
        ("device_changed", 0, {}, "no change of device"),
        ("country_changed", 1, {}, "another country than last time"),
        ("category_changed", 0, {}, "no change of kind of merchant"),
        ("distance_km", 0, {}, "no distance from the last known place"),
    ],
)
def test_sentences_say_what_is_so(
    feature: str, value: float, usual: dict[str, float], text: str
) -> None:
    """A flag that is not set, a first payment or a missing place is not told as the odd case."""
    assert text == sentence(feature, facts({feature: value}, usual))


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (21, 8, "known fraud at this merchant, first 21 and last 8 days ago"),
        (8, 8, "known fraud at this merchant 8 days ago"),
        (30, 1, "known fraud at this merchant, first 30 and last 1 day ago"),
        (0, 0, "no known fraud at this merchant of late"),
    ],
)
def test_known_fraud_is_told_with_its_age(first: float, last: float, text: str) -> None:
    """When it was seen first and last, as far back as the longest window."""
    ages = {"merchant_first_fraud_days": first, "merchant_last_fraud_days": last}
    of = replace(facts(), features=[ages.get(name, 0.0) for name in SUPERVISED_INPUTS])
    pushed = [float(name == "merchant_first_fraud_days") for name in SUPERVISED_INPUTS]
    (found,) = reasons([of], np.array([pushed]))
    assert [text] == [reason.text for reason in found]


def test_speed_and_distance_are_told_together() -> None:
    """An impossible journey is one reason, not two."""
    journey = facts({"distance_km": 5_890.4, "speed_kmh": 5_890.4})
    (reason,) = told({"distance_km": 1.0, "speed_kmh": 2.0}, journey)
    assert "5,890 km from the last payment, 5,890 km/h" == reason.text
    assert "speed_kmh" == reason.feature


def test_a_payment_without_a_merchant_is_no_usual_merchant() -> None:
    """Familiarity is 1 by definition, which is no share of anything."""
    of = facts({"merchant_familiarity": 1.0}, has_merchant=False)
    assert "no merchant given" == sentence("merchant_familiarity", of)


@pytest.mark.parametrize(
    ("feature", "usual", "typical"),
    [
        ("count_5m", {}, 0.2),
        ("time_since_last", {}, 7_200.0),
        ("time_since_last", {"event_count": 1}, None),
        ("amount_percentile", {}, 0.5),
        ("hour_deviation", {}, 0.0),
        ("hour_deviation", NOBODY, None),
        ("sum_1h", {}, None),
    ],
)
def test_typical_is_of_the_same_unit_or_absent(
    feature: str, usual: dict[str, float], typical: float | None
) -> None:
    """A reason never compares a value with something else."""
    (reason,) = told({feature: 1.0}, facts(usual=usual))
    assert typical == reason.typical


def test_nothing_pushed_the_score_up() -> None:
    """Then there is no reason to give."""
    assert [] == told({})
    assert [] == told({"log_amount": -1.0})


def test_small_pushes_are_not_reasons() -> None:
    """What carries less than a twentieth is noise."""
    found = told({"log_amount": 0.96, "hour_deviation": 0.04})
    assert ["log_amount"] == [reason.feature for reason in found]


def test_what_pushed_nothing_is_no_reason() -> None:
    """Not even where the whole push is the smallest number there is."""
    assert ["log_amount"] == [one.feature for one in told({"log_amount": 5e-324}, facts())]


@given(st.lists(st.floats(-5, 5), min_size=len(FEATURE_NAMES), max_size=len(FEATURE_NAMES)))
def test_reasons_are_few_sorted_and_distinct(contributions: list[float]) -> None:
    """At most three, strongest first, each of its own subject, shares of the whole push."""
    (found,) = reasons([facts()], np.array([contributions]))
    shares = [reason.contribution for reason in found]
    assert len(found) <= REASONS_MAX
    assert sorted(shares, reverse=True) == shares
    assert all(SHARE_MIN - 1e-4 <= share <= 1 for share in shares)
    assert sum(shares) <= 1 + 1e-3
    assert len({reason.text for reason in found}) == len(found)
    if found:
        strongest = max(range(len(contributions)), key=contributions.__getitem__)
        assert FEATURE_NAMES[strongest] == found[0].feature


def test_events_are_explained_apart() -> None:
    """Each by its own contributions, one that nothing pushed up by none."""
    pushed = np.zeros((3, len(FEATURE_NAMES)))
    pushed[0, FEATURE_INDEX["log_amount"]] = 1.0
    pushed[1] = -1.0
    pushed[2, FEATURE_INDEX["hour_deviation"]] = 1.0
    found = reasons([facts()] * 3, pushed)
    assert [["log_amount"], [], ["hour_deviation"]] == [
        [reason.feature for reason in one] for one in found
    ]
