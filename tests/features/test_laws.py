"""Laws of the kernel that hold for every stream."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamapp.features.contract import FEATURE_NAMES
from streamapp.features.kernel import APPLIED, DUPLICATE, FENCED, FeatureBlock
from tests.features.contract_text import BOUNDS
from tests.features.oracle import DAY, Event
from tests.features.streams import USERS, Kernel, streams

FIELDS = FeatureBlock.__slots__
CUTS = st.lists(st.integers(0, 60), max_size=6)


def rows_of(block: FeatureBlock, rows: np.ndarray | slice = slice(None)) -> list[bytes]:
    """Every array of the block, by bytes."""
    return [getattr(block, name)[rows].tobytes() for name in FIELDS]


def joined(blocks: list[FeatureBlock]) -> list[bytes]:
    """The bytes of several blocks as if they were one."""
    return [np.concatenate([getattr(b, name) for b in blocks]).tobytes() for name in FIELDS]


def cut(events: list[Event], cuts: list[int]) -> list[list[Event]]:
    """The stream in batches, empty ones included."""
    edges = [0, *sorted(min(at, len(events)) for at in cuts), len(events)]
    return [events[start:stop] for start, stop in pairwise(edges)]


@given(streams(), CUTS)
@settings(max_examples=60, deadline=None)
def test_batches_may_be_cut_anywhere(events: list[Event], cuts: list[int]) -> None:
    """The same bytes of features and profiles, wherever the stream is cut."""
    whole, parts = Kernel(), Kernel()
    expected = rows_of(whole.run(events))
    assert expected == joined([parts.run(batch) for batch in cut(events, cuts)])
    assert whole.all_sealed() == parts.all_sealed()


@given(streams(), st.sampled_from(USERS))
@settings(max_examples=60, deadline=None)
def test_other_users_do_not_matter(events: list[Event], user: str) -> None:
    """A user's features and profile are those of the user's own events, others or none between.

    Only stream time is shared; so the others here never run ahead of the user far enough to
    expire a profile.
    """
    assume(max(e.time_ms for e in events) - min(e.time_ms for e in events) < 90 * DAY)
    together, alone = Kernel(), Kernel()
    own = np.array([event.user == user for event in events])
    expected = rows_of(alone.run([event for event in events if event.user == user]))
    assert expected == rows_of(together.run(events), own)
    assert alone.sealed(user) == together.sealed(user)


@given(streams(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_users_may_be_interleaved_in_any_order(events: list[Event], chance: object) -> None:
    """Profiles depend on each user's own order alone, not on how users take turns."""
    assume(max(e.time_ms for e in events) - min(e.time_ms for e in events) < 90 * DAY)
    queues = {user: [event for event in events if event.user == user] for user in USERS}
    shuffled = []
    while any(queues.values()):
        user = chance.choice([user for user in USERS if queues[user]])  # type: ignore[attr-defined]
        shuffled.append(queues[user].pop(0))
    straight, mixed = Kernel(), Kernel()
    straight.run(events)
    mixed.run(shuffled)
    assert straight.all_sealed() == mixed.all_sealed()


@given(streams(), st.integers(0, 60), CUTS)
@settings(max_examples=60, deadline=None)
def test_a_replay_changes_nothing(events: list[Event], back: int, cuts: list[int]) -> None:
    """Applied offsets are fenced; after a replay the stream goes on as if nothing had happened."""
    middle = len(events) // 2
    expected, kernel = Kernel(), Kernel()
    expected.run(events[:middle])
    kernel.run(events[:middle])
    again = [e for batch in cut(events[max(middle - back, 0) : middle], cuts) for e in batch]
    before = kernel.all_sealed()
    status = kernel.run(again).status
    assert before == kernel.all_sealed()
    assert APPLIED not in status
    rest = events[middle:]
    assert rows_of(expected.run(rest)) == rows_of(kernel.run(rest))
    assert expected.all_sealed() == kernel.all_sealed()


@given(streams(), CUTS)
@settings(max_examples=60, deadline=None)
def test_a_replay_that_reaches_into_new_events_may_be_cut_anywhere(
    events: list[Event], cuts: list[int]
) -> None:
    """Fenced events move stream time on, so expiry does not depend on where a replay is cut."""
    whole, parts = Kernel(), Kernel()
    for kernel in (whole, parts):
        kernel.run(events[: len(events) // 2])
        kernel.stream_time_ms = -1  # the partition's state is older than the profiles
    expected = rows_of(whole.run(events))
    assert expected == joined([parts.run(batch) for batch in cut(events, cuts)])
    assert whole.all_sealed() == parts.all_sealed()


@given(streams(), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_duplicate_changes_no_state(events: list[Event], back: int) -> None:
    """A `tx_id` among the last 12 payments reports its first offset and leaves no trace."""
    kernel = Kernel()
    block = kernel.run(events)
    user = events[-1].user
    applied = [e for e, s in zip(events, block.status, strict=True) if s == APPLIED]
    profile = kernel.profiles[USERS.index(user)]
    kept = [event for event in applied if event.user == user][-int(profile["ring_size"]) :]
    first = kept[-min(back, len(kept))]
    again = replace(first, offset=events[-1].offset + 1, amount=77.0, time_ms=events[-1].time_ms)
    assume(kernel.stream_time_ms - profile["last_time_ms"] <= 90 * DAY)
    before = kernel.all_sealed()
    repeated = kernel.run([again])
    assert before == kernel.all_sealed()
    assert ([DUPLICATE], [first.offset]) == (
        repeated.status.tolist(),
        repeated.first_offset.tolist(),
    )


@given(streams())
@settings(max_examples=60, deadline=None)
def test_features_are_finite_and_within_their_bounds(events: list[Event]) -> None:
    """Whatever is accepted, every feature stays within the bounds the contract states."""
    values = Kernel().run(events).values
    assert np.isfinite(values).all()
    for index, name in enumerate(FEATURE_NAMES):
        low, high = BOUNDS[name]
        assert low <= values[:, index].min(), name
        assert values[:, index].max() <= high, name


@given(streams(), streams(size=20))
@settings(max_examples=40, deadline=None)
def test_an_expired_profile_is_a_new_one(events: list[Event], later: list[Event]) -> None:
    """After expiry the profile is byte for byte that of a user never seen before."""
    start = max(e.time_ms for e in events) + 91 * DAY
    shift = start - min(e.time_ms for e in later)
    later = [
        replace(e, offset=10_000 + e.offset, tx_id=f"l{e.tx_id}", time_ms=e.time_ms + shift)
        for e in later
    ]
    aged, fresh = Kernel(), Kernel()
    aged.run(events)
    fresh.stream_time_ms = aged.stream_time_ms
    assert rows_of(fresh.run(later)) == rows_of(aged.run(later))
    for user in {event.user for event in later}:
        assert fresh.sealed(user) == aged.sealed(user)


def test_a_fenced_event_has_no_features() -> None:
    """A replayed row is all zeros: nothing of it may reach a model."""
    event = Event(5, "ann", "a", 1_000, 10.0)
    kernel = Kernel()
    kernel.run([event])
    block = kernel.run([event])
    assert [FENCED] == block.status.tolist()
    assert not block.values.any()
