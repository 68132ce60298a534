"""CONTRACT.md says what the code does, number by number."""

import re

from streamapp.features import contract, profile
from tests.features.contract_text import BOUNDS, TEXT


def test_every_feature_is_in_the_table() -> None:
    """The text names the 36 features in the order of the vector."""
    assert list(contract.FEATURE_NAMES) == list(BOUNDS)
    assert 36 == len(BOUNDS)


def test_the_text_is_of_the_version_in_the_code() -> None:
    """A change of the version can't forget the text."""
    assert TEXT.startswith(f"# The feature contract, version {contract.CONTRACT_VERSION}\n")


def test_the_bounds_are_those_of_the_code() -> None:
    """Sizes of the profile in the text are those of its layout."""
    buckets = "57 buckets"
    assert 57 == profile.BUCKETS
    for words in (
        f"{profile.KEPT_EVENTS} events, {profile.KEPT_MERCHANTS} merchants, "
        f"{profile.AMOUNT_BINS} amount bins, {buckets}",
        f"{profile.PROFILE_BYTES:,} bytes a user",
        f"({contract.FeatureParameters().idle_ms_max // contract.DAY_MS} days by default)",
        f"n < {contract.NEW_USER_EVENTS}",
    ):
        assert words in TEXT
    kept = [int(n) for n in re.findall(r"\| \d+ \w+ \| (\d+) \|$", TEXT, re.MULTILINE)]
    assert list(profile.BUCKET_COUNTS) == kept


def test_counts_are_bounded_by_their_buckets() -> None:
    """The highest counts in the table are full buckets."""
    for window, level in (("5m", 0), ("1h", 1), ("24h", 2), ("7d", 3), ("30d", 3)):
        assert 65_535 * profile.BUCKET_COUNTS[level] == BOUNDS[f"count_{window}"][1]


def test_typical_values_are_explained() -> None:
    """Every value kept for explanations stands in the text."""
    section = TEXT.split("## What is typical")[1]
    assert [] == [name for name in contract.TYPICAL_NAMES if name not in section]
