"""The one way loops are compiled here, so that all of them keep the same promises.

`fastmath` stays off: reordered sums would make a score depend on the batch it came in. `nogil`
lets partitions score side by side; `cache` spares a started worker the compiler.

Numba tells a cached loop's age by its own file alone. A loop that calls one of another file would
go on with that one's old code after an upgrade, so the cache has a directory for each state of the
sources.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
from numba.core import cgutils, types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

_cgutils: Final[Any] = cgutils
_config: Final[Any] = numba.config  # its settings are attributes made at import
_PACKAGE: Final = Path(__file__).parents[1]
_WITH_LOOPS: Final = ("features", "scoring")


def _cache_directory() -> str:
    """Below NUMBA_CACHE_DIR, else beside the package, else in the user's own cache."""
    digest = hashlib.sha256()
    for folder in _WITH_LOOPS:
        for source in sorted((_PACKAGE / folder).glob("*.py")):
            digest.update(source.read_bytes())
    beside = _PACKAGE / "__pycache__"
    own = beside if os.access(_PACKAGE, os.W_OK) else Path.home() / ".cache" / "streamapp"
    return str(Path(_config.CACHE_DIR or own) / f"loops-{digest.hexdigest()[:16]}")


_config.CACHE_DIR = _cache_directory()


def kernel(function: Function) -> Function:
    """Compile a loop over rows; each row's result is the same bits in a batch of any size."""
    compiled = numba.njit(cache=True, fastmath=False, nogil=True, error_model="numpy")(function)
    return cast(Function, compiled)


def _copy_bytes(_context: Any, source: Any, start: Any, count: Any, out: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, start, count, out, at = arguments
        kinds = signature.args
        first = context.make_array(kinds[0])(context, builder, source).data
        place = builder.gep(context.make_array(kinds[3])(context, builder, out).data, [at])
        _cgutils.raw_memcpy(builder, place, builder.gep(first, [start]), count, 1)
        return context.get_dummy_value()

    return types.void(source, start, count, out, at), generate


def _copy_block(_context: Any, source: Any, start: Any, out: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, start, out, at = arguments
        kinds = signature.args
        first = context.make_array(kinds[0])(context, builder, source).data
        place = builder.gep(context.make_array(kinds[2])(context, builder, out).data, [at])
        count = context.get_constant(types.intp, BLOCK_BYTES)
        _cgutils.raw_memcpy(builder, place, builder.gep(first, [start]), count, 1)
        return context.get_dummy_value()

    return types.void(source, start, out, at), generate


#: copy_bytes(source, start, count, out, at), for use in kernels: `out[at : at + count]` becomes
#: `source[start : start + count]`. Bounds are the caller's. It is the machine's own copy: a loop
#: can't know that the arrays don't overlap and goes byte by byte, ten times slower.
copy_bytes: Final[Any] = intrinsic(_copy_bytes)

#: Bytes that `copy_block` copies, in two instructions.
BLOCK_BYTES: Final = 32

#: copy_block(source, start, out, at), for use in kernels: as `copy_bytes`, always BLOCK_BYTES.
copy_block: Final[Any] = intrinsic(_copy_block)
