"""The compiled hash is xxhash's, at every length: stored profiles hold it."""

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from streamapp.features.name_hash import HASHED_BYTES_MAX, hashed


@pytest.mark.parametrize("size", range(1, HASHED_BYTES_MAX + 1))
def test_every_length_has_its_hash(size: int) -> None:
    """Each range of lengths goes its own way, and reads no byte beyond."""
    text = bytes((37 * at + size) % 256 for at in range(size))
    around = np.frombuffer(b"before" + text + b"behind", np.uint8)
    assert xxhash.xxh3_64_intdigest(text) == int(hashed(around, 6, size))


@given(st.binary(min_size=1, max_size=HASHED_BYTES_MAX))
def test_every_text_has_its_hash(text: bytes) -> None:
    """Whatever its bytes."""
    assert xxhash.xxh3_64_intdigest(text) == int(
        hashed(np.frombuffer(text, np.uint8), 0, len(text))
    )
