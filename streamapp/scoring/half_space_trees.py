"""Half-space trees (Tan, Ting, Liu, IJCAI 2011) as arrays; River 0.26 defines every bit.

Sketch: which leaf a row falls into depends on the trees alone, and inside a window so does a
leaf's score, because the reference masses stand still. So one walk of 8 comparisons serves both
scoring and learning, a leaf's sum over its path is a table made once a window, and the masses of
inner nodes need not be kept: they are sums of their leaves. The sums are integers, exact in any
order. 25 trees of height 8: 200 comparisons a row; a state of 25 KB; a window turn of some 20 µs.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel
from streamapp.scoring.forest import BLOCK_ROWS, check_rows

#: Masses are 16-bit counts of one window.
WINDOW_MAX: Final = 65_535

#: 2**12 leaves a tree; a state grows by 4 bytes a leaf.
HEIGHT_MAX: Final = 12

_LAYOUT_VERSION: Final = 1

#: Layout version, warm, fingerprint of the trees, position in the window, events learned.
_HEADER: Final = struct.Struct("<HH8sIQ")


@dataclass(frozen=True)
class HalfSpaceTreesArrays:
    """T perfect trees of height h over k scaled inputs; nodes in breadth-first order.

    features (T, 2**h - 1) uint8: the input each node looks at; goes left where x < threshold.
    thresholds (T, 2**h - 1) float64: in scaled units, 0 to 1.
    columns (k) int64: where each input stands in the feature matrix.
    lower, upper (k) float64: the limits, fixed at training, that scaling maps to 0 and 1.
    window: events learned between two exchanges of the reference masses.
    """

    features: NDArray[np.uint8]
    thresholds: NDArray[np.float64]
    columns: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    window: int

    def __post_init__(self) -> None:
        """Raise ValueError where the arrays don't fit: kernels don't check their indices."""
        if self.features.ndim != 2 or self.features.dtype != np.uint8:
            raise ValueError(f"features are {self.features.dtype}{self.features.shape}")
        trees, inner = self.features.shape
        if trees < 1 or not 1 <= inner < 2**HEIGHT_MAX or inner & (inner + 1):
            raise ValueError(f"features have shape {self.features.shape}: not perfect trees")
        if self.thresholds.dtype != np.float64 or self.thresholds.shape != self.features.shape:
            raise ValueError("thresholds don't match features")
        inputs = (len(self.columns),)
        if self.columns.dtype != np.int64 or not self.lower.shape == self.upper.shape == inputs:
            raise ValueError("columns and limits don't match")
        if self.features.max() >= len(self.columns) or self.columns.min() < 0:
            raise ValueError("a node or input points outside the feature matrix")
        if not (np.isfinite(self.lower).all() and np.isfinite(self.upper - self.lower).all()):
            raise ValueError("limits are not finite")
        if not (self.upper > self.lower).all():
            raise ValueError("an upper limit is not above its lower one")
        if not 1 <= self.window <= WINDOW_MAX:
            raise ValueError(f"window is {self.window}, must be 1 to {WINDOW_MAX}")

    @property
    def masses_shape(self) -> tuple[int, int]:
        """(trees, leaves of a tree)."""
        return self.features.shape[0], self.features.shape[1] + 1

    @cached_property
    def column_max(self) -> int:
        """The highest column of the feature matrix any input stands in."""
        return int(self.columns.max())

    @property
    def score_max(self) -> int:
        """The largest sum of masses River allows for; it divides the sum of a row."""
        trees, leaves = self.masses_shape
        return trees * self.window * (2 * leaves - 1)

    @cached_property
    def fingerprint(self) -> bytes:
        """Eight bytes that tell these trees from others: masses mean nothing without them."""
        digest = hashlib.sha256(struct.pack("<I", self.window))
        for array in (self.features, self.thresholds, self.columns, self.lower, self.upper):
            digest.update(array.tobytes())
        return digest.digest()[:8]

    def scale(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The trees' inputs (n, k): limits mapped to 0 and 1, what lies outside clipped."""
        check_rows(rows, np.float64, self.column_max)
        scaled = np.empty((len(rows), len(self.columns)), np.float64)
        _scale_rows(rows, 0, len(rows), self.columns, self.lower, self.upper, scaled)
        return scaled


@dataclass
class HalfSpaceState:
    """What the trees have learned from one partition; changed in place by `score_and_learn`.

    latest (T, leaves) uint16: masses of the window being filled, written in place.
    reference (T, leaves) uint16: masses of the last full window; replaced, never written.
    leaf_scores (T, leaves) int32: River's sum over the path to each leaf, of the reference.
    position: events learned in the window being filled. is_warm: a window has been filled.
    learned: events learned since the beginning.
    """

    latest: NDArray[np.uint16]
    reference: NDArray[np.uint16]
    leaf_scores: NDArray[np.int32] = field(repr=False)
    position: int = 0
    is_warm: bool = False
    learned: int = 0

    @classmethod
    def empty(cls, trees: HalfSpaceTreesArrays) -> "HalfSpaceState":
        """The state before the first event."""
        shape = trees.masses_shape
        reference = np.zeros(shape, np.uint16)
        return cls(np.zeros(shape, np.uint16), reference, np.zeros(shape, np.int32))

    def copy(self) -> "HalfSpaceState":
        """A state that goes its own way from here."""
        return HalfSpaceState(
            self.latest.copy(),
            self.reference,
            self.leaf_scores,
            self.position,
            self.is_warm,
            self.learned,
        )

    def __eq__(self, other: object) -> bool:
        """Equal when both would give the same scores for every stream to come."""
        if not isinstance(other, HalfSpaceState):
            return NotImplemented
        return (
            (self.position, self.is_warm, self.learned)
            == (other.position, other.is_warm, other.learned)
            and np.array_equal(self.latest, other.latest)
            and np.array_equal(self.reference, other.reference)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_bytes(self, trees: HalfSpaceTreesArrays) -> bytes:
        """The state in a fixed layout of `state_bytes(trees)` bytes, little-endian."""
        header = _HEADER.pack(
            _LAYOUT_VERSION, self.is_warm, trees.fingerprint, self.position, self.learned
        )
        latest, reference = self.latest.astype("<u2"), self.reference.astype("<u2")
        return header + latest.tobytes() + reference.tobytes()

    @classmethod
    def from_bytes(cls, trees: HalfSpaceTreesArrays, payload: bytes) -> "HalfSpaceState":
        """Read a state back. Raises ValueError where it is of another layout or other trees."""
        if len(payload) != state_bytes(trees):
            raise ValueError(f"state has {len(payload)} bytes, must have {state_bytes(trees)}")
        version, is_warm, fingerprint, position, learned = _HEADER.unpack_from(payload)
        if version != _LAYOUT_VERSION:
            raise ValueError(f"state has layout {version}, this version reads {_LAYOUT_VERSION}")
        if fingerprint != trees.fingerprint:
            raise ValueError("state belongs to other trees: start it anew with this model")
        if position >= trees.window or is_warm > 1:
            raise ValueError("state is damaged: its position lies outside the window")
        masses = np.frombuffer(payload, "<u2", offset=_HEADER.size).astype(np.uint16)
        latest, reference = masses.reshape(2, *trees.masses_shape)
        state = cls(latest.copy(), reference.copy(), leaf_scores(trees, reference))
        state.position, state.is_warm, state.learned = position, bool(is_warm), learned
        return state

    def turn_window(self, trees: HalfSpaceTreesArrays) -> None:
        """Make the full window the reference and start the next one."""
        self.reference = self.latest
        self.latest = np.zeros_like(self.reference)
        self.leaf_scores = leaf_scores(trees, self.reference)
        self.position, self.is_warm = 0, True


@dataclass(frozen=True, slots=True)
class HalfSpaceScores:
    """Scores of one batch and the masses that made them.

    scores (n) float64: 0 to 1, higher = more anomalous; 0 while not warm.
    warm (n) bool: a full window stood behind the score.
    windows (n) int32: which of `references` scored the row.
    references: the reference masses met in this batch, in order; attribution reads them, so that
    it doesn't depend on where the batch ended.
    """

    scores: NDArray[np.float64]
    warm: NDArray[np.bool_]
    windows: NDArray[np.int32]
    references: list[NDArray[np.uint16]]


def state_bytes(trees: HalfSpaceTreesArrays) -> int:
    """Size of a serialised state of these trees, in bytes."""
    count, leaves = trees.masses_shape
    return _HEADER.size + 2 * 2 * count * leaves


def score_and_learn(
    trees: HalfSpaceTreesArrays,
    state: HalfSpaceState,
    rows: NDArray[np.float64],
    learn: NDArray[np.bool_],
) -> HalfSpaceScores:
    """Score each row (n, d), then learn it where `learn` (n) says so, in order.

    The same bits as River's `score_one` and `learn_one` row by row, however the stream is cut
    into batches. Rows must be finite.
    """
    check_rows(rows, np.float64, trees.column_max)
    assert learn.shape == (len(rows),)
    assert learn.dtype == np.bool_
    batch = HalfSpaceScores(
        np.zeros(len(rows), np.float64),
        np.zeros(len(rows), np.bool_),
        np.zeros(len(rows), np.int32),
        [state.reference],
    )
    start = 0
    while start < len(rows):
        stop, learned = _end_of_window(learn, start, trees.window - state.position)
        _score_window(trees, state, rows[start:stop], learn[start:stop], batch.scores[start:stop])
        batch.warm[start:stop] = state.is_warm
        batch.windows[start:stop] = len(batch.references) - 1
        state.position += learned
        state.learned += learned
        if state.position == trees.window:
            state.turn_window(trees)
            batch.references.append(state.reference)
        start = stop
    return batch


def _score_window(
    trees: HalfSpaceTreesArrays,
    state: HalfSpaceState,
    rows: NDArray[np.float64],
    learn: NDArray[np.bool_],
    scores: NDArray[np.float64],
) -> None:
    _walk_rows(
        trees.features,
        trees.thresholds,
        trees.columns,
        trees.lower,
        trees.upper,
        state.leaf_scores,
        float(trees.score_max) if state.is_warm else 0.0,
        rows,
        learn,
        state.latest,
        scores,
    )


def leaf_scores(trees: HalfSpaceTreesArrays, reference: NDArray[np.uint16]) -> NDArray[np.int32]:
    """River's sum over the path to each leaf (T, leaves), given the leaves' reference masses."""
    scores = np.empty(trees.masses_shape, np.int32)
    # 0.1 is River's and the paper's constant; the product is formed as River forms it.
    _sum_paths(reference, 0.1 * trees.window, scores)
    return scores


@kernel
def _end_of_window(learn: NDArray[np.bool_], start: int, room: int) -> tuple[int, int]:
    """Where the run of rows ends that fills the window, and how many of them are learned."""
    learned = 0
    for r in range(start, len(learn)):
        if learn[r]:
            learned += 1
            if learned == room:
                return r + 1, learned
    return len(learn), learned


@kernel
def _scale_rows(
    rows: NDArray[np.float64],
    start: int,
    count: int,
    columns: NDArray[np.int64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    scaled: NDArray[np.float64],
) -> None:
    for r in range(count):
        for k in range(len(columns)):
            value = (rows[start + r, columns[k]] - lower[k]) / (upper[k] - lower[k])
            scaled[r, k] = min(max(value, 0.0), 1.0)


@kernel
def _walk_rows(
    features: NDArray[np.uint8],
    thresholds: NDArray[np.float64],
    columns: NDArray[np.int64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    leaf_scores: NDArray[np.int32],
    score_max: float,
    rows: NDArray[np.float64],
    learn: NDArray[np.bool_],
    latest: NDArray[np.uint16],
    scores: NDArray[np.float64],
) -> None:
    """Score rows of one window and count the learned ones; score_max 0 means not warm yet."""
    trees, inner = features.shape
    at = np.empty(BLOCK_ROWS, np.uint32)
    sums = np.empty(BLOCK_ROWS, np.int64)
    scaled = np.empty((BLOCK_ROWS, len(columns)), np.float64)
    for start in range(0, len(rows), BLOCK_ROWS):
        count = min(BLOCK_ROWS, len(rows) - start)
        _scale_rows(rows, start, count, columns, lower, upper, scaled)
        sums[:count] = 0
        for tree in range(trees):
            at[:count] = 0
            level_end = 1
            while level_end <= inner:
                for r in range(count):
                    node = at[r]
                    left = scaled[r, features[tree, node]] < thresholds[tree, node]
                    at[r] = 2 * node + 2 - left
                level_end = 2 * level_end
            for r in range(count):
                leaf = at[r] - inner
                sums[r] += leaf_scores[tree, leaf]
                latest[tree, leaf] += learn[start + r]
        if score_max > 0.0:
            for r in range(count):
                scores[start + r] = 1.0 - sums[r] / score_max


@kernel
def _sum_paths(reference: NDArray[np.uint16], size_limit: float, scores: NDArray[Any]) -> None:
    """Sum mass * 2**depth from the root to each leaf, ending at the first mass below the limit."""
    trees, leaves = reference.shape
    masses = np.empty(2 * leaves - 1, np.int64)
    sums = np.empty(2 * leaves - 1, np.int64)
    ended = np.empty(2 * leaves - 1, np.bool_)
    for tree in range(trees):
        for leaf in range(leaves):
            masses[leaves - 1 + leaf] = reference[tree, leaf]
        for node in range(leaves - 2, -1, -1):
            masses[node] = masses[2 * node + 1] + masses[2 * node + 2]
        sums[0] = masses[0]
        ended[0] = masses[0] < size_limit
        weight, level_end = 2, 2
        for node in range(1, 2 * leaves - 1):
            if node == 2 * level_end - 1:
                weight, level_end = 2 * weight, 2 * level_end
            above = (node - 1) // 2
            sums[node] = sums[above] if ended[above] else sums[above] + weight * masses[node]
            ended[node] = ended[above] or masses[node] < size_limit
        for leaf in range(leaves):
            scores[tree, leaf] = sums[leaves - 1 + leaf]
