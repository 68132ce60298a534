"""The shipped recordings are what ATTRIBUTION.md says of them."""

import hashlib
import json

import numpy as np
import pytest

from streamapp.replay.reader import recorded, row_count
from streamapp.replay.sample import NAMES, sample

#: What the project promises to ship at most.
BYTES_MAX = 5_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_the_one_described(name: str) -> None:
    """Rows and SHA-256 stand in the attribution."""
    path = sample(name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    line = next(
        line
        for line in (path.parent / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{name}.parquet`")
    )
    assert f"`{digest}`" in line
    assert f"| {row_count(path):,} |" in line


def test_samples_are_small() -> None:
    """All samples together stay within what the project promises."""
    assert BYTES_MAX >= sum(sample(name).stat().st_size for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_in_time_order_and_long_enough_for_the_demo(name: str) -> None:
    """At least 120,000 payments, in order of event time, both kinds of label."""
    batches = list(recorded(sample(name)))
    times = np.concatenate([batch.time_ms for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    assert len(times) >= 120_000
    assert bool((np.diff(times) >= 0).all())
    assert {0, 1} == set(labels.tolist())


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_never_sent(name: str) -> None:
    """No message holds more than the fields of a transaction."""
    [batch] = recorded(sample(name), limit=500)
    sent = {field for value in batch.values for field in json.loads(value)}
    fields = {"tx_id", "user_id", "amount", "timestamp", "merchant_id", "merchant_category"}
    assert fields - {"merchant_category"} <= sent <= fields


def test_an_unknown_sample_is_refused() -> None:
    """The error names the samples there are."""
    with pytest.raises(KeyError, match="sparkov, handbook"):
        sample("nilson")
