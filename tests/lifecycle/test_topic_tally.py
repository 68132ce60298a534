"""What is counted of verdicts as they stand in their topic."""

import msgspec
import pytest

from streamapp.lifecycle.topic_tally import add, decided
from streamapp.scoring.severity_budget import Cutoffs, Tally

VERDICT = {"timestamp": "2024-03-01T09:59:59.9Z", "severity": "HIGH", "versions": {"models": "m"}}
HOUR = 474_801


def _payload(**changes: object) -> bytes:
    return msgspec.json.encode(VERDICT | changes)


@pytest.mark.parametrize(
    "payload",
    [None, b"", b"{}", _payload(duplicate_of="t-0-1"), _payload(severity="TOO_HIGH")],
)
def test_what_is_no_decision_is_not_counted(payload: bytes | None) -> None:
    """Tombstones, what is no verdict, and repetitions."""
    assert decided(payload) is None


def test_decisions_count_in_their_hour_by_the_cutoffs_they_name() -> None:
    """None: those of calibration; those of a newer version can't be weighed."""
    named = Cutoffs(HOUR - 1, (50.0, 70.0, 100.0)).name
    tally, found = Tally(), []
    for versions in ({}, {"cutoffs": named}, {"cutoffs": "of tomorrow"}):
        found.append(decided(_payload(versions=versions)))
    add(tally, (one for one in found if one is not None))
    [counted] = tally.hours()
    assert (HOUR, 2, (2, 2, 0)) == counted[:3]
    assert (0.04, 0.01, 0.001001) == pytest.approx(counted.expected)
