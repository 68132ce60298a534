"""Random streams that are hard on windows, and the kernel's run over a stream of events."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamapp.domain.transaction import Transaction
from streamapp.features.columns import columns_of
from streamapp.features.contract import FEATURE_NAMES, TYPICAL_NAMES, FeatureParameters
from streamapp.features.kernel import FeatureBlock, compute
from streamapp.features.profile import ProfileBlock, empty_profiles, seal
from tests.features.oracle import DAY, HOUR, MINUTE, WINDOWS, Event

STATUSES = ("applied", "fenced", "duplicate")
LENGTHS = [length for length, _, _ in WINDOWS.values()]
USERS = ("ann", "bob", "cem")

#: Steps from one event to the next: simultaneous, bursts, sessions, silences, expiry.
STEPS = st.one_of(
    st.sampled_from([0, 0, 1, 1000, 20_000, 20_000, MINUTE, 10 * MINUTE]),
    st.sampled_from([30 * MINUTE - 1, 30 * MINUTE, 2 * HOUR, DAY, 31 * DAY, 90 * DAY, 95 * DAY]),
    st.integers(0, 5 * MINUTE),
    st.integers(0, 2 * DAY),
)
AMOUNTS = st.one_of(
    st.sampled_from([0.0, -0.0, 0.01, 10.0, 10.0, 10.0, 1e12]),
    st.floats(0, 500).map(lambda amount: round(amount, 2)),
    st.floats(0, 1e12),
)
PLACES = st.one_of(
    st.none(), st.just((50.85, 4.35)), st.tuples(st.floats(-90, 90), st.floats(-180, 180))
)


def _names(kind: str, count: int) -> st.SearchStrategy[str | None]:
    return st.one_of(st.none(), st.just(""), st.integers(0, count).map(lambda i: f"{kind}{i}"))


@dataclass(frozen=True, slots=True)
class _Draft:
    """One event of a stream to be, told relative to what came before."""

    user: int
    step: int
    anchor: tuple[int, int, int] | None
    repeats: int
    amount: float
    place: tuple[float, float] | None
    one_coordinate: bool
    merchant: str | None
    category: str | None
    country: str | None
    device: str | None


def _drafts(users: int, merchants: int) -> st.SearchStrategy[_Draft]:
    anchors = st.tuples(st.integers(0, 30), st.sampled_from(LENGTHS), st.sampled_from([-1, 0, 1]))
    late = st.tuples(
        st.integers(0, 5), st.sampled_from([-1, -30_000, -HOUR, -3 * DAY, -40 * DAY]), st.just(0)
    )
    return st.builds(
        _Draft,
        user=st.integers(0, users - 1),
        step=STEPS,
        anchor=st.one_of(st.none(), st.none(), anchors, late),
        repeats=st.one_of(st.just(0), st.just(0), st.just(0), st.integers(1, 30)),
        amount=AMOUNTS,
        place=PLACES,
        one_coordinate=st.booleans(),
        merchant=_names("m", merchants),
        category=_names("c", 2),
        country=st.sampled_from([None, "BE", "FR"]),
        device=_names("d", 2),
    )


@st.composite
def streams(draw: st.DrawFn, size: int = 60) -> list[Event]:
    """A stream of up to `size` events of one to three users."""
    users = draw(st.integers(1, len(USERS)))
    merchants = draw(st.sampled_from([2, 25]))
    start = draw(st.sampled_from([0, 20 * DAY, 1_770_000_000_000, 1_770_000_000_123]))
    drafts = draw(st.lists(_drafts(users, merchants), min_size=1, max_size=size))
    events: list[Event] = []
    clock = start
    for draft in drafts:
        clock += draft.step
        events.append(_event(draft, events, clock))
    return events


def _event(draft: _Draft, before: Sequence[Event], clock: int) -> Event:
    """Anchored events stand exactly a window (or a lateness) from an earlier event."""
    time_ms, tx_id = clock, f"t{len(before)}"
    if draft.anchor and before:
        back, length, nudge = draft.anchor
        time_ms = max(before[-1 - back % len(before)].time_ms + length + nudge, 0)
    if 0 < draft.repeats <= len(before):
        tx_id = before[-draft.repeats].tx_id
    latitude, longitude = draft.place or (None, None)
    return Event(
        offset=3 * len(before),
        user=USERS[draft.user],
        tx_id=tx_id,
        time_ms=time_ms,
        amount=draft.amount,
        merchant=draft.merchant,
        category=draft.category,
        country=draft.country,
        device=draft.device,
        latitude=None if draft.one_coordinate and draft.place is None else latitude,
        longitude=draft.amount % 180 if draft.one_coordinate and draft.place is None else longitude,
    )


@dataclass(slots=True)
class Kernel:
    """The kernel over one partition: profiles by user, stream time kept from call to call."""

    parameters: FeatureParameters = field(default_factory=FeatureParameters)
    profiles: ProfileBlock = field(default_factory=lambda: empty_profiles(len(USERS)))
    stream_time_ms: int = -1

    def run(self, events: Sequence[Event]) -> FeatureBlock:
        """Features of the next events of the partition."""
        columns = columns_of(
            [transaction_of(event) for event in events],
            [event.offset for event in events],
            self.parameters.time_zone,
        )
        slots = np.array([USERS.index(event.user) for event in events], dtype=np.int64)
        block, self.stream_time_ms = compute(
            columns, slots, self.profiles, self.stream_time_ms, self.parameters
        )
        return block

    def sealed(self, user: str) -> bytes:
        """The user's profile as it is stored."""
        return seal(self.profiles[USERS.index(user)])

    def all_sealed(self) -> list[bytes]:
        """Every profile as it is stored."""
        return [self.sealed(user) for user in USERS]


def transaction_of(event: Event) -> Transaction:
    """The event as a transaction."""
    return Transaction(
        tx_id=event.tx_id,
        user_id=event.user,
        amount=event.amount,
        timestamp=event.time_ms,
        merchant_id=event.merchant,
        merchant_category=event.category,
        country=event.country,
        device_id=event.device,
        latitude=event.latitude,
        longitude=event.longitude,
    )


def named(values: NDArray[np.float64]) -> dict[str, float]:
    """A row of features, or of typical values, by name."""
    names = FEATURE_NAMES if len(values) == len(FEATURE_NAMES) else TYPICAL_NAMES
    return dict(zip(names, values.tolist(), strict=True))
