"""The stored form of a profile: read back whole, or refused."""

import numpy as np
import pytest

from streamapp.features.profile import (
    PROFILE,
    PROFILE_BYTES,
    ProfileError,
    empty_profiles,
    moved,
    reset,
    seal,
    source_offset,
    unseal,
    unseal_all,
)
from tests.features.streams import Kernel
from tests.features.test_oracle import steady_stream


@pytest.fixture(scope="module")
def image() -> bytes:
    """The stored profile of a user with a history."""
    kernel = Kernel()
    kernel.run(steady_stream(7, 200))
    return kernel.sealed("ann")


def test_a_profile_is_read_back(image: bytes) -> None:
    """Sealing what was unsealed gives the same bytes."""
    record = np.frombuffer(unseal(image), dtype=PROFILE)[0]
    assert PROFILE_BYTES == len(image)
    assert image == seal(record)


def test_every_flipped_bit_is_found(image: bytes) -> None:
    """No damaged byte reaches the kernel, which trusts the ring's place and size blindly."""
    accepted = []
    for at in range(PROFILE_BYTES):
        damaged = bytearray(image)
        damaged[at] ^= 1 << at % 8
        try:
            unseal(bytes(damaged))
        except ProfileError:
            continue
        accepted.append(at)
    assert [] == accepted


@pytest.mark.parametrize("size", [0, 1, PROFILE_BYTES - 1, PROFILE_BYTES + 1])
def test_another_size_is_refused(image: bytes, size: int) -> None:
    """A profile cut off or with more behind it is not one."""
    with pytest.raises(ProfileError, match=f"profile of {size} bytes"):
        unseal((image + b"\0")[:size])


def test_another_layout_is_refused(image: bytes) -> None:
    """A profile of a layout to come is named as such, not called damaged."""
    record = np.frombuffer(image, dtype=PROFILE).copy()
    record["layout_version"] = 2
    with pytest.raises(ProfileError, match="profile layout 2; this build reads 1") as refused:
        unseal(seal(record[0]))
    assert refused.value.is_layout


@pytest.mark.parametrize("kind", ["flipped", "cut off", "of another layout"])
def test_one_that_is_refused_stands_out_of_many(image: bytes, kind: str) -> None:
    """Many are verified at once: those that are sound come back, one that is not is named."""
    record = np.frombuffer(image, dtype=PROFILE).copy()
    record["layout_version"] = 2
    bad = {
        "flipped": image[:-1] + bytes([image[-1] ^ 1]),
        "cut off": image[:-1],
        "of another layout": seal(record[0]),
    }[kind]
    assert 3 * image == unseal_all([image] * 3).tobytes()
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
