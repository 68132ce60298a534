"""The compiled checksum is zlib's: stored profiles hold it."""

import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamapp.features.checksum import checksums


@given(sizes=st.lists(st.integers(1, 20), max_size=5), data=st.data())
def test_every_row_has_its_checksum(sizes: list[int], data: st.DataObject) -> None:
    """Of all its bytes but the four that hold it, one row's whatever the others are."""
    images = [data.draw(st.binary(min_size=8 * size, max_size=8 * size)) for size in sizes]
    expected = [zlib.crc32(image[:4] + image[8:]) for image in images]
    words, ends = np.frombuffer(b"".join(images), np.uint64), np.cumsum(sizes, dtype=np.int64)
    assert expected == checksums(words, ends - np.array(sizes, np.int64), ends).tolist()
