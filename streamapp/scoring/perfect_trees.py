"""Trees as flat arrays: perfect, of one height, nodes in breadth-first order.

Sketch: 100 trees of height 8 are 800 comparisons a row; a tree is 3.3 KB, so all of them stay in
the L2 cache and one tree with 64 rows in L1. With trees outermost inside a block of 64 rows, and
the rows of a block moving down level by level, the comparisons of different rows overlap: 0.6 µs
a row.

Leaves of the fitted trees that lie above the last level are continued downwards with thresholds
of +inf and equal leaves, so that every walk has the same length and no branch.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel

#: Rows that move down a tree together: 64 float32 rows of 40 features are 10 KB, a third of L1.
BLOCK_ROWS: Final = 64


def perfect_shape(leaves: NDArray[Any], height_max: int) -> tuple[int, int]:
    """Number of trees and of leaves in each. Raises ValueError where they are not perfect."""
    shape = leaves.shape
    is_matrix = len(shape) == 2 and shape[0] >= 1
    if not is_matrix or not 2 <= shape[1] <= 2**height_max or shape[1] & (shape[1] - 1):
        raise ValueError(f"leaves have shape {shape}: not perfect trees")
    return shape[0], shape[1]


def check_array(
    name: str, array: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    """Raise ValueError where a kernel would read past the array or misread it."""
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} is {array.dtype}{array.shape}, must be {np.dtype(dtype)}{shape} in C order"
        )


def check_rows(rows: NDArray[Any], dtype: type[np.generic], column_max: int) -> None:
    """Assert what a kernel can't check for itself: kind, order and width of its input."""
    assert rows.dtype == dtype, f"rows are {rows.dtype}, must be {np.dtype(dtype)}"
    assert rows.ndim == 2, "rows must be a matrix"
    assert rows.flags.c_contiguous, "rows must be in C order"
    assert rows.shape[1] > column_max, f"rows have {rows.shape[1]} columns, need {column_max + 1}"


@kernel
def add_leaves(
    features: NDArray[np.uint8],
    thresholds: NDArray[Any],
    leaves: NDArray[np.float64],
    rows: NDArray[Any],
    sums: NDArray[np.float64],
) -> None:
    """Add each row's leaves to sums in the order of the trees.

    Unsigned indices into one row of each array: signed ones may count from the end, and to see to
    that takes a third of the time.
    """
    trees, inner, width = features.shape[0], np.uint32(features.shape[1]), np.uint32(rows.shape[1])
    at = np.empty(BLOCK_ROWS, np.uint32)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS].ravel()
        count = len(block) // width
        for tree in range(trees):
            columns, limits, values = features[tree], thresholds[tree], leaves[tree]
            at[:count] = 0
            level_end = np.uint32(1)
            while level_end <= inner:
                for r in range(count):
                    node = at[r]
                    right = block[np.uint32(np.uint32(r) * width + columns[node])] > limits[node]
                    at[r] = np.uint32(2) * node + np.uint32(1) + np.uint32(right)
                level_end = np.uint32(2) * level_end
            for r in range(count):
                sums[start + r] += values[at[r] - inner]
