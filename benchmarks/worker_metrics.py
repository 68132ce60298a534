"""What a worker tells of itself at /metrics, as means over a stretch of time."""

import urllib.request
from typing import Final

import msgspec

_TIMEOUT_S: Final = 10.0
_HISTOGRAMS: Final = (
    "streamapp_batch_records",
    "streamapp_batch_seconds",
    "streamapp_checkpoint_seconds",
    "streamapp_checkpoint_profiles",
)


class Inside(msgspec.Struct, frozen=True):
    """Means of a worker's batches and checkpoints over a stretch of time."""

    batch_records: float
    batch_ms: float
    checkpoint_ms: float
    checkpoint_profiles: float
    checkpoints: int


def read(port: int) -> dict[str, float]:
    """Sum and count of the histograms, by their names at /metrics. Raises OSError."""
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        lines = answer.read().decode().splitlines()
    told = dict(line.split(" ", 1) for line in lines if line.startswith(_HISTOGRAMS))
    return {name: float(value) for name, value in told.items() if "{" not in name}


def between(before: dict[str, float], after: dict[str, float]) -> Inside:
    """Means of what happened between two readings; 0 where nothing did."""
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}

    def mean(name: str) -> float:
        return grown[f"{name}_sum"] / max(grown[f"{name}_count"], 1)

    return Inside(
        batch_records=round(mean("streamapp_batch_records"), 1),
        batch_ms=round(mean("streamapp_batch_seconds") * 1e3, 2),
        checkpoint_ms=round(mean("streamapp_checkpoint_seconds") * 1e3, 2),
        checkpoint_profiles=round(mean("streamapp_checkpoint_profiles"), 1),
        checkpoints=int(grown["streamapp_checkpoint_seconds_count"]),
    )
