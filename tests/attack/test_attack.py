"""Packed frauds teach the half-space trees nothing that matters; without guards they turn them."""

import pytest

from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir
from tests.attack.replay import KINDS, Kind, Outcome, Partition, Recording, attack, settled

SIZE = 1_000
OPEN = [kind for kind in KINDS if kind.factor == KINDS[0].factor]
QUIET = [kind for kind in KINDS if kind not in OPEN]


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Genuine payments."""
    return Recording.of("sparkov")


@pytest.fixture(scope="module")
def guarded(recording: Recording) -> Partition:
    """A partition as it runs."""
    return settled(recording, load(default_model_dir()), is_guarded=True)


@pytest.fixture(scope="module")
def unguarded(recording: Recording) -> Partition:
    """The same with its guards off."""
    return settled(recording, load(default_model_dir()), is_guarded=False)


def assert_unharmed(outcome: Outcome) -> None:
    """Fresh frauds stay as suspicious as they were, and genuine payments as unsuspicious."""
    (risk, risk_after), (genuine, genuine_after) = outcome.risk, outcome.genuine
    assert risk_after >= risk - 1.0
    assert outcome.tail_share[1] <= 1.5 * outcome.tail_share[0]
    assert genuine_after <= genuine + 0.01


@pytest.mark.parametrize("kind", OPEN, ids=lambda kind: kind.name)
def test_frauds_do_not_teach(recording: Recording, guarded: Partition, kind: Kind) -> None:
    """They are flagged, each of them, so nothing of them is learned."""
    outcome = attack(recording, guarded, kind, SIZE)
    assert 0.0 == outcome.learned
    assert 0.9 <= outcome.order
    assert_unharmed(outcome)


@pytest.mark.parametrize("kind", QUIET, ids=lambda kind: kind.name)
def test_what_stays_below_the_flag_changes_little(
    recording: Recording, guarded: Partition, kind: Kind
) -> None:
    """It teaches, but masses stay near those of usual traffic; the order tells of it."""
    outcome = attack(recording, guarded, kind, SIZE)
    assert 0.5 <= outcome.learned
    assert outcome.order <= 0.7
    assert_unharmed(outcome)


def test_without_guards_the_order_inverts(recording: Recording, unguarded: Partition) -> None:
    """One window of frauds: they look usual, and every fourth genuine payment is flagged."""
    outcome = attack(recording, unguarded, OPEN[0], SIZE)
    assert 1.0 == outcome.learned
    assert outcome.order < 0.0
    assert outcome.tail_share[0] < 0.01
    assert outcome.tail_share[1] > 0.2
    assert outcome.risk[1] < outcome.risk[0] - 10.0
    assert outcome.genuine[1] > outcome.genuine[0] + 0.2
