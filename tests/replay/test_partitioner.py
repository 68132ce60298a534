"""Keys go to the partitions that Java's producers and librdkafka's murmur2_random choose."""

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from streamapp.replay.partitioner import partition_of, partitions_of

#: Hashes that Apache Kafka's own UtilsTest holds murmur2 to.
KAFKA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed_hash"), KAFKA_VECTORS.items())
def test_known_vectors(key: bytes, signed_hash: int) -> None:
    """Apache Kafka's published vectors, sign bit cleared, land in the same partition."""
    partitions = 2**31 - 1
    assert (signed_hash & 0x7FFFFFFF) % partitions == partition_of(key, partitions)


@given(keys=st.lists(st.binary(max_size=150)), partitions=st.integers(1, 1000))
def test_equal_to_aiokafka(keys: list[bytes], partitions: int) -> None:
    """Any batch of keys, of any length, is spread as aiokafka's default partitioner spreads it."""
    expected = [(murmur2(key) & 0x7FFFFFFF) % partitions for key in keys]
    assert expected == partitions_of(keys, partitions).tolist()


def test_no_partition_is_an_error() -> None:
    """A topic without partitions has no place for a key."""
    with pytest.raises(ValueError, match="at least 1 partition"):
        partition_of(b"u", 0)
