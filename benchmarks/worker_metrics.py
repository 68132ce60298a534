"""What a worker tells of itself at /metrics, as means over a stretch of time."""

import urllib.request
from typing import Final

import msgspec

_TIMEOUT_S: Final = 10.0
_VERDICTS: Final = "streamapp_verdicts_total"
_HISTOGRAMS: Final = (
    "streamapp_batch_records",
    "streamapp_batch_seconds",
    "streamapp_checkpoint_seconds",
    "streamapp_checkpoint_profiles",
)


class Inside(msgspec.Struct, frozen=True):
    """Means of a worker's batches and checkpoints over a stretch of time.

    anomaly_share: of the verdicts, those at or above MEDIUM: they are explained, which costs.
    """

    batch_records: float
    batch_ms: float
    checkpoint_ms: float
    checkpoint_profiles: float
    checkpoints: int
    anomaly_share: float


def read(port: int) -> dict[str, float]:
    """Counts and sums, by their names at /metrics. Raises OSError."""
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        lines = answer.read().decode().splitlines()
    told = dict(line.rsplit(" ", 1) for line in lines if line.startswith((*_HISTOGRAMS, _VERDICTS)))
    return {name: float(value) for name, value in told.items() if "_bucket{" not in name}


def between(before: dict[str, float], after: dict[str, float]) -> Inside:
    """Means of what happened between two readings; 0 where nothing did."""
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}

    def mean(name: str) -> float:
        return grown[f"{name}_sum"] / max(grown[f"{name}_count"], 1)

    verdicts = {name: count for name, count in grown.items() if name.startswith(_VERDICTS)}
    low = sum(count for name, count in verdicts.items() if '"LOW"' in name)
    return Inside(
        batch_records=round(mean("streamapp_batch_records"), 1),
        batch_ms=round(mean("streamapp_batch_seconds") * 1e3, 2),
        checkpoint_ms=round(mean("streamapp_checkpoint_seconds") * 1e3, 2),
        checkpoint_profiles=round(mean("streamapp_checkpoint_profiles"), 1),
        checkpoints=int(grown["streamapp_checkpoint_seconds_count"]),
        anomaly_share=round(1 - low / max(sum(verdicts.values()), 1), 4),
    )
