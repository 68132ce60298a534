"""The one way loops are compiled here, so that all of them keep the same promises.

`fastmath` stays off: reordered sums would make a score depend on the batch it came in. `nogil`
lets partitions score side by side; `cache` spares a started worker the compiler.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a loop over rows; each row's result is the same bits in a batch of any size."""
    compiled = numba.njit(cache=True, fastmath=False, nogil=True, error_model="numpy")(function)
    return cast(Function, compiled)
