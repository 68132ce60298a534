"""The stored form of a profile: read back whole, or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamapp.features.profile import (
    PROFILE,
    PROFILE_BYTES,
    ProfileBlock,
    ProfileError,
    empty_profiles,
    moved,
    reset,
    seal,
    seal_all,
    source_offset,
    unseal,
    unseal_all,
    unset_profiles,
    verify,
)
from tests.features.streams import Kernel
from tests.features.test_oracle import steady_stream


@pytest.fixture(scope="module")
def image() -> bytes:
    """The stored profile of a user with a history."""
    kernel = Kernel()
    kernel.run(steady_stream(7, 200))
    return kernel.sealed("ann")


def whole(block: ProfileBlock) -> bytes:
    """The stored form that earlier builds wrote: the record itself, with its checksum."""
    return moved(block.tobytes(), int(block["source_offset"][0]))


def of_another_layout(image: bytes) -> bytes:
    """A sound profile of a layout to come."""
    return moved(b"\3" + image[1:], source_offset(image))


def test_a_profile_is_read_back(image: bytes) -> None:
    """Sealing what was unsealed gives the same bytes, fewer than the record has."""
    record = np.frombuffer(unseal(image), dtype=PROFILE)[0]
    assert PROFILE_BYTES == len(unseal(image))
    assert PROFILE_BYTES > len(image)
    assert image == seal(record)


def test_what_earlier_builds_wrote_is_read(image: bytes) -> None:
    """Among packed ones, too; sealed again it is packed."""
    block = np.frombuffer(unseal(image), PROFILE)
    old = whole(block)
    verify(old)
    assert PROFILE_BYTES == len(old)
    assert unseal(image) == unseal(old)
    assert 3 * unseal(image) == unseal_all([image, old, image]).tobytes()
    assert [image] == seal_all(unseal_all([old]), np.zeros(1, np.int64))


@given(rows=st.lists(st.lists(st.integers(0, 255), max_size=256), max_size=4), full=st.booleans())
def test_any_words_come_back(rows: list[list[int]], full: bool) -> None:
    """Whatever of a record's words are zero: none, few, all; packed, or whole where that is less.

    rows: places of words that are not zero, or with `full` of those that are.
    """
    block = unset_profiles(len(rows))
    words = block.view(np.uint32).reshape(len(rows), PROFILE_BYTES // 4)
    words[:] = 0xFFFFFFFF if full else 0
    for row, places in zip(words, rows, strict=True):
        row[places] = 0 if full else np.arange(1, 1 + len(places), dtype=np.uint32)
    block["layout_version"], block["checksum"] = 1, 0
    images = seal_all(block, np.arange(len(block)))
    for image in images:
        verify(image)
    assert block.tobytes() == unseal_all(images).tobytes()
    assert PROFILE_BYTES >= max(map(len, images), default=0)


def test_every_flipped_bit_is_found(image: bytes) -> None:
    """No damaged byte reaches the kernel, which trusts the ring's place and size blindly."""
    accepted = []
    for at in range(len(image)):
        damaged = bytearray(image)
        damaged[at] ^= 1 << at % 8
        for read in (unseal, verify):
            try:
                read(bytes(damaged))
            except ProfileError:
                continue
            accepted.append(at)
    assert [] == accepted


@pytest.mark.parametrize("more", [-10_000, -1, -8, 1, 8])
def test_another_size_is_refused(image: bytes, more: int) -> None:
    """A profile cut off or with more behind it is not one, be its checksum right."""
    cut = (image + bytes(8))[: max(0, len(image) + more)]
    if len(cut) >= 16:
        cut = moved(cut, source_offset(cut))
    for read in (unseal, verify):
        with pytest.raises(ProfileError, match=f"profile of {len(cut)} bytes"):
            read(cut)


def test_another_layout_is_refused(image: bytes) -> None:
    """A profile of a layout to come is named as such, not called damaged."""
    with pytest.raises(ProfileError, match="profile layout 3; this build reads 2") as refused:
        unseal(of_another_layout(image))
    assert refused.value.is_layout


@pytest.mark.parametrize("kind", ["flipped", "cut off", "of another layout"])
def test_one_that_is_refused_stands_out_of_many(image: bytes, kind: str) -> None:
    """Many are verified at once: those that are sound come back, one that is not is named."""
    bad = {
        "flipped": image[:-1] + bytes([image[-1] ^ 1]),
        "cut off": image[:-1],
        "of another layout": of_another_layout(image),
    }[kind]
    assert 3 * unseal(image) == unseal_all([image] * 3).tobytes()
    with pytest.raises(ProfileError) as alone:
        unseal(bad)
    with pytest.raises(ProfileError, match=str(alone.value)):
        unseal_all([image, bad, image])


def test_a_profile_is_moved_whole(image: bytes) -> None:
    """Only its source offset differs, and it is sound."""
    there = moved(image, 77)
    assert 77 == source_offset(unseal(there))
    assert image == moved(there, source_offset(image))


def test_reset_leaves_others_alone() -> None:
    """Only the slots named become those of users never seen."""
    kernel = Kernel()
    kernel.run(steady_stream(7, 100))
    bob = kernel.sealed("bob")
    reset(kernel.profiles, np.array([0, 2]))
    assert seal(empty_profiles(1)[0]) == kernel.sealed("ann") == kernel.sealed("cem")
    assert bob == kernel.sealed("bob")
