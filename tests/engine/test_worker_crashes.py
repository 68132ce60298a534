"""Killed while payments flow: no verdict missing, state as if nothing had happened."""

import os
from dataclasses import dataclass
from typing import Any

import pytest

from streamapp.broker.waiting import wait_until
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, Found, assert_undisturbed, report

pytestmark = pytest.mark.integration

ROWS = 20_000
CAMPAIGN_ROWS = int(os.environ.get("STREAMAPP_TEST_CRASH_ROWS", "200000"))
KILLS = 3


@dataclass(frozen=True)
class Kill:
    """One kill -9 and the start after it."""

    outputs_before: int
    ready_again_s: float


def crash(deployment: Deployment, rows: int, **settings: Any) -> tuple[Found, list[Kill]]:
    """Replay `rows` and kill the worker three times on its way; what was found in the end."""
    deployment.make_topics()
    deployment.replay(rows)
    kills = []
    worker = deployment.worker(**settings)
    for number in range(1, KILLS + 1):
        threshold = rows * number // (KILLS + 2)
        assert wait_until(lambda least=threshold: deployment.output_offsets() >= least, 60)  # type: ignore[misc]
        worker.kill()
        before = deployment.output_offsets()
        assert before < rows, "all was done before the kill"
        worker = deployment.worker(**settings)
        kills.append(Kill(before, worker.await_ready()))
    found = deployment.found(rows)
    code, seconds = worker.terminate()
    assert 0 == code, worker.log.read_text()[-2000:]
    assert seconds < 10
    return found, kills


def table(guarantee: str, found: Found, kills: list[Kill]) -> str:
    """The figures of one campaign."""
    lines = [
        f"{guarantee}: {found.answered} answered, {found.repeated_verdicts} repeated "
        f"({found.repeated_verdicts / KILLS:.0f} per kill), {found.differing} of them differ"
    ]
    lines += [
        f"  killed at {k.outputs_before:7d}, ready again {k.ready_again_s:.1f} s" for k in kills
    ]
    return "\n".join(lines)


def check(
    deployment: Deployment, model: ModelArtifact, guarantee: str, found: Found, kills: list[Kill]
) -> None:
    """Equal to an undisturbed run; repeated only where the guarantee allows, and then the same."""
    report(table(guarantee, found, kills))
    assert 0 == found.differing
    if guarantee == "exactly_once":
        assert (0, 0) == (found.repeated_verdicts, found.repeated_letters)
    assert_undisturbed(deployment, deployment.expected(model), found)


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_killed_three_times_the_end_is_undisturbed(
    deployment: Deployment, shipped_model: ModelArtifact, guarantee: str
) -> None:
    """A small replay in small batches, so that the kills fall into the midst of it."""
    settings = {"batch_records_max": 16, "guarantee": guarantee}
    if guarantee == "at_least_once":
        settings["instance_id"] = "one"  # a static member waits for no dead session
    found, kills = crash(deployment, ROWS, **settings)
    check(deployment, shipped_model, guarantee, found, kills)


@pytest.mark.campaign
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_campaign(deployment: Deployment, shipped_model: ModelArtifact, guarantee: str) -> None:
    """STREAMAPP_TEST_CRASH_ROWS payments at full size; prints its table with `-s`."""
    found, kills = crash(deployment, CAMPAIGN_ROWS, guarantee=guarantee)
    check(deployment, shipped_model, guarantee, found, kills)
