"""Crowds: payments of any number of users that a worker takes as they are."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from benchmarks.crowd import BATCH_ROWS, Crowd, payments, user_name
from benchmarks.recording import blocks, record
from streamapp.scoring import Pipeline


def test_the_same_crowd_pays_the_same() -> None:
    """Bytes depend on nothing but the crowd and where one begins."""
    crowd = Crowd(users=1_000, skew=0.8)
    _, second = islice(payments(crowd), 2)
    assert second.values == next(payments(crowd, BATCH_ROWS)).values
    assert second.values != next(payments(Crowd(users=1_000, seed=2), BATCH_ROWS)).values


def test_every_payment_gets_a_verdict() -> None:
    """None is refused, late or a duplicate, nor are those of the crowd that follows."""
    crowd = Crowd(users=5_000)
    pipeline = Pipeline.load()
    for each in (crowd, replace(crowd.after(BATCH_ROWS), seed=2)):
        batch = next(payments(each))
        scored = pipeline.process(batch.keys, batch.values)
        assert (BATCH_ROWS, 0, 0, 0) == (
            len(scored.payloads),
            len(scored.dead_letters),
            scored.late,
            scored.duplicates,
        )


@pytest.mark.parametrize(
    ("crowd", "least", "most"),
    [
        (Crowd(users=100), 0.0, 0.03),
        (Crowd(users=100, skew=1.0), 0.15, 0.25),
        (Crowd(users=100, hot_share=0.8), 0.75, 0.85),
    ],
    ids=["all alike", "Zipf", "hot key"],
)
def test_shares_are_as_asked_for(crowd: Crowd, least: float, most: float) -> None:
    """The first user's share of the payments follows skew and hot share."""
    keys = [key for batch in islice(payments(crowd), 4) for key in batch.keys]
    assert least <= np.mean([key == user_name(0).encode() for key in keys]) <= most


def test_a_recording_gives_back_what_was_recorded(tmp_path: Path) -> None:
    """Keys and values, from the first block or a later one."""
    crowd, path = Crowd(users=300), tmp_path / "crowd.jsonl"
    record(crowd, BATCH_ROWS + 1, path)
    wanted = [(batch.keys, batch.values) for batch in islice(payments(crowd), 2)]
    assert wanted == list(blocks(path))
    assert wanted[1:] == list(blocks(path, BATCH_ROWS))
