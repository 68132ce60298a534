"""The store: a write is all there or not at all, and is there after a reopening."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamapp.engine.store import (
    PARTITION_STATE_KEY,
    DamagedStoreError,
    Origin,
    StateStore,
    StoreBusyError,
    user_key,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    """An empty store."""
    store = StateStore(tmp_path / "state" / "p00000")
    yield store
    store.close()


def test_a_new_store_is_empty(store: StateStore) -> None:
    """Nothing in it, and no changelog record applied."""
    assert -1 == store.changelog_offset
    assert [] == list(store.items())
    assert store.get(b"u1") is None


def test_a_write_moves_values_and_position_together(store: StateStore) -> None:
    """Values by key, in the order asked for; None where there is none."""
    store.write([(b"u1", b"one"), (b"u2", b"two")], 41)
    assert 41 == store.changelog_offset
    assert [b"two", None, b"one"] == store.get_many([b"u2", b"u3", b"u1"])
    assert b"one" == store.get(b"u1")


def test_none_deletes(store: StateStore) -> None:
    """A tombstone removes the key, also one that is not there; the position moves."""
    store.write([(b"u1", b"one"), (b"u2", b"two")], 1)
    store.write([(b"u1", None), (b"u9", None)], 3)
    assert ([None, b"two"], 3) == (store.get_many([b"u1", b"u2"]), store.changelog_offset)


def test_the_last_value_of_a_key_wins(store: StateStore) -> None:
    """Also inside one write, as changelog records of one user follow each other."""
    store.write([(b"u1", b"old"), (b"u1", None), (b"u1", b"new")], 2)
    assert b"new" == store.get(b"u1")


def test_a_failed_write_leaves_nothing(store: StateStore) -> None:
    """Neither the items before the failure nor the position."""
    store.write([(b"u1", b"one")], 1)

    def items() -> Iterator[tuple[bytes, bytes | None]]:
        yield b"u1", b"changed"
        yield b"u2", b"added"
        raise RuntimeError("while the items were read")

    with pytest.raises(RuntimeError):
        store.write(items(), 9)
    assert (1, [b"one", None]) == (store.changelog_offset, store.get_many([b"u1", b"u2"]))


def test_reopened_it_is_as_it_was(tmp_path: Path) -> None:
    """Values, deletions and position."""
    first = StateStore(tmp_path / "p")
    first.write([(b"u1", b"one"), (b"u2", b"two"), (PARTITION_STATE_KEY, b"state")], 7)
    first.write([(b"u2", None)], 8)
    first.close()
    again = StateStore(tmp_path / "p")
    assert [(PARTITION_STATE_KEY, b"state"), (b"u1", b"one")] == list(again.items())
    assert 8 == again.changelog_offset
    again.close()


def test_items_are_in_the_order_of_keys_without_the_position(store: StateStore) -> None:
    """What is compared after crashes is state, in one order."""
    store.write([(b"u2", b"b"), (b"u10", b"a"), (PARTITION_STATE_KEY, b"s"), (b"u1", b"c")], 5)
    expected = [(PARTITION_STATE_KEY, b"s"), (b"u1", b"c"), (b"u10", b"a"), (b"u2", b"b")]
    assert expected == list(store.items())


def test_it_knows_whose_copy_it_is(tmp_path: Path) -> None:
    """The changelog's name and the ids are kept, and are no state."""
    store = StateStore(tmp_path / "p")
    origin = Origin("eu.streamapp.state", "id-1", "id-2")
    assert store.origin is None
    store.follow(origin)
    store.close()
    again = StateStore(tmp_path / "p")
    assert (origin, []) == (again.origin, list(again.items()))
    again.close()


@pytest.mark.parametrize("user", ["", "p", "m:changelog_offset", "u", "grüße", "\0"])
def test_no_user_can_take_a_key_of_the_store_itself(store: StateStore, user: str) -> None:
    """Whatever a user is called, state and position stay apart from it."""
    store.write([(PARTITION_STATE_KEY, b"state"), (user_key(user), b"profile")], 3)
    assert b"state" == store.get(PARTITION_STATE_KEY)
    assert b"profile" == store.get(user_key(user))
    assert 3 == store.changelog_offset


def test_a_damaged_directory_is_named_with_its_mend(tmp_path: Path) -> None:
    """The error says which directory, and that it will be built again from the changelog."""
    StateStore(tmp_path / "p").close()
    (tmp_path / "p" / "CURRENT").write_bytes(b"no manifest\n")
    with pytest.raises(DamagedStoreError, match=r"local state .*/p is damaged: .* built again"):
        StateStore(tmp_path / "p")


def test_a_directory_in_use_is_not_to_be_removed(tmp_path: Path) -> None:
    """A second process on the same directory is told so, and not to delete what the first uses."""
    first = StateStore(tmp_path / "p")
    with pytest.raises(StoreBusyError, match=r"is in use by another worker: give each its own"):
        StateStore(tmp_path / "p")
    first.close()
