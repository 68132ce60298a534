"""Which partition a key belongs to, as Java's producers and librdkafka's `murmur2_random` say.

Murmur2 by Austin Appleby (public domain), in the variant of Apache Kafka
(org.apache.kafka.common.utils.Utils.murmur2): 32 bits, seed 0x9747b28c, the result's sign bit
cleared before the remainder. Keys that are null go anywhere in Kafka and are not covered here.

Sketch: millions of keys for the brokerless run, so one compiled loop over the joined bytes.
"""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

_SEED = np.uint32(0x9747B28C)
_M = np.uint32(0x5BD1E995)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of one key among `partitions`."""
    return int(partitions_of([key], partitions)[0])


def partitions_of(keys: Sequence[bytes], partitions: int) -> NDArray[np.int32]:
    """The partition of each key among `partitions`, in the order of the keys."""
    if partitions < 1:
        raise ValueError(f"a topic has at least 1 partition, not {partitions}")
    ends = np.cumsum(np.fromiter(map(len, keys), dtype=np.int64, count=len(keys)))
    hashes = _murmur2(np.frombuffer(b"".join(keys), dtype=np.uint8), ends)
    return ((hashes & np.uint32(0x7FFFFFFF)) % np.uint32(partitions)).astype(np.int32)


@numba.njit(cache=True)
def _murmur2(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Hash each slice of `data`; slice i ends before `ends[i]` and starts where i - 1 ended."""
    hashes = np.empty(len(ends), dtype=np.uint32)
    start = 0
    for row in range(len(ends)):
        end = ends[row]
        state = _SEED ^ np.uint32(end - start)
        while end - start >= 4:
            word = np.uint32(data[start]) | np.uint32(data[start + 1]) << np.uint32(8)
            word |= np.uint32(data[start + 2]) << np.uint32(16)
            word |= np.uint32(data[start + 3]) << np.uint32(24)
            word = np.uint32(word * _M)
            word ^= word >> np.uint32(24)
            state = np.uint32(state * _M) ^ np.uint32(word * _M)
            start += 4
        if start < end:
            for place in range(end - start):
                state ^= np.uint32(data[start + place]) << np.uint32(8 * place)
            state = np.uint32(state * _M)
        state ^= state >> np.uint32(13)
        state = np.uint32(state * _M)
        hashes[row] = state ^ (state >> np.uint32(15))
        start = end
    return hashes
