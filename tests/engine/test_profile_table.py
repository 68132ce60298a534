"""The profile table against a plain dict: whatever is evicted and loaded, nobody's profile ages."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamapp.engine.profile_table import ProfileTable, Snapshot
from streamapp.engine.store import user_key
from streamapp.features.profile import PROFILE, empty_profiles, seal, unseal

PROFILES_MAX = 4
USERS = tuple("abcdefghij")


class MemoryStore:
    """Stored profiles in a dict; counts what is read."""

    def __init__(self) -> None:
        self.images: dict[bytes, bytes] = {}
        self.reads = 0

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of the keys."""
        self.reads += len(keys)
        return [self.images.get(key) for key in keys]


def table_over(store: MemoryStore, profiles_max: int = PROFILES_MAX) -> ProfileTable:
    """A table of a few profiles."""
    return ProfileTable(store, profiles_max)  # type: ignore[arg-type]


def image(count: int) -> bytes:
    """The stored form of a profile with this many events."""
    profile = empty_profiles(1)
    profile["event_count"] = count
    return seal(profile[0])


def change(table: ProfileTable, users: Sequence[str]) -> None:
    """Count one event for each user given, as the kernel would."""
    slots = table.slots([user.encode() for user in users])
    np.add.at(table.block["event_count"], slots, 1)
    table.mark(np.unique(slots))


def save(table: ProfileTable, store: MemoryStore) -> Snapshot:
    """A whole checkpoint."""
    snapshot = table.snapshot()
    store.images |= dict(snapshot.items)
    table.release(snapshot)
    return snapshot


class TableMachine(RuleBasedStateMachine):
    """Batches, snapshots and late store writes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.table = table_over(self.store)
        self.counts: dict[str, int] = {}
        self.dirty: set[str] = set()
        self.waiting: list[tuple[set[str], Snapshot]] = []
        self.needed = PROFILES_MAX

    @rule(users=st.lists(st.sampled_from(USERS), max_size=7), changed=st.sets(st.integers(0, 6)))
    def batch(self, users: list[str], changed: set[int]) -> None:
        """A batch reads its users' profiles and changes some of them."""
        pinned = set().union(*(names for names, _ in self.waiting))
        self.needed = max(self.needed, len(self.dirty | pinned | set(users)))
        slots = self.table.slots([user.encode() for user in users])
        slot_of = dict(zip(users, slots.tolist(), strict=True))
        assert [slot_of[user] for user in users] == slots.tolist()
        assert len(slot_of) == len(set(slot_of.values()))
        for user, slot in slot_of.items():
            assert self.counts.get(user, 0) == self.table.block[slot]["event_count"]
        for user in {users[row] for row in changed if row < len(users)}:
            self.counts[user] = self.counts.get(user, 0) + 1
            self.table.block["event_count"][slot_of[user]] += 1
            self.table.mark(np.array([slot_of[user]]))
            self.dirty.add(user)

    @rule()
    def snapshot(self) -> None:
        """A checkpoint takes what changed since the last one: the bytes as they are now."""
        snapshot = self.table.snapshot()
        expected = {user_key(user): image(self.counts[user]) for user in self.dirty}
        assert expected == dict(snapshot.items)
        assert len(expected) == len(snapshot.items)
        self.waiting.append((self.dirty, snapshot))
        self.dirty = set()

    @precondition(lambda self: self.waiting)
    @rule()
    def stored(self) -> None:
        """The oldest checkpoint reaches the store."""
        _, snapshot = self.waiting.pop(0)
        self.store.images |= dict(snapshot.items)
        self.table.release(snapshot)

    @invariant()
    def changes_are_counted(self) -> None:
        """`changed` is what the next snapshot will hold."""
        assert len(self.dirty) == self.table.changed

    @invariant()
    def memory_is_bounded(self) -> None:
        """More than `profiles_max` only where that many were changed, pinned or wanted at once."""
        assert len(self.table) <= len(self.table.block) <= self.needed


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@pytest.fixture
def store() -> MemoryStore:
    """A store with nothing in it."""
    return MemoryStore()


def test_memory_stays_bounded_while_users_come_and_go(store: MemoryStore) -> None:
    """A table that has seen a thousand users, all stored, still holds `profiles_max`."""
    table = table_over(store, 16)
    for user in range(1_000):
        change(table, [str(user)])
        save(table, store)
    assert 16 == len(table.block)
    assert 1_000 == len(store.images)


def test_a_user_who_comes_again_stays(store: MemoryStore) -> None:
    """Second chance: room is made at the cost of those who came once."""
    table = table_over(store, 4)
    table.slots([b"a", b"b", b"c", b"d"])
    table.slots([b"a"])
    for user in (b"e", b"f", b"g", b"h"):
        table.slots([user])
    before = store.reads
    table.slots([b"a"])
    assert before == store.reads


def test_the_same_user_twice_in_a_batch_is_one_profile(store: MemoryStore) -> None:
    """Loaded once, changed twice, written once."""
    table = table_over(store)
    change(table, ["a", "b", "a"])
    assert 2 == store.reads
    assert [(user_key("a"), image(2)), (user_key("b"), image(1))] == table.snapshot().items


def test_a_stored_profile_comes_back_as_it_was(store: MemoryStore) -> None:
    """All its bytes, not only those a test looks at."""
    noise = np.random.default_rng(1).integers(0, 256, 1024, dtype=np.uint8).tobytes()
    profile = np.frombuffer(noise, dtype=PROFILE).copy()
    profile["layout_version"] = 1
    store.images[user_key("a")] = stored = seal(profile[0])
    table = table_over(store)
    table.mark(table.slots([b"a"]))
    assert [(user_key("a"), stored)] == table.snapshot().items
    profile["checksum"] = 0
    assert profile.tobytes() == unseal(stored)


def test_a_slot_given_to_a_new_user_is_wiped(store: MemoryStore) -> None:
    """Nothing of the one before is left in it."""
    table = table_over(store, 2)
    change(table, ["a", "b"])
    save(table, store)
    change(table, ["c"])
    change(table, ["d"])
    assert {user_key(user): image(1) for user in "cd"} == dict(table.snapshot().items)


def test_pinned_profiles_make_the_table_grow(store: MemoryStore) -> None:
    """While a checkpoint is under way its profiles keep their slots, and new users get new ones."""
    table = table_over(store, 2)
    change(table, ["a", "b"])
    under_way = table.snapshot()
    change(table, ["c", "d"])
    assert 4 == len(table.block)
    change(table, ["a"])  # again, while its older form is on its way to the store
    store.images |= dict(under_way.items)
    table.release(under_way)
    change(table, ["e", "f"])
    expected = {"a": 2, "c": 1, "d": 1, "e": 1, "f": 1}
    assert {user_key(u): image(n) for u, n in expected.items()} == dict(table.snapshot().items)
    assert {user_key("a"): image(1), user_key("b"): image(1)} == store.images


def test_a_batch_larger_than_the_table_is_taken(store: MemoryStore) -> None:
    """All its users are in memory at once: the kernel runs over one array."""
    table = table_over(store, 2)
    change(table, list(USERS))
    assert len(USERS) == table.changed == len(table.block)
