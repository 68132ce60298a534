"""What a partition knows beside its profiles: position, stream time, half-space trees."""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streamapp.scoring.admission import StreamClock
from streamapp.scoring.half_space_trees import HalfSpaceState, HalfSpaceTreesArrays

#: Layout 1 lacked what users have taught; its trees begin anew. Layout 3 is written where risk
#: windows were taken over: the last few versions stand before the masses. Layout 4 where cut-offs
#: were: of both.
LAYOUT_VERSION: Final = 2
RISK_LAYOUT: Final = 3
CUTOFFS_LAYOUT: Final = 4
_READ_VERSIONS: Final = (1, LAYOUT_VERSION, RISK_LAYOUT, CUTOFFS_LAYOUT)

# layout version, CRC-32 of the rest, source offset, stream time, run of refusals, model
_HEADER: Final = struct.Struct("<HxxIqqI64s")
_CHECKSUM: Final = slice(4, 8)

#: Versions of each kind of reference data that a state names, the one in force the last.
VERSIONS_MAX: Final = 4
# version, source offset from which it holds; as many as are named, the rest is empty
_NAMED: Final = struct.Struct("<64sq")
_NAMED_BYTES: Final = VERSIONS_MAX * _NAMED.size
#: Of how many kinds of reference data a layout names versions.
_KINDS: Final = {RISK_LAYOUT: 1, CUTOFFS_LAYOUT: 2}


class PartitionStateError(Exception):
    """Stored partition state is not what was written: size, checksum or layout version.

    is_layout: the bytes are whole, but another version's.
    """

    def __init__(self, message: str, *, is_layout: bool = False) -> None:
        super().__init__(message)
        self.is_layout = is_layout


class InForce(NamedTuple):
    """A version of reference data, and the source offset from which it holds."""

    version: str
    since: int


@dataclass(slots=True)
class PartitionState:
    """State of one partition after the record at `source_offset` (-1: none yet).

    risk_windows: the last versions it was scored with, the one in force the last; empty where
    that is the model's own. cutoffs: the same of cut-offs of severities, which a new model keeps.
    """

    model_version: str
    half_space: HalfSpaceState
    source_offset: int = -1
    clock: StreamClock = field(default_factory=StreamClock)
    risk_windows: tuple[InForce, ...] = ()
    cutoffs: tuple[InForce, ...] = ()

    @classmethod
    def initial(cls, model_version: str, trees: HalfSpaceTreesArrays) -> "PartitionState":
        """The state before the first record."""
        return cls(model_version, HalfSpaceState.empty(trees))

    def to_bytes(self, trees: HalfSpaceTreesArrays) -> bytes:
        """The stored form: header with a checksum, versions of reference data if any, masses."""
        layout, rest = LAYOUT_VERSION, self.half_space.to_bytes(trees)
        if self.cutoffs:
            layout = CUTOFFS_LAYOUT
            rest = _packed(self.risk_windows) + _packed(self.cutoffs) + rest
        elif self.risk_windows:
            layout, rest = RISK_LAYOUT, _packed(self.risk_windows) + rest
        version = self.model_version.encode()
        clock = self.clock
        fields = (self.source_offset, clock.time_ms, clock.ahead_run, version)
        checksum = _checksum_of(_HEADER.pack(layout, 0, *fields) + rest)
        return _HEADER.pack(layout, checksum, *fields) + rest

    @classmethod
    def from_bytes(
        cls, image: bytes, model_version: str, trees: HalfSpaceTreesArrays
    ) -> "PartitionState":
        """Read the stored form. Raises PartitionStateError where it is damaged.

        Masses learned for another model's trees mean nothing to these: they start anew.
        """
        verify(image)
        layout, _, offset, time_ms, ahead_run, _ = _HEADER.unpack_from(image)
        clock = StreamClock(time_ms, ahead_run)
        cutoffs = stored_cutoffs(image)
        if stored_model(image) != model_version or layout == 1:
            empty = HalfSpaceState.empty(trees)
            return cls(model_version, empty, offset, clock, cutoffs=cutoffs)
        start = _HEADER.size + _KINDS.get(layout, 0) * _NAMED_BYTES
        half_space = HalfSpaceState.from_bytes(trees, image[start:])
        return cls(model_version, half_space, offset, clock, stored_risk_windows(image), cutoffs)

    def take_over(self, version: str) -> None:
        """Risk windows of this version hold from the next record on."""
        self.risk_windows = self._with(self.risk_windows, version)

    def take_cutoffs_over(self, version: str) -> None:
        """Cut-offs of this version hold from the next record on."""
        self.cutoffs = self._with(self.cutoffs, version)

    def _with(self, named: tuple[InForce, ...], version: str) -> tuple[InForce, ...]:
        return (*named, InForce(version, self.source_offset + 1))[-VERSIONS_MAX:]


def verify(image: bytes) -> None:
    """Raise PartitionStateError where a stored state is damaged or another version's.

    Layout version and checksum stand first in every version, so the two can be told apart.
    """
    if len(image) < _HEADER.size:
        raise PartitionStateError(f"partition state of {len(image)} bytes is too short")
    layout, checksum, *_ = _HEADER.unpack_from(image)
    if _checksum_of(image) != checksum:
        raise PartitionStateError("partition state checksum differs: the bytes are damaged")
    if layout not in _READ_VERSIONS:
        raise PartitionStateError(
            f"state layout {layout}; this build reads {LAYOUT_VERSION}", is_layout=True
        )


def moved(image: bytes, offset: int) -> bytes:
    """A stored state with another source offset in it."""
    layout, _, _, *rest = _HEADER.unpack_from(image)
    masses = image[_HEADER.size :]
    checksum = _checksum_of(_HEADER.pack(layout, 0, offset, *rest) + masses)
    return _HEADER.pack(layout, checksum, offset, *rest) + masses


def source_offset(image: bytes) -> int:
    """Source offset of the last record that a stored state holds."""
    return int(_HEADER.unpack_from(image)[2])


def stored_model(image: bytes) -> str:
    """Version of the model whose masses a stored state holds."""
    version: bytes = _HEADER.unpack_from(image)[-1]
    return version.rstrip(b"\0").decode()


def stored_risk_windows(image: bytes) -> tuple[InForce, ...]:
    """Versions of the risk windows that a stored state names; none: those of its model."""
    return _stored(image, 0)


def stored_cutoffs(image: bytes) -> tuple[InForce, ...]:
    """Versions of the cut-offs of severities that a stored state names; none: as calibrated."""
    return _stored(image, 1)


def _packed(versions: tuple[InForce, ...]) -> bytes:
    named = b"".join(_NAMED.pack(one.version.encode(), one.since) for one in versions)
    return named.ljust(_NAMED_BYTES, b"\0")


def _stored(image: bytes, kind: int) -> tuple[InForce, ...]:
    if kind >= _KINDS.get(_HEADER.unpack_from(image)[0], 0):
        return ()
    start = _HEADER.size + kind * _NAMED_BYTES
    return tuple(
        InForce(name.rstrip(b"\0").decode(), since)
        for name, since in _NAMED.iter_unpack(image[start : start + _NAMED_BYTES])
        if name.strip(b"\0")
    )


def _checksum_of(image: bytes) -> int:
    """CRC-32 of all bytes but its own."""
    return zlib.crc32(image[_CHECKSUM.stop :], zlib.crc32(image[: _CHECKSUM.start]))
