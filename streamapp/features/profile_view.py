"""A stored profile as people read it: what is typical of a user, and what was seen last."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamapp.features.compiled import kernel
from streamapp.features.contract import NEW_USER_EVENTS, TYPICAL_NAMES, FeatureParameters
from streamapp.features.profile import ProfileBlock, unseal_all
from streamapp.features.statistics import read_typical

_DECIMALS: Final = 4


def view(image: bytes) -> dict[str, Any]:
    """What a stored profile says, times in epoch ms. Names of merchants and devices are not in it.

    recent: the events kept one by one, oldest event time first. Raises ProfileError.
    """
    block = unseal_all([image])
    profile = block[0]
    return {
        "events": int(profile["event_count"]),
        "is_new": bool(profile["event_count"] < NEW_USER_EVENTS),
        "first_time_ms": int(profile["first_time_ms"]),
        "last_time_ms": int(profile["last_time_ms"]),
        "source_offset": int(profile["source_offset"]),
        "typical": typical(block)[0],
        "weekdays": profile["weekdays"].tolist(),
        "recent": _recent(profile),
    }


def is_expired(image: bytes, stream_time_ms: int) -> bool:
    """Whether the user's next event would find nothing known: idle for too long."""
    idle_ms = stream_time_ms - int(unseal_all([image])["last_time_ms"][0])
    return idle_ms > FeatureParameters().idle_ms_max


def typical(block: ProfileBlock) -> list[dict[str, float]]:
    """What is typical of each user (n), by the names of `TYPICAL_NAMES`."""
    values = np.zeros((len(block), len(TYPICAL_NAMES)))
    _read_all(block, values)
    rows = np.round(values, _DECIMALS).tolist()
    return [dict(zip(TYPICAL_NAMES, row, strict=True)) for row in rows]


@kernel
def _read_all(block: Any, values: NDArray[np.float64]) -> None:
    for row in range(block.size):
        read_typical(block[row], values[row])


def _recent(profile: Any) -> list[dict[str, float]]:
    kept = range(int(profile["ring_size"]))
    found = [
        {
            "time_ms": int(profile["ring_time_ms"][i]),
            "amount": round(float(profile["ring_amount"][i]), 2),
            "risk_score": int(profile["ring_risk"][i]) / 100,
        }
        for i in kept
    ]
    return sorted(found, key=lambda one: one["time_ms"])
