"""XXH3 in 64 bits of short byte strings, for use in kernels: what `xxhash` computes, held to it by
tests. Algorithm: xxHash, doc/xxhash_spec.md, "XXH3 Algorithm Description", seed 0.
"""

from typing import Any, Final

import numpy as np

from streamapp.features.compiled import kernel

#: Longer strings are hashed otherwise, and not here.
HASHED_BYTES_MAX: Final = 128

_SECRET: Final = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
        "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    ),
    np.uint8,
)
_PRIME_1: Final = np.uint64(0x9E3779B185EBCA87)
_PRIME_2: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_3: Final = np.uint64(0x165667B19E3779F9)
_AVALANCHE: Final = np.uint64(0x165667919E3779F9)
_RRMXMX: Final = np.uint64(0x9FB21C651E98DF25)
_LOW: Final = np.uint64(0xFFFFFFFF)
_8, _16, _24, _28, _29, _32, _33, _35, _37, _40 = np.array(
    [8, 16, 24, 28, 29, 32, 33, 35, 37, 40], np.uint64
)
_15, _48, _49, _56 = np.array([15, 48, 49, 56], np.uint64)


@kernel
def hashed(data: Any, at: int, size: int) -> Any:
    """The hash (uint64) of `data[at : at + size]`, 1 to HASHED_BYTES_MAX bytes."""
    if size <= 3:
        return _hashed_3(data, at, size)
    if size <= 8:
        return _hashed_8(data, at, size)
    if size <= 16:
        return _hashed_16(data, at, size)
    return _hashed_128(data, at, size)


@kernel
def _hashed_3(data: Any, at: int, size: int) -> Any:
    first, middle = np.uint64(data[at]), np.uint64(data[at + (size >> 1)])
    combined = first << _16 | middle << _24 | np.uint64(data[at + size - 1])
    combined |= np.uint64(size) << _8
    left = combined ^ _read_32(_SECRET, 0) ^ _read_32(_SECRET, 4)
    left ^= left >> _33
    left *= _PRIME_2
    left ^= left >> _29
    left *= _PRIME_3
    return left ^ left >> _32


@kernel
def _hashed_8(data: Any, at: int, size: int) -> Any:
    both = _read_32(data, at + size - 4) + (_read_32(data, at) << _32)
    left = both ^ _read_64(_SECRET, 8) ^ _read_64(_SECRET, 16)
    left ^= (left << _49 | left >> _15) ^ (left << _24 | left >> _40)
    left *= _RRMXMX
    left ^= (left >> _35) + np.uint64(size)
    left *= _RRMXMX
    return left ^ left >> _28


@kernel
def _hashed_16(data: Any, at: int, size: int) -> Any:
    low = _read_64(data, at) ^ _read_64(_SECRET, 24) ^ _read_64(_SECRET, 32)
    high = _read_64(data, at + size - 8) ^ _read_64(_SECRET, 40) ^ _read_64(_SECRET, 48)
    return _settled(np.uint64(size) + _swapped(low) + high + _folded(low, high))


@kernel
def _hashed_128(data: Any, at: int, size: int) -> Any:
    """Pairs of 16 bytes from both ends, inwards."""
    total, end = np.uint64(size) * _PRIME_1, at + size
    for pair in range((size - 1) // 32 + 1):
        total += _mixed(data, at + 16 * pair, 32 * pair)
        total += _mixed(data, end - 16 - 16 * pair, 32 * pair + 16)
    return _settled(total)


@kernel
def _mixed(data: Any, at: int, secret: int) -> Any:
    low = _read_64(data, at) ^ _read_64(_SECRET, secret)
    return _folded(low, _read_64(data, at + 8) ^ _read_64(_SECRET, secret + 8))


@kernel
def _settled(left: Any) -> Any:
    left ^= left >> _37
    left *= _AVALANCHE
    return left ^ left >> _32


@kernel
def _folded(one: Any, other: Any) -> Any:
    """Both halves of the product of 128 bits, one over the other."""
    low = (one & _LOW) * (other & _LOW)
    across = (one >> _32) * (other & _LOW) + (low >> _32)
    middle = (one & _LOW) * (other >> _32) + (across & _LOW)
    high = (one >> _32) * (other >> _32) + (across >> _32) + (middle >> _32)
    return high ^ (middle << _32 | low & _LOW)


@kernel
def _swapped(value: Any) -> Any:
    """Its bytes in the opposite order."""
    swapped = np.uint64(0)
    for _ in range(8):
        swapped = swapped << _8 | value & np.uint64(255)
        value >>= _8
    return swapped


@kernel
def _read_64(data: Any, at: int) -> Any:
    return _read_32(data, at) | _read_32(data, at + 4) << _32


@kernel
def _read_32(data: Any, at: int) -> Any:
    low = np.uint64(data[at]) | np.uint64(data[at + 1]) << _8
    return low | np.uint64(data[at + 2]) << _16 | np.uint64(data[at + 3]) << _24
