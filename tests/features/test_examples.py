"""Single cases of the contract, each with its number worked out by hand."""

import math
from datetime import UTC, datetime

import pytest

from streamapp.features.contract import FeatureParameters
from streamapp.features.kernel import APPLIED, DUPLICATE
from tests.features.oracle import DAY, HOUR, MINUTE, Event
from tests.features.streams import Kernel, named

NOON = 1_770_033_600_000  # 2026-02-02T12:00:00Z, a Monday, on a bucket edge of 5m, 1h and 24h


def pay(offset: int, time_ms: int, amount: float = 10.0, **fields: object) -> Event:
    """A payment of ann's."""
    return Event(offset, "ann", f"t{offset}", time_ms, amount, **fields)  # type: ignore[arg-type]


def last_of(*events: Event, parameters: FeatureParameters | None = None) -> dict[str, float]:
    """Features of the last event."""
    return named(Kernel(parameters or FeatureParameters()).run(events).values[-1])


def test_the_first_event_of_a_user() -> None:
    """Nothing is known yet: the neutral values of the contract."""
    features = last_of(pay(0, NOON, 0.0, merchant="shop"))
    changed = {
        "amount_percentile": 0.5,
        "velocity_ratio": 1.0,
        "time_since_last": 2_592_000.0,
        "is_new_user": 1.0,
    }
    assert changed == {name: value for name, value in features.items() if value}


def test_the_second_event_of_a_user() -> None:
    """One earlier event makes a mean, an hour and a weekday, but no z-score yet."""
    features = last_of(pay(0, NOON), pay(1, NOON + 90 * MINUTE, 1000.0))
    expected = {
        "amount_zscore": 0.0,
        "amount_percentile": 1.0,
        "hour_deviation": 1.5,
        "day_deviation": 0.0,
        "time_since_last": 5400.0,
        "session_gap": 5400.0,
        "count_1h": 0.0,
        "count_24h": 1.0,
        "mean_24h": 10.0,
    }
    assert expected == {name: pytest.approx(features[name], abs=1e-9) for name in expected}


def test_a_run_of_unusual_amounts() -> None:
    """After nineteen tens and a thousand the mean is 59.5; in a day half of the excess is left."""
    earlier = [pay(i, NOON + i * MINUTE) for i in range(19)]
    odd = pay(19, NOON + DAY, 1_000.0)
    features = last_of(*earlier, odd, pay(20, NOON + 2 * DAY))
    assert pytest.approx((math.log(1_000.01 / 59.51) - 1) / 2) == features["recent_excess"]
    assert pytest.approx(math.log(10.01 / 59.51)) == features["amount_log_ratio"]
    assert 0.0 == last_of(*earlier, odd)["recent_excess"]
    assert pytest.approx(math.log(1_000.01 / 10.01)) == last_of(*earlier, odd)["amount_log_ratio"]


@pytest.mark.parametrize(
    ("amount", "zscore"), [(10.0, 0.0), (10.01, 1 / 11), (0.0, -10 / 0.11), (100.0, 100.0)]
)
def test_equal_amounts_have_a_floor_under_their_deviation(amount: float, zscore: float) -> None:
    """Ten tens: a cent more is nothing, nine times as much is as odd as it gets."""
    earlier = [pay(i, NOON + i * HOUR) for i in range(10)]
    features = last_of(*earlier, pay(10, NOON + 10 * HOUR, amount))
    assert zscore == pytest.approx(features["amount_zscore"], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "length"),
    [("5m", 5 * MINUTE), ("1h", HOUR), ("24h", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY)],
)
@pytest.mark.parametrize(("nudge", "count"), [(-1, 1.0), (0, 0.0), (1, 0.0)])
def test_a_window_is_open_at_its_start(name: str, length: int, nudge: int, count: float) -> None:
    """An event exactly one window ago is out; a millisecond later it would have been in."""
    features = last_of(pay(0, NOON), pay(1, NOON + length + nudge))
    assert count == features[f"count_{name}"]


def test_simultaneous_events_see_each_other_in_order() -> None:
    """Of three events in one millisecond the third has two before it, and none is late."""
    block = Kernel().run([pay(i, NOON) for i in range(3)])
    assert [0.0, 1.0, 2.0] == [named(row)["count_5m"] for row in block.values]
    assert not block.is_late.any()


def test_more_events_than_are_kept_are_counted_in_buckets() -> None:
    """Of the minute in which the window begins, the half inside counts for its events: 5 of 10."""
    burst = [pay(i, NOON + 50_000) for i in range(10)]
    burst += [pay(10 + i, NOON + 2 * MINUTE) for i in range(10)]
    features = last_of(*burst, pay(20, NOON + 5 * MINUTE + 30_000))
    assert 15.0 == features["count_5m"]
    assert 150.0 == features["sum_5m"]
    assert 20.0 == features["count_1h"]


def test_a_late_event_is_added_where_it_belongs() -> None:
    """It sees what came before it in its window, is marked, and moves no clock back."""
    events = [pay(0, NOON), pay(1, NOON + HOUR), pay(2, NOON + MINUTE), pay(3, NOON + HOUR)]
    block = Kernel().run(events)
    assert [0, 0, 1, 0] == block.is_late.tolist()
    late, after = named(block.values[2]), named(block.values[3])
    assert (1.0, 0.0) == (late["count_5m"], late["time_since_last"])
    assert (2.0, 0.0) == (after["count_1h"], after["time_since_last"])


def test_every_event_moves_stream_time() -> None:
    """Also one that is fenced or a duplicate: what expires must not depend on a replay."""
    kernel = Kernel()
    kernel.run([pay(0, NOON), pay(1, NOON + DAY)])
    kernel.stream_time_ms = -1  # the partition's state is older than its profiles
    kernel.run([pay(1, NOON + DAY)])
    assert NOON + DAY == kernel.stream_time_ms
    kernel.run([Event(2, "ann", "t1", NOON + 2 * DAY, 10.0)])
    assert NOON + 2 * DAY == kernel.stream_time_ms


def test_times_soon_after_1970_are_exact_too() -> None:
    """A window that begins before 1970 is read from the kept events like any other."""
    features = last_of(pay(0, 0), pay(1, 1), pay(2, 40))
    assert (2.0, 20.0) == (features["count_30d"], features["sum_5m"])


def test_minus_zero_is_zero() -> None:
    """An amount of -0.0 leaves no sign behind."""
    kernel, plain = Kernel(), Kernel()
    assert plain.run([pay(0, NOON, 0.0)]).values.tobytes() == (
        kernel.run([pay(0, NOON, -0.0)]).values.tobytes()
    )
    assert plain.sealed("ann") == kernel.sealed("ann")


def test_a_transaction_is_repeated_within_the_kept_history_only() -> None:
    """The 12 last payments are known by id; what lies before is a payment again."""
    events = [pay(i, NOON + i) for i in range(13)]
    again = [Event(13 + i, "ann", f"t{i}", NOON + 20, 10.0) for i in (1, 0)]
    block = Kernel().run([*events, *again])
    assert [DUPLICATE, APPLIED] == block.status[13:].tolist()
    assert 1 == block.first_offset[13]


def test_offsets_beyond_32_bits_are_reported_whole() -> None:
    """The ring keeps 32 bits of an offset, and the record at hand tells the rest."""
    first, again = (1 << 32) - 2, (1 << 32) + 5
    block = Kernel().run([Event(first, "ann", "t", NOON, 1.0), Event(again, "ann", "t", NOON, 1.0)])
    assert [0, first] == block.first_offset.tolist()


def test_a_full_profile_stays_bounded() -> None:
    """70,000 payments in one millisecond: counters stop or halve, and nothing overflows."""
    kernel = Kernel()
    features = named(kernel.run([pay(i, NOON, merchant="shop") for i in range(70_000)]).values[-1])
    assert 65_535.0 == features["count_30d"]
    assert 655_350.0 == pytest.approx(features["sum_30d"], rel=0.004)
    assert 0.5 == features["amount_percentile"]
    assert 0.0 == features["day_deviation"]
    assert 65_535 / 69_999 == pytest.approx(features["merchant_familiarity"])


def test_a_full_amount_bin_halves_them_all() -> None:
    """1,000 ones and 66,000 tens: the ten that would overflow its bin makes them 500 and 32,768."""
    amounts = [1.0] * 1_000 + [10.0] * 66_001
    events = [pay(i, NOON, amount) for i, amount in enumerate(amounts)]
    rank = named(Kernel().run(events).values[-1])["amount_percentile"]
    tens = 32_768 + 66_000 - 65_536
    assert (500 + tens / 2) / (500 + tens) == pytest.approx(rank)


def test_amount_bins_are_half_octaves() -> None:
    """Amounts of one bin share a rank; a factor of 1.42 is always told apart."""
    earlier = [pay(i, NOON + i, 2.0**i) for i in range(4)]  # 1, 2, 4, 8
    ranks = [
        last_of(*earlier, pay(9, NOON + 9, amount))["amount_percentile"]
        for amount in (0.1, 1.0, 1.4, 1.5, 2.0, 7.9, 8.0, 1e12)
    ]
    assert [0.0, 0.125, 0.125, 0.25, 0.375, 0.75, 0.875, 1.0] == ranks


def test_the_same_place_is_no_distance() -> None:
    """A place kept in single precision is within two metres of itself."""
    here = {"latitude": 50.850346, "longitude": 4.351721}
    features = last_of(pay(0, NOON, **here), pay(1, NOON + 1, **here))
    assert 0.0 <= features["distance_km"] <= 0.002


def test_a_place_too_far_to_reach() -> None:
    """Brussels to New York in an hour is 5,890 km and as many km/h."""
    brussels = {"latitude": 50.8503, "longitude": 4.3517}
    new_york = {"latitude": 40.7128, "longitude": -74.0060}
    features = last_of(pay(0, NOON, **brussels), pay(1, NOON + HOUR, **new_york))
    assert 5_890 == pytest.approx(features["distance_km"], rel=0.005)
    assert features["distance_km"] == pytest.approx(features["speed_kmh"])


def utc(*moment: int) -> int:
    """Epoch milliseconds of a moment in UTC."""
    return round(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("first", "second", "hours"),
    [
        # Clocks in Brussels go from 2:00 to 3:00 on 29 March 2026, at 1:00 UTC.
        ((2026, 3, 28, 8, 0), (2026, 3, 29, 7, 0), 0.0),
        ((2026, 3, 29, 0, 30), (2026, 3, 29, 1, 30), 2.0),
        # And from 3:00 back to 2:00 on 25 October 2026, at 1:00 UTC.
        ((2026, 10, 25, 0, 30), (2026, 10, 25, 1, 30), 0.0),
        ((2026, 10, 24, 7, 0), (2026, 10, 25, 8, 0), 0.0),
    ],
)
def test_hours_follow_daylight_saving_time(
    first: tuple[int, ...], second: tuple[int, ...], hours: float
) -> None:
    """Nine in the morning in Brussels stays nine in the morning across both changes of a year."""
    parameters = FeatureParameters(time_zone="Europe/Brussels")
    features = last_of(pay(0, utc(*first)), pay(1, utc(*second)), parameters=parameters)
    assert hours == pytest.approx(features["hour_deviation"], abs=1e-9)


def test_weekdays_are_those_of_the_time_zone() -> None:
    """23:30 on Sunday in UTC is Monday in Brussels."""
    monday, sunday_night = pay(0, NOON), pay(1, utc(2026, 2, 8, 23, 30))
    local = FeatureParameters(time_zone="Europe/Brussels")
    assert 1.0 == last_of(monday, sunday_night)["day_deviation"]
    assert 0.0 == last_of(monday, sunday_night, parameters=local)["day_deviation"]


def test_a_zone_that_changes_at_one_minute_past() -> None:
    """St John's changed its clocks at 0:01 until 2011: the minute before is still the old hour."""
    before, after = utc(2011, 3, 13, 3, 30), utc(2011, 3, 13, 3, 31)
    parameters = FeatureParameters(time_zone="America/St_Johns")
    features = last_of(pay(0, before), pay(1, after), parameters=parameters)
    assert 1 + 1 / 60 == pytest.approx(features["hour_deviation"])


@pytest.mark.parametrize("zone", ["Europe/Brussels", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_ends_of_the_calendar_have_local_times(zone: str) -> None:
    """One message from the last millisecond of 9999, or the first of 1970, breaks nothing."""
    for time_ms in (0, 253_402_300_799_999):
        features = last_of(pay(0, time_ms), parameters=FeatureParameters(time_zone=zone))
        assert 1.0 == features["velocity_ratio"]
