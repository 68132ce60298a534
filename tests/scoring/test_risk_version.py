"""Published risk windows are read back whole under their name, or refused."""

import numpy as np
import pytest

from streamapp.features.risk_windows import RISK_COLUMNS, RISK_KINDS, RiskTable
from streamapp.scoring.risk_version import RiskVersion, RiskVersionError, to_bytes


@pytest.fixture
def table() -> RiskTable:
    """Of a few names of each kind but the last."""
    draw = np.random.default_rng(1)
    counts = [*range(3, 2 + len(RISK_KINDS)), 0]
    names = tuple(
        np.sort(draw.choice(2**20, n, replace=False)).astype(np.uint32) + 1 for n in counts
    )
    names = tuple(one.astype(np.uint32) for one in names)
    return RiskTable(19_700, names, tuple(draw.random((n, len(RISK_COLUMNS))) for n in counts))


def test_windows_are_read_back(table: RiskTable) -> None:
    """Day, names and values, the same bytes again; the name has the day."""
    version = RiskVersion.of(table)
    read = RiskVersion.stored(version.version, to_bytes(table))
    assert version.version == read.version
    assert version.version.startswith("2023-12-09.")
    assert to_bytes(table) == to_bytes(read.table)
    assert table.day == read.table.day


def test_every_damaged_byte_is_found(table: RiskTable) -> None:
    """The name is a digest of all; so is a file that was cut or is another version's."""
    version, image = RiskVersion.of(table).version, to_bytes(table)
    for at in range(len(image)):
        damaged = bytearray(image)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(RiskVersionError, match=version):
            RiskVersion.stored(version, bytes(damaged))
    for cut in (b"", image[:20], image[:-1], image + b"\0"):
        with pytest.raises(RiskVersionError, match=version):
            RiskVersion.stored(version, cut)
    with pytest.raises(RiskVersionError, match="another digest"):
        RiskVersion.stored("2023-12-09.abc", image)
