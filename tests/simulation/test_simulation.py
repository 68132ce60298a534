"""The checkpoint protocol survives what is simulated, and the simulator sees when it does not."""

import gc
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from streamapp.engine.engine import Engine
from tests.simulation.campaign import command, failure_text, outcomes
from tests.simulation.loop import ProcessLoop
from tests.simulation.mutants import (
    MUTANTS,
    GoesOnAfterFailure,
    OffsetBeforeOutput,
    RetryAfterTimeout,
    StoreBeforeCommit,
)
from tests.simulation.simulation import simulate

ROOT = Path(__file__).parents[2]
SEEDS = range(1, 1001)
MUTANT_SEEDS = range(1, 201)

#: What a thousand seeds must have met, and how often at least: half of what was seen, or the
#: simulator has come to spare the engine.
MET_AT_LEAST = {
    "killed, disk kept": 300,
    "killed, disk cut": 150,
    "killed, disk wiped": 150,
    "SIGTERM": 250,
    "paused": 200,
    "resumed": 100,
    "away": 250,
    "compacted": 250,
    "expired": 250,
    "aborted": 200,
    "lost a marker": 200,
    "fenced": 80,
    "took over": 2_000,
    "committed": 5_000,
    "produce: rejected": 50,
    "commit: unheard": 40,
    "commit: unanswered": 10,
    "commit: swallowed": 5,
    "commit: arrives late": 5,
    "init_producer: arrives late": 5,
    "went on with another model": 70,
    "took risk windows over": 150,
    "took cut-offs over": 120,
}


@pytest.mark.timeout(900)  # minutes of two cores, which other tests share
def test_a_thousand_seeds_keep_every_promise() -> None:
    """And they meet every kind of fault often enough to mean something."""
    met: Counter[str] = Counter()
    failing = []
    for outcome in outcomes(SEEDS, processes=2):
        met += outcome.met
        if outcome.broken:
            failing.append(failure_text(outcome))
    assert [] == failing, "\n".join(failing)
    assert {} == {w: (met[w], n) for w, n in MET_AT_LEAST.items() if met[w] < n}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_checkpoint_is_caught(mutant: type[Engine]) -> None:
    """Within 200 seeds, and by what it does: not because it comes to no end."""
    found = (one for seed in MUTANT_SEEDS for one in simulate(seed, mutant).broken)
    assert any(not one.startswith("not done") for one in found)


@pytest.mark.parametrize(
    "engine",
    [Engine, OffsetBeforeOutput, StoreBeforeCommit, RetryAfterTimeout, GoesOnAfterFailure],
    ids=lambda engine: engine.__name__,
)
def test_without_faults_nothing_is_broken(engine: type[Engine]) -> None:
    """It is faults that tell these mutants from the engine, not a careless mutant or checker."""
    assert [] == [one for seed in range(20) for one in simulate(seed, engine, is_calm=True).broken]


def test_a_seed_always_takes_the_same_way() -> None:
    """In another process too, where sets and dictionaries of other hashes have another order."""
    shown = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation.campaign", "--seeds", "1", "--first", "7"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert shown[0] == shown[1]
    assert "took over" in shown[0]


def test_a_failure_says_how_to_see_it_again() -> None:
    """By the command that shows the trace of its seed."""
    outcome = next(o for seed in MUTANT_SEEDS if (o := simulate(seed, OffsetBeforeOutput)).broken)
    assert f"make simulate SEEDS=1 FIRST={outcome.seed}" == command(outcome.seed)
    assert command(outcome.seed) in failure_text(outcome)
    assert outcome.broken[0] in failure_text(outcome)


def test_the_trace_of_a_run_names_what_went_wrong() -> None:
    """It is kept on request only, and does not change the run."""
    silent, told = simulate(3), simulate(3, keeps_trace=True)
    assert [] == silent.trace
    assert silent.met == told.met
    assert any("took over" in line for line in told.trace)


def test_a_seed_leaves_nothing_behind() -> None:
    """However many run in a process, its memory does not grow."""
    for seed in SEEDS[:8]:
        simulate(seed)
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, ProcessLoop)]
