"""Killed at any point of any checkpoint, however often: nothing missing, nothing counted twice."""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamapp.engine.outbox import LogError
from streamapp.engine.store import PARTITION_STATE_KEY, user_key
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.fake_log import POINTS, FakeBroker, Point
from tests.engine.owner import Owner
from tests.engine.records import records
from tests.engine.running import run_async
from tests.scoring.conftest import Traffic
from tests.scoring.mixed import Run, run

ROWS = 120


@dataclass(frozen=True)
class Crash:
    """How one owner works and when it dies.

    visit: at which visit of `point`, counted in this life. keep_sent: output that was sent and not
    confirmed arrives all the same. reread: records before its position that the next owner gets.
    """

    point: Point
    visit: int
    batch: int
    batches_per_checkpoint: int
    keep_sent: bool
    reread: int


CRASHES = st.builds(
    Crash,
    point=st.sampled_from(POINTS),
    visit=st.integers(1, 4),
    batch=st.sampled_from([1, 3, 7, 30]),
    batches_per_checkpoint=st.integers(1, 4),
    keep_sent=st.booleans(),
    reread=st.integers(0, 20),
)


@pytest.fixture(scope="module")
def some(messages: Traffic) -> Traffic:
    """Few enough to run through many times."""
    return Traffic(messages.keys[:ROWS], messages.values[:ROWS])


@pytest.fixture(scope="module")
def undisturbed(some: Traffic, model: ModelArtifact) -> Run:
    """The pipeline alone, without checkpoints."""
    return run(some, model, [ROWS])


async def live(owner: Owner, found: Sequence[ConsumerRecord], how: Crash) -> None:
    """One life: score what is left, in batches, with a checkpoint every so many."""
    start = max((owner.task.position or 0) - how.reread, 0)
    for number, at in enumerate(range(start, len(found), how.batch), start=1):
        await owner.task.score(found[at : at + how.batch])
        if number % how.batches_per_checkpoint == 0:
            await owner.task.checkpoint()
    await owner.task.close(5.0)


def survive(
    crashes: Sequence[Crash], found: Sequence[ConsumerRecord], model: ModelArtifact, exactly: bool
) -> tuple[FakeBroker, dict[bytes, bytes]]:
    """Live through the crashes, then to the end; what the broker and the last store hold."""
    broker = FakeBroker()
    last = Crash("store", 1_000_000, 30, 2, keep_sent=True, reread=5)
    with tempfile.TemporaryDirectory() as directory:
        for crash in [*crashes, last]:
            owner = Owner(
                Path(directory) / "p", broker, model, transactional=exactly, cache_profiles_max=2
            )
            owner.faults.fail_at(crash.point, crash.visit)
            try:
                run_async(live(owner, found, crash))
            except LogError:
                owner.die(keep_sent=crash.keep_sent)
        last_owner = Owner(Path(directory) / "p", broker, model)
        state = last_owner.state()
        last_owner.die()
    return broker, state


def by_offset(broker: FakeBroker) -> dict[int, set[bytes]]:
    """Every different form in which each verdict was seen."""
    found: dict[int, set[bytes]] = defaultdict(set)
    for _, payload, _ in broker.topics["verdicts"]:
        assert payload is not None
        offset = payload.split(b'"verdict_id":"')[1].split(b'"')[0].rsplit(b"-", 1)[1]
        found[int(offset)].add(payload)
    return found


def letters(broker: FakeBroker) -> set[tuple[bytes, bytes | None]]:
    """Offset and bytes of each dead letter."""
    return {(dict(headers)["dlq.offset"], value) for _, value, headers in broker.topics["dlq"]}


@pytest.mark.parametrize("exactly", [False, True], ids=["at_least_once", "exactly_once"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(crashes=st.lists(CRASHES, max_size=4))
def test_killed_anywhere_the_end_is_that_of_an_undisturbed_run(
    crashes: list[Crash], exactly: bool, some: Traffic, undisturbed: Run, model: ModelArtifact
) -> None:
    """The same verdict bytes for each record, the same dead letters, profiles and partition state;
    where output is part of the transaction, nothing is seen twice."""
    broker, state = survive(crashes, records(some.keys, some.values), model, exactly)
    expected = {offset: {payload} for offset, payload in undisturbed.payloads.items()}
    assert expected == by_offset(broker)
    assert {
        (str(letter.offset).encode(), letter.value) for letter in undisturbed.dead_letters
    } == letters(broker)
    profiles = {user_key(user): image for user, image in undisturbed.profiles.items()}
    assert profiles | {PARTITION_STATE_KEY: undisturbed.state} == state == broker.state()
    assert broker.committed == ROWS
    if exactly:
        assert len(undisturbed.payloads) == len(broker.topics["verdicts"])
        assert len(undisturbed.dead_letters) == len(broker.topics["dlq"])


@pytest.mark.parametrize("exactly", [False, True], ids=["at_least_once", "exactly_once"])
@pytest.mark.parametrize("point", POINTS)
def test_each_point_of_a_checkpoint_is_met(
    point: Point, exactly: bool, some: Traffic, undisturbed: Run, model: ModelArtifact
) -> None:
    """One crash in the second checkpoint; how often that repeats output is known for each point."""
    crash = Crash(point, 3 if point == "append" else 2, 10, 2, keep_sent=True, reread=0)
    broker, state = survive([crash], records(some.keys, some.values), model, exactly)
    profiles = {user_key(user): image for user, image in undisturbed.profiles.items()}
    assert profiles | {PARTITION_STATE_KEY: undisturbed.state} == state
    repeated = len(broker.topics["verdicts"]) - len(undisturbed.payloads)
    if exactly or point in ("answer", "store"):  # the state was durable
        assert 0 == repeated
    elif point in ("confirm", "state"):
        assert len([o for o in undisturbed.payloads if 20 <= o < 40]) == repeated
