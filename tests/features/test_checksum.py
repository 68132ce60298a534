"""The compiled checksum is zlib's: stored profiles hold it."""

import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamapp.features.checksum import checksums


@given(rows=st.integers(0, 5), words=st.integers(1, 20), data=st.data())
def test_every_row_has_its_checksum(rows: int, words: int, data: st.DataObject) -> None:
    """Of all its bytes but the four that hold it, one row's whatever the others are."""
    size = 8 * words
    drawn = data.draw(st.binary(min_size=rows * size, max_size=rows * size))
    images = [drawn[at : at + size] for at in range(0, len(drawn), size)]
    expected = [zlib.crc32(image[:4] + image[8:]) for image in images]
    assert expected == checksums(np.frombuffer(drawn, np.uint64).reshape(rows, words)).tolist()
