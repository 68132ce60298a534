"""How long the runner waits between attempts, and what it may commit."""

import random

from hypothesis import given
from hypothesis import strategies as st

from streamapp.sinks.backoff import Backoff
from streamapp.sinks.progress import Progress


@given(st.integers(0, 2**32), st.integers(1, 5_000))
def test_waits_grow_to_a_bound(seed: int, attempts: int) -> None:
    """Each wait is between half of the doubled one and the bound, for ever."""
    backoff = Backoff(0.2, 30.0, random.Random(seed), attempts=attempts)
    wait_s = backoff.next_wait_s(None)
    ceiling = min(30.0, 0.2 * 2 ** min(attempts, 30))
    assert ceiling / 2 <= wait_s <= ceiling


def test_same_seed_gives_the_same_waits() -> None:
    """A failure can be repeated."""
    first, second = (Backoff(0.1, 5.0, random.Random(3)) for _ in range(2))
    assert [first.next_wait_s(None) for _ in range(9)] == [
        second.next_wait_s(None) for _ in range(9)
    ]


def test_wish_of_the_other_side_is_a_minimum() -> None:
    """Retry-After makes a wait longer, never shorter."""
    backoff = Backoff(1.0, 30.0, random.Random(1), attempts=6)
    assert backoff.next_wait_s(0.1) >= 15
    assert 90 == backoff.next_wait_s(90)


def test_commit_stops_at_what_is_held() -> None:
    """The position is committed only up to the first offset in memory."""
    progress = Progress()
    progress.assign([0, 1])
    progress.handled(0, 10)
    progress.handled(1, 20)
    assert {0: 4, 1: 20} == progress.due({0: 4, 1: None}.get)


def test_commit_is_due_until_the_broker_has_it() -> None:
    """Only an accepted commit settles an offset."""
    progress = Progress()
    progress.assign([0])
    progress.handled(0, 10)
    assert {0: 10} == progress.due(lambda _: None)
    progress.committed({0: 10})
    assert {} == progress.due(lambda _: None)


def test_lost_partition_is_never_committed() -> None:
    """Late news of a partition that went away are ignored."""
    progress = Progress()
    progress.assign([0])
    progress.handled(0, 10)
    progress.forget([0])
    progress.handled(0, 11)
    assert {} == progress.due(lambda _: None)
