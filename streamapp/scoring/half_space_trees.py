"""Half-space trees (Tan, Ting, Liu, IJCAI 2011) as arrays; River 0.26 defines every bit.

Sketch: which leaf a row falls into depends on the trees alone, and inside a window so does a
leaf's score, because the reference masses stand still. So one walk serves both scoring and
learning, a leaf's sum over its path is a table made once a window, and the masses of inner nodes
need not be kept: they are sums of their leaves. The sums are integers, exact in any order. 50 trees
of height 5: 250 comparisons a row; a state of 8 KB; a window turn of some 20 µs.

Who can send payments can teach the trees. Three guards, docs/decisions/0012: what is flagged does
not teach, no user teaches more than a share, and masses stay near those of usual traffic, which
the model brings along and nothing changes.
"""

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamapp.scoring.half_space_loops import (
    learn_rows,
    scale_rows,
    score_leaves,
    sum_paths,
    walk_rows,
)
from streamapp.scoring.perfect_trees import check_rows

#: Masses are 16-bit counts of one window.
WINDOW_MAX: Final = 65_535

#: 2**12 leaves a tree; a state grows by 4 bytes a leaf.
HEIGHT_MAX: Final = 12

#: Of as many events of a partition as a window has, one user teaches at most this share.
USER_SHARE: Final = 0.05

#: Masses in use are at most this many times those of usual traffic, and at least this part.
BOUND: Final = 4

#: Users are counted by hash: 1 in 1,000 shares its quota with a given other one.
_USER_PLACES: Final = 1024

#: Rows walked at once, whatever the batch: 400 KB of leaves.
_WALKED_ROWS: Final = 4_096

_LAYOUT_VERSION: Final = 2

#: Layout version, warm, fingerprint of the trees, position in the window, events since users'
#: counts began anew, events learned.
_HEADER: Final = struct.Struct("<HH8sIIQ")

#: Which of some rows are flagged, told their place in the batch, their scores and which are warm.
Judge = Callable[[slice, NDArray[np.float64], NDArray[np.bool_]], NDArray[np.bool_]]


@dataclass(frozen=True)
class HalfSpaceTreesArrays:
    """T perfect trees of height h over k scaled inputs; nodes in breadth-first order.

    features (T, 2**h - 1) uint8: the input each node looks at; goes left where x < threshold.
    thresholds (T, 2**h - 1) float64: in scaled units, 0 to 1.
    columns (k) int64: where each input stands in the feature matrix.
    lower, upper (k) float64: the limits, fixed at training, that scaling maps to 0 and 1.
    window: events learned between two exchanges of the reference masses.
    usual (T, 2**h) uint16: leaves' masses in a window of usual traffic, frozen at training. None:
    masses are used as learned, as River does.
    """

    features: NDArray[np.uint8]
    thresholds: NDArray[np.float64]
    columns: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    window: int
    usual: NDArray[np.uint16] | None = None

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
        if self.usual is not None and (
            self.usual.dtype != np.uint16 or self.usual.shape != self.masses_shape
        ):
            raise ValueError("usual masses don't match the leaves")

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
        arrays = (self.features, self.thresholds, self.columns, self.lower, self.upper)
        for array in (*arrays, *(() if self.usual is None else (self.usual,))):
            digest.update(array.tobytes())
        return digest.digest()[:8]

    def scale(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The trees' inputs (n, k): limits mapped to 0 and 1, what lies outside clipped."""
        check_rows(rows, np.float64, self.column_max)
        scaled = np.empty((len(rows), len(self.columns)), np.float64)
        scale_rows(rows, 0, len(rows), self.columns, self.lower, self.upper, scaled)
        return scaled

    def leaves(self, rows: NDArray[np.float64]) -> NDArray[np.uint16]:
        """The leaf (T, n) of each tree that each row (n, d) falls into."""
        check_rows(rows, np.float64, self.column_max)
        found = np.empty((len(self.features), len(rows)), np.uint16)
        walk_rows(self.features, self.thresholds, self.columns, self.lower, self.upper, rows, found)
        return found

    def bounded(self, learned: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Learned masses, held within BOUND times usual ones; a leaf unusual so far gets 1."""
        return learned if self._bounds is None else np.clip(learned, *self._bounds)

    @cached_property
    def _bounds(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]] | None:
        if self.usual is None:
            return None
        highest = np.minimum(self.usual.astype(np.uint32) * BOUND + 1, WINDOW_MAX)
        return self.usual // np.uint16(BOUND), highest.astype(np.uint16)

    def order(self, learned: NDArray[np.uint16]) -> float | None:
        """How far learned masses rank the leaves as usual ones do: a correlation, -1 to 1.

        Below 0 the order is inverted: what is usual looks rare. None without usual masses.
        """
        if self._usual_order is None:
            return None
        found = leaf_scores(self, learned).ravel().astype(np.float64)
        found -= found.mean()
        scale = math.sqrt(float(found @ found))
        return float(found @ self._usual_order) / scale if scale else 0.0

    @cached_property
    def _usual_order(self) -> NDArray[np.float64] | None:
        if self.usual is None:
            return None
        usual = leaf_scores(self, self.usual).ravel().astype(np.float64)
        usual -= usual.mean()
        return usual / max(math.sqrt(float(usual @ usual)), 1.0)


@dataclass
class HalfSpaceState:
    """What the trees have learned from one partition; changed in place by `score_and_learn`.

    latest (T, leaves) uint16: masses of the window being filled, written in place.
    reference (T, leaves) uint16: masses of the last full window; replaced, never written.
    leaf_scores (T, leaves) int32: River's sum over the path to each leaf, of the reference.
    taught (places) uint16: what each user has taught of the last `seen` events.
    position: events learned in the window being filled. is_warm: a window has been filled.
    learned: events learned since the beginning.
    """

    latest: NDArray[np.uint16]
    reference: NDArray[np.uint16]
    leaf_scores: NDArray[np.int32] = field(repr=False)
    taught: NDArray[np.uint16] = field(repr=False)
    position: int = 0
    seen: int = 0
    is_warm: bool = False
    learned: int = 0

    @classmethod
    def empty(cls, trees: HalfSpaceTreesArrays) -> "HalfSpaceState":
        """The state before the first event."""
        shape = trees.masses_shape
        reference = np.zeros(shape, np.uint16)
        taught = np.zeros(_USER_PLACES, np.uint16)
        return cls(np.zeros(shape, np.uint16), reference, np.zeros(shape, np.int32), taught)

    def copy(self) -> "HalfSpaceState":
        """A state that goes its own way from here."""
        return replace(self, latest=self.latest.copy(), taught=self.taught.copy())

    def __eq__(self, other: object) -> bool:
        """Equal when both would give the same scores for every stream to come."""
        if not isinstance(other, HalfSpaceState):
            return NotImplemented
        return (
            (self.position, self.seen, self.is_warm, self.learned)
            == (other.position, other.seen, other.is_warm, other.learned)
            and np.array_equal(self.taught, other.taught)
            and np.array_equal(self.latest, other.latest)
            and np.array_equal(self.reference, other.reference)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_bytes(self, trees: HalfSpaceTreesArrays) -> bytes:
        """The state in a fixed layout of `state_bytes(trees)` bytes, little-endian."""
        header = _HEADER.pack(
            _LAYOUT_VERSION,
            self.is_warm,
            trees.fingerprint,
            self.position,
            self.seen,
            self.learned,
        )
        arrays = (self.taught, self.latest, self.reference)
        return header + b"".join(array.astype("<u2").tobytes() for array in arrays)

    @classmethod
    def from_bytes(cls, trees: HalfSpaceTreesArrays, payload: bytes) -> "HalfSpaceState":
        """Read a state back. Raises ValueError where it is of another layout or other trees."""
        if len(payload) != state_bytes(trees):
            raise ValueError(f"state has {len(payload)} bytes, must have {state_bytes(trees)}")
        version, is_warm, fingerprint, position, seen, learned = _HEADER.unpack_from(payload)
        if version != _LAYOUT_VERSION:
            raise ValueError(f"state has layout {version}, this version reads {_LAYOUT_VERSION}")
        if fingerprint != trees.fingerprint:
            raise ValueError("state belongs to other trees: start it anew with this model")
        if position >= trees.window or seen > trees.window or is_warm > 1:
            raise ValueError("state is damaged: its position lies outside the window")
        counts = np.frombuffer(payload, "<u2", offset=_HEADER.size).astype(np.uint16)
        taught, masses = np.split(counts, [_USER_PLACES])
        latest, reference = (part.copy() for part in masses.reshape(2, *trees.masses_shape))
        scores = leaf_scores(trees, reference)
        state = cls(latest, reference, scores, taught.copy(), position, seen)
        state.is_warm, state.learned = bool(is_warm), learned
        return state

    def turn_window(self, trees: HalfSpaceTreesArrays) -> None:
        """Make the full window the reference and start the next one."""
        self.reference = trees.bounded(self.latest)
        self.latest = np.zeros_like(self.latest)
        self.leaf_scores = leaf_scores(trees, self.reference)
        self.position, self.is_warm = 0, True


class Reference(NamedTuple):
    """Masses of a full window (T, leaves), and River's sum over the path to each leaf of them."""

    masses: NDArray[np.uint16]
    leaf_scores: NDArray[np.int32]


@dataclass(slots=True)
class HalfSpaceScores:
    """Scores of one batch and the masses that made them.

    scores (n) float64: 0 to 1, higher = more anomalous; 0 while not warm.
    warm (n) bool: a full window stood behind the score.
    windows (n) int32: which of `references` scored the row.
    references: those met in this batch, in order; attribution reads them, so that it doesn't
    depend on where the batch ended.
    crowding: rows not learned because their user had taught enough. orders: that of each window
    that was filled in this batch, where there are usual masses.
    """

    scores: NDArray[np.float64]
    warm: NDArray[np.bool_]
    windows: NDArray[np.int32]
    references: list[Reference]
    crowding: int = 0
    orders: list[float] = field(default_factory=list)


def state_bytes(trees: HalfSpaceTreesArrays) -> int:
    """Size of a serialised state of these trees, in bytes."""
    count, leaves = trees.masses_shape
    return _HEADER.size + 2 * (_USER_PLACES + 2 * count * leaves)


def score_and_learn(
    trees: HalfSpaceTreesArrays,
    state: HalfSpaceState,
    rows: NDArray[np.float64],
    users: NDArray[np.uint32],
    judge: Judge,
) -> HalfSpaceScores:
    """Score each row (n, d), then learn it unless `judge` flags it or its user taught enough.

    users (n): a hash of each row's user. Results don't depend on how the stream is cut into
    batches; where no guard steps in, they are the same bits as River's `score_one` and
    `learn_one` row by row. Rows must be finite. judge may be asked about a row more than once;
    the last answer counts.
    """
    assert users.shape == (len(rows),)
    assert users.flags.c_contiguous
    batch = HalfSpaceScores(
        np.zeros(len(rows), np.float64),
        np.zeros(len(rows), np.bool_),
        np.zeros(len(rows), np.int32),
        [Reference(state.reference, state.leaf_scores)],
    )
    for start in range(0, len(rows), _WALKED_ROWS):
        stop = min(start + _WALKED_ROWS, len(rows))
        _score_walked(trees, state, slice(start, stop), rows, users, judge, batch)
    return batch


def _score_walked(
    trees: HalfSpaceTreesArrays,
    state: HalfSpaceState,
    part: slice,
    rows: NDArray[np.float64],
    users: NDArray[np.uint32],
    judge: Judge,
    batch: HalfSpaceScores,
) -> None:
    """Part of a batch, at most a window at a time; rows beyond a window's end are scored again."""
    leaves, users = trees.leaves(rows[part]), users[part]
    quota = max(int(USER_SHARE * trees.window), 1)
    start, count = 0, len(users)
    while start < count:
        room = trees.window - state.position
        # Some rows will not be learned: with these the window fills at once as a rule.
        ahead = slice(start, min(start + room + room // 8 + 16, count))
        at = slice(part.start + ahead.start, part.start + ahead.stop)
        score_max = float(trees.score_max) if state.is_warm else 0.0
        score_leaves(leaves, start, state.leaf_scores, score_max, batch.scores[at])
        batch.warm[at] = state.is_warm
        batch.windows[at] = len(batch.references) - 1
        is_flagged = judge(at, batch.scores[at], batch.warm[at])
        taken, learned, crowding, state.seen = learn_rows(
            leaves,
            start,
            is_flagged,
            users,
            room,
            quota,
            trees.window,
            state.seen,
            state.taught,
            state.latest,
        )
        state.position += learned
        state.learned += learned
        batch.crowding += crowding
        if state.position == trees.window:
            _turn(trees, state, batch)
        start += taken


def _turn(trees: HalfSpaceTreesArrays, state: HalfSpaceState, batch: HalfSpaceScores) -> None:
    order = trees.order(state.latest)
    if order is not None:
        batch.orders.append(order)
    state.turn_window(trees)
    batch.references.append(Reference(state.reference, state.leaf_scores))


def leaf_scores(trees: HalfSpaceTreesArrays, reference: NDArray[np.uint16]) -> NDArray[np.int32]:
    """River's sum over the path to each leaf (T, leaves), given the leaves' reference masses."""
    scores = np.empty(trees.masses_shape, np.int32)
    # 0.1 is River's and the paper's constant; the product is formed as River forms it.
    sum_paths(reference, 0.1 * trees.window, scores)
    return scores
