"""Recorded traffic that ships with streamapp; ATTRIBUTION.md says where it comes from."""

from pathlib import Path
from typing import Final

#: The shipped samples; the first is what the demo replays.
NAMES: Final = ("sparkov", "handbook")

#: The shipped model was trained on the first rows of each sample, this many; what is to be scored
#: by it, and not seen in training, starts after them.
TRAINING_ROWS: Final = 80_000


def sample(name: str = NAMES[0]) -> Path:
    """Path of a shipped sample. Raises KeyError for a name that is not in `NAMES`."""
    if name not in NAMES:
        raise KeyError(f"no sample {name}, expected one of {', '.join(NAMES)}")
    return Path(__file__).parent / f"{name}.parquet"
