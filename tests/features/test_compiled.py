"""Compiled loops are never older than the sources they came of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import streamapp

PROGRAM = """
import numpy as np
from streamapp.features import statistics
from streamapp.features.kernel import compute
from streamapp.features.columns import EVENT, Columns
from streamapp.features.contract import FeatureParameters
from streamapp.features.profile import empty_profiles
records = np.zeros(3, EVENT)
records["offset"] = records["tx"] = [1, 2, 3]
records["amount"] = [1.0, 2.0, 1e9]
slots = np.zeros(3, np.int64)
block, _ = compute(Columns(records), slots, empty_profiles(1), 0, FeatureParameters())
print(block.values[2, 1])
"""


def test_a_change_in_a_called_file_is_not_hidden_by_the_cache(tmp_path: Path) -> None:
    """The kernel calls `statistics`: a new bound there shows, though the kernel's file is old."""
    shutil.copytree(
        Path(streamapp.__file__).parent,
        tmp_path / "streamapp",
        ignore=shutil.ignore_patterns("__pycache__", "models", "sample"),
    )
    assert "100.0" == _zscore(tmp_path)
    statistics = tmp_path / "streamapp" / "features" / "statistics.py"
    text = statistics.read_text()
    assert "ZSCORE_MAX: Final = 100.0" in text
    statistics.write_text(text.replace("ZSCORE_MAX: Final = 100.0", "ZSCORE_MAX: Final = 50.0"))
    assert "50.0" == _zscore(tmp_path)


def _zscore(root: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(root / "cache")}
    outcome = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return outcome.stdout.strip()
