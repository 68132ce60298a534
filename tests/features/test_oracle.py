"""The kernel computes what the feature contract says, held to the brute-force oracle."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings

from streamapp.features.contract import FEATURE_NAMES, TYPICAL_NAMES, FeatureParameters
from streamapp.features.kernel import FeatureBlock
from tests.features.oracle import DAY, HOUR, MINUTE, Event, Expected, Interval, Oracle
from tests.features.streams import STATUSES, USERS, Kernel, named, streams

AMOUNT_LIMIT = 400.0


def differences(events: Sequence[Event], block: FeatureBlock, oracle: Oracle) -> list[str]:
    """Every value of the kernel that is not what the oracle allows."""
    found: list[str] = []
    for row, event in enumerate(events):
        expected = oracle.tell(event)
        status = STATUSES[block.status[row]]
        if expected.status != status:
            return [*found, f"row {row}: {status}, expected {expected.status}"]
        if status == "duplicate" and expected.first_offset != block.first_offset[row]:
            found.append(f"row {row}: first is {block.first_offset[row]}, expected {expected}")
        if status == "applied":
            found += [f"row {row}: {problem}" for problem in _row_differences(block, row, expected)]
    return found


def _row_differences(block: FeatureBlock, row: int, expected: Expected) -> list[str]:
    found = []
    if (expected.is_late, expected.is_cold) != (bool(block.is_late[row]), bool(block.is_cold[row])):
        found.append(f"late, cold {block.is_late[row], block.is_cold[row]}")
    for names, values, allowed in (
        (FEATURE_NAMES, named(block.values[row]), expected.values),
        (TYPICAL_NAMES, named(block.typical[row]), expected.typical),
    ):
        assert set(names) == set(allowed)
        found += [
            f"{name} is {values[name]!r}, expected {allowed[name]}"
            for name in names
            if not _within(values[name], allowed[name])
        ]
    return found


def _within(value: float, allowed: Interval) -> bool:
    slack = 1e-9 * max(1.0, abs(value))
    return allowed.low - slack <= value <= allowed.high + slack


@given(streams())
@settings(max_examples=250, deadline=None)
def test_kernel_equals_the_oracle(events: list[Event]) -> None:
    """Every feature of every event is what the contract says, on streams made to be hard."""
    oracle = Oracle(AMOUNT_LIMIT)
    block = Kernel(FeatureParameters(AMOUNT_LIMIT)).run(events)
    assert [] == differences(events, block, oracle)


def steady_stream(seed: int, size: int) -> list[Event]:
    """Three users who pay for months: full rings, many merchants, a late event now and then."""
    chance = random.Random(seed)
    clock, events = 1_770_000_000_000, []
    for number in range(size):
        clock += round(chance.expovariate(1 / chance.choice([5_000, 20 * MINUTE, 3 * HOUR])))
        late = chance.choice([0, 0, 0, 0, MINUTE, HOUR, 2 * DAY])
        events.append(
            Event(
                offset=number,
                user=chance.choice(USERS),
                tx_id=f"t{max(number - chance.choice([0] * 9 + [1, 20, 50]), 0)}",
                time_ms=clock - round(late * chance.random()),
                amount=round(chance.lognormvariate(3, 1.5), 2),
                merchant=f"m{int(chance.paretovariate(0.7)) % 40}",
                category=chance.choice(["food", "fuel", None]),
                country=chance.choice(["BE", "BE", "BE", "FR"]),
                device=chance.choice(["phone", "phone", "laptop"]),
                latitude=chance.uniform(-90, 90),
                longitude=chance.uniform(-180, 180),
            )
        )
    return events


@pytest.mark.parametrize("seed", [1, 2])
def test_kernel_equals_the_oracle_over_long_histories(seed: int) -> None:
    """Users with hundreds of payments, where every bound of the profile is exceeded."""
    events = steady_stream(seed, 1_500)
    block = Kernel(FeatureParameters(AMOUNT_LIMIT)).run(events)
    assert {0, 2} == set(block.status.tolist())
    assert [] == differences(events, block, Oracle(AMOUNT_LIMIT))


@given(streams(size=40))
@settings(max_examples=60, deadline=None)
def test_kernel_equals_the_oracle_in_a_time_zone(events: list[Event]) -> None:
    """Hours and weekdays follow the local clock, daylight saving included."""
    zone = "Europe/Brussels"
    block = Kernel(FeatureParameters(time_zone=zone)).run(events)
    assert [] == differences(events, block, Oracle(time_zone=zone))
